"""Streaming: one frame in, boxes out, a memory for every scene."""

from remembev.streaming.bench import StageTimes, bench_step
from remembev.streaming.detector import StreamingDetector

__all__ = ["StageTimes", "StreamingDetector", "bench_step"]
