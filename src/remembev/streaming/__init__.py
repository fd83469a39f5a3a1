"""Streaming: one frame in, boxes out, with a memory for every scene.

``detector.py`` is the step; ``engine.py`` runs the model; ``policy.py`` decides which frame may follow which;
``state.py`` and ``saved.py`` keep a scene's state; ``sources/`` brings frames; ``records.py`` writes boxes.
"""

from typing import TYPE_CHECKING

from remembev.deprecation import former_names
from remembev.streaming.detector import StreamDetections, StreamingDetector
from remembev.streaming.engine import Engine, ModelEngine, StepOutput, dtype_of
from remembev.streaming.records import coasting_tracks, frame_record, read_record
from remembev.streaming.sources.dataset import Detector, continue_scene, stream_frames, stream_recent, stream_scene
from remembev.streaming.state import Moment, StreamState

__all__ = [
    "Detector",
    "Engine",
    "ModelEngine",
    "Moment",
    "StepOutput",
    "StreamDetections",
    "StreamState",
    "StreamingDetector",
    "coasting_tracks",
    "continue_scene",
    "dtype_of",
    "frame_record",
    "read_record",
    "stream_frames",
    "stream_recent",
    "stream_scene",
]

if not TYPE_CHECKING:
    __getattr__ = former_names(
        __name__,
        {
            "Seen": "remembev.streaming.StepOutput",
        },
    )
