"""Pictures of a detector at work: frames in bird's-eye view, movies, recordings, and the report of a run."""

from typing import TYPE_CHECKING

from remembev.deprecation import former_names
from remembev.viewing.bev import draw_frame, save_frames
from remembev.viewing.curves import read_curves
from remembev.viewing.movie import render_frames, write_movie
from remembev.viewing.report import Report, write_report
from remembev.viewing.views import FrameView, MemoryView, ViewBuilder, view_keyframe, view_scene

__all__ = [
    "FrameView",
    "MemoryView",
    "Report",
    "ViewBuilder",
    "draw_frame",
    "read_curves",
    "render_frames",
    "save_frames",
    "view_keyframe",
    "view_scene",
    "write_movie",
    "write_report",
]

if not TYPE_CHECKING:
    __getattr__ = former_names(
        __name__,
        {
            "Watcher": "remembev.viewing.ViewBuilder",
            "watch_keyframe": "remembev.viewing.view_keyframe",
            "watch_scene": "remembev.viewing.view_scene",
        },
    )
