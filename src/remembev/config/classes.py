"""The classes of the nuScenes detection task, which configurations choose from."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator

DETECTION_NAMES = (
    "car", "truck", "construction_vehicle", "bus", "trailer", "barrier", "motorcycle", "bicycle", "pedestrian",
    "traffic_cone",
)  # fmt: skip
"""The ten classes, in the order of labels in an index and in records."""


def _known(name: str) -> str:
    if name not in DETECTION_NAMES:
        close = get_close_matches(name, DETECTION_NAMES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(DETECTION_NAMES)}"
        raise ValueError(f"{name!r} is not a class of nuScenes: {hint}")
    return name


ClassName = Annotated[str, AfterValidator(_known)]
"""Name of one of the ten classes."""
