"""Colours that pictures share, a dark theme in which the data shines and the furniture stays quiet; charts on paper."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

BACKGROUND = "#0b0e14"
FURNITURE = "#263041"
TEXT = "#d7dde8"
QUIET_TEXT = "#8b96a8"
GROUND_TRUTH = "#f4f6fa"
FOUND = "#7ae582"
"""Words for what a detector has found."""
WORKING = "#3ddc97"
LONG_TERM = "#d86bff"
"""Tokens of the two memories, and what is read from them."""
FALLBACK = "#9aa5b8"
"""Colour of a class that has none of its own."""

CLASS_COLOURS = {
    "car": "#4cc9f0",
    "truck": "#4895ef",
    "construction_vehicle": "#f9a03f",
    "bus": "#b388ff",
    "trailer": "#8187ff",
    "barrier": "#cbb292",
    "motorcycle": "#ff5d8f",
    "bicycle": "#7ae582",
    "pedestrian": "#ffd166",
    "traffic_cone": "#ff7a45",
}

HEIGHT_COLOURS = LinearSegmentedColormap.from_list("height", ["#33445f", "#4a6385", "#7d94b3", "#c3d0e2"])
"""Points from the ground up: dim where they tell little, brighter where things stand."""

GATE_COLOURS = LinearSegmentedColormap.from_list(
    "gate", [BACKGROUND, "#2a1640", "#6b1f63", "#b8325c", "#ef6a3c", "#ffc15e"]
)
"""The gate from closed (0) to open (1)."""


def class_colour(name: str) -> str:
    """Colour of a class as a hexadecimal string."""
    return CLASS_COLOURS.get(name, FALLBACK)


# ---------------------------------------------------------------------------------------------------- charts on paper

INK, QUIET, RULE = "#1d2430", "#6b7686", "#dfe4ea"
"""Lines of text, what goes with them, and rules, of charts and tables on a white page."""

LINE_COLOURS = ("#2b6cb0", "#d9622b", "#7b4bb7", "#2f855a", "#b83280", "#8a6d1f")
"""Colours of lines in a chart, in order."""

PEER_COLOURS = ("#7a8594", "#b7791f", "#7b4bb7", "#2b6cb0", "#d9622b", "#2f855a", "#b83280", "#0e7c86")
"""Colours of models that are compared, in their order, the same on the whole page."""


def style_axes(axes: Axes, title: str, x_label: str = "") -> None:
    """Make axes a quiet panel of a page: a title at the left, faint rules, a base line and no frame."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(x_label, fontsize=8, color=QUIET)
    axes.tick_params(labelsize=8, colors=QUIET, length=0)
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.yaxis.set_major_formatter("{x:g}")
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(RULE)
