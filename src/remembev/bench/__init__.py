"""Measuring a streaming step: stage by stage, against what the machine can do, and against OpenPCDet's way."""

from remembev.bench.machine import MachineRates
from remembev.bench.plain import PlainEngine
from remembev.bench.step import StepReport, StepTimes, compare_steps, make_selective, time_steps
from remembev.bench.table import step_table
from remembev.bench.work import Work, count_work

__all__ = [
    "MachineRates",
    "PlainEngine",
    "StepReport",
    "StepTimes",
    "Work",
    "compare_steps",
    "count_work",
    "make_selective",
    "step_table",
    "time_steps",
]
