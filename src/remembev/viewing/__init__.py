"""Pictures: a frame from above, a scene as a moving picture, a run as a report."""

from remembev.viewing.bev import draw_frame, save_frames
from remembev.viewing.curves import read_curves
from remembev.viewing.frame import FrameView, MemoryView
from remembev.viewing.movie import render_frames, write_movie
from remembev.viewing.report import Report, write_report
from remembev.viewing.watch import Watcher, watch_keyframe, watch_scene

__all__ = [
    "FrameView",
    "MemoryView",
    "Report",
    "Watcher",
    "draw_frame",
    "read_curves",
    "render_frames",
    "save_frames",
    "watch_keyframe",
    "watch_scene",
    "write_movie",
    "write_report",
]
