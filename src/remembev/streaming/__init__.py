"""Streaming: one frame in, boxes out, a memory for every scene.

``detector.py`` steps, ``engine.py`` is what it steps with, ``policy.py`` says which frame follows which, ``state.py``
what is kept of a scene, ``saved.py`` keeps it on disk; ``scene.py`` streams a data set, ``bench.py`` and ``endless.py``
measure.
"""

from remembev.streaming.bench import StepTimes, bench_scene
from remembev.streaming.detector import StreamingDetector
from remembev.streaming.endless import Comparison, StreamCurve, measure_stream
from remembev.streaming.engine import Engine, ModelEngine, Seen
from remembev.streaming.scene import Detector, continue_scene, frame_record, stream_scene
from remembev.streaming.state import Moment, StreamState

__all__ = [
    "Comparison",
    "Detector",
    "Engine",
    "ModelEngine",
    "Moment",
    "Seen",
    "StepTimes",
    "StreamCurve",
    "StreamState",
    "StreamingDetector",
    "bench_scene",
    "continue_scene",
    "frame_record",
    "measure_stream",
    "stream_scene",
]
