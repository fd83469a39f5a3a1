"""Streaming: one frame in, boxes out, a memory for every scene.

``detector.py`` steps, ``engine.py`` is what it steps with, ``policy.py`` says which frame follows which, ``state.py``
what is kept of a scene, ``saved.py`` keeps it on disk; ``scene.py`` streams a data set.
"""

from remembev.streaming.detector import StreamingDetector
from remembev.streaming.engine import DTYPES, Engine, ModelEngine, StepOutput
from remembev.streaming.scene import Detector, continue_scene, frame_record, read_record, stream_recent, stream_scene
from remembev.streaming.state import Moment, StreamState

__all__ = [
    "DTYPES",
    "Detector",
    "Engine",
    "ModelEngine",
    "Moment",
    "StepOutput",
    "StreamState",
    "StreamingDetector",
    "continue_scene",
    "frame_record",
    "read_record",
    "stream_recent",
    "stream_scene",
]
