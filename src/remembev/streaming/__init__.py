"""Streaming: one frame in, boxes out, a memory for every scene.

``detector.py`` steps, ``engine.py`` is what it steps with, ``policy.py`` says which frame follows which, ``state.py``
what is kept of a scene, ``saved.py`` keeps it on disk; ``scene.py`` streams a data set, ``endless.py`` measures
one without end.
"""

from remembev.streaming.detector import StreamingDetector
from remembev.streaming.endless import Comparison, StreamCurve, measure_stream
from remembev.streaming.engine import DTYPES, Engine, ModelEngine, StepOutput
from remembev.streaming.scene import Detector, continue_scene, frame_record, read_record, stream_recent, stream_scene
from remembev.streaming.state import Moment, StreamState

__all__ = [
    "DTYPES",
    "Comparison",
    "Detector",
    "Engine",
    "ModelEngine",
    "Moment",
    "StepOutput",
    "StreamCurve",
    "StreamState",
    "StreamingDetector",
    "continue_scene",
    "frame_record",
    "measure_stream",
    "read_record",
    "stream_recent",
    "stream_scene",
]
