"""Colours that all pictures share: a dark theme in which the data shines and the furniture stays quiet."""

from __future__ import annotations

from matplotlib.colors import LinearSegmentedColormap

BACKGROUND = "#0b0e14"
FURNITURE = "#263041"
TEXT = "#d7dde8"
QUIET_TEXT = "#8b96a8"
GROUND_TRUTH = "#f4f6fa"
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
