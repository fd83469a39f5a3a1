"""The command ``remembev``.

Each command is a thin call into another room, imported when the command runs, so that a core installation has every
command that its packages allow. ``app.py`` has the options that commands share.
"""

from remembev.cli import bench, data, streaming, training, viewing, weights
from remembev.cli.app import app, main

__all__ = ["app", "bench", "data", "main", "streaming", "training", "viewing", "weights"]
