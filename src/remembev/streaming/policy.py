"""Reject late frames and detect breaks in a stream."""

from __future__ import annotations

from math import asin, sqrt

from remembev.config import StreamingConfig
from remembev.errors import StreamError
from remembev.streaming.state import Moment, StreamState

_SLACK_METRES, _SLACK_RADIANS = 0.5, 0.05
"""Jitter of a localisation, which over a short time would look like a high speed. Both are less than a cell of the
memory, the turn at 40 m."""


def refuse_late(scene_token: str, before: StreamState, now: Moment) -> None:
    """Raise StreamError for a frame that is not later than the scene's latest: late, repeated or out of order."""
    time, latest = float(now.timestamp), float(before.latest.timestamp)
    if time <= latest:
        raise StreamError(
            f"timestamp {time:.6f} s of scene {scene_token} is not after its last frame's, {latest:.6f} s; "
            "call reset(scene_token) to restart the scene"
        )


def find_break(before: StreamState, now: Moment, cfg: StreamingConfig) -> str | None:
    """Return why a frame can't continue its scene, None if it can.

    The gap counts from the latest frame with points, the motion from the latest frame. A scene with an empty memory
    never breaks off.
    """
    if int(before.frames) == 0:
        return None
    gap = float(now.timestamp - before.remembered.timestamp)
    if gap > cfg.MAX_GAP:
        return f"{gap:.2f} s after the latest frame with points (MAX_GAP: {cfg.MAX_GAP})"
    elapsed = float(now.timestamp - before.latest.timestamp)
    moved, turned = _motion(before.latest, now)
    if moved > cfg.MAX_SPEED * elapsed + _SLACK_METRES:
        return f"{moved:.2f} m from the frame {elapsed:.3f} s before (MAX_SPEED: {cfg.MAX_SPEED})"
    if turned > cfg.MAX_TURN_RATE * elapsed + _SLACK_RADIANS:
        return f"turned {turned:.2f} rad from the frame {elapsed:.3f} s before (MAX_TURN_RATE: {cfg.MAX_TURN_RATE})"
    return None


def _motion(first: Moment, second: Moment) -> tuple[float, float]:
    """Return metres and radians between two poses."""
    change = second.pose[0, :3] - first.pose[0, :3]
    chord = float(change[:, :3].norm()) / (2 * sqrt(2))
    return float(change[:, 3].norm()), 2 * asin(min(1.0, chord))
