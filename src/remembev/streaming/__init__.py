"""Streaming: one frame in, boxes out, a memory for every scene."""

from remembev.streaming.bench import StepTimes, bench_scene
from remembev.streaming.detector import StreamingDetector
from remembev.streaming.scene import Detector, frame_record, stream_scene

__all__ = ["Detector", "StepTimes", "StreamingDetector", "bench_scene", "frame_record", "stream_scene"]
