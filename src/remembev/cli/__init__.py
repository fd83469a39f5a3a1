"""The command ``remembev``: simulate, index, import, train, evaluate, stream, view, export, time, report.

Each command is a thin call into the room that does the work; rooms are imported when their command runs, so that a
core installation has every command that its packages allow. ``app.py`` has what the commands share, the other files
the commands themselves.
"""

from remembev.cli import bench, data, detecting, publishing, training, viewing
from remembev.cli.app import app, main

__all__ = ["app", "bench", "data", "detecting", "main", "publishing", "training", "viewing"]
