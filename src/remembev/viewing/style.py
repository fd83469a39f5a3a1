"""Colours: a dark theme for pictures, in which data stands out, and a light one for charts on a page."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

BACKGROUND = "#0b0e14"
MUTED_LINE = "#263041"
TEXT = "#d7dde8"
MUTED_TEXT = "#8b96a8"
GROUND_TRUTH = "#f4f6fa"
DETECTED = "#7ae582"
"""Labels of detected objects."""
WORKING = "#3ddc97"
LONG_TERM = "#d86bff"
"""Tokens of working and long-term memory, and reads from them."""
FALLBACK = "#9aa5b8"
"""Classes without a colour in CLASS_COLOURS."""

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
"""Points by height: dark at the ground, brighter above it."""

GATE_COLOURS = LinearSegmentedColormap.from_list(
    "gate", [BACKGROUND, "#2a1640", "#6b1f63", "#b8325c", "#ef6a3c", "#ffc15e"]
)
"""Gate from closed (0) to open (1)."""


def class_colour(name: str) -> str:
    """Return the colour of a class as a hexadecimal string."""
    return CLASS_COLOURS.get(name, FALLBACK)


# ---------------------------------------------------------------------------------------------------- charts on a page

INK, MUTED_INK, RULE = "#1d2430", "#6b7686", "#dfe4ea"
"""Text, secondary text and rules of charts and tables on a white page."""

LINE_COLOURS = ("#2b6cb0", "#d9622b", "#7b4bb7", "#2f855a", "#b83280", "#8a6d1f")
"""Colours of lines in a chart, in order."""


def style_axes(axes: Axes, title: str, x_label: str = "") -> None:
    """Style axes as a panel of a page: title at the left, faint grid, a base line and no frame."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(x_label, fontsize=8, color=MUTED_INK)
    axes.tick_params(labelsize=8, colors=MUTED_INK, length=0)
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.yaxis.set_major_formatter("{x:g}")
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(RULE)
