"""Measuring time and memory: a streaming step, a stream, training steps, the loader, the memory read.

``step.py``, ``frames.py``, ``stream.py``, ``train.py``, ``loader.py`` and ``read.py`` measure; ``plain.py`` is
OpenPCDet's way to run a step; ``machine.py`` and ``work.py`` give the floor of a stage; ``table.py`` and ``plots.py``
show results.
"""

from remembev.bench.loader import WORKERS, LoaderSpeed, bench_loader
from remembev.bench.machine import MachineRates
from remembev.bench.plain import PlainEngine
from remembev.bench.read import ReadBench, ReadSize, bench_memory_read
from remembev.bench.step import StepReport, StepTimes, compare_steps, make_selective, time_steps
from remembev.bench.stream import StreamCurve, measure_stream
from remembev.bench.table import loader_table, read_table, step_table, stream_table, training_table
from remembev.bench.train import StepCost, bench_training, training_ways
from remembev.bench.work import Work, count_work

__all__ = [
    "WORKERS",
    "LoaderSpeed",
    "MachineRates",
    "PlainEngine",
    "ReadBench",
    "ReadSize",
    "StepCost",
    "StepReport",
    "StepTimes",
    "StreamCurve",
    "Work",
    "bench_loader",
    "bench_memory_read",
    "bench_training",
    "compare_steps",
    "count_work",
    "loader_table",
    "make_selective",
    "measure_stream",
    "read_table",
    "step_table",
    "stream_table",
    "time_steps",
    "training_table",
    "training_ways",
]
