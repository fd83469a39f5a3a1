"""Scene sets: ordinary streets, and five sets of scenes in which objects are often occluded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from remembev.simulate.sets import crossings, crowd, doors, far, overtaking, street
from remembev.simulate.world import World, WorldBuilder


@dataclass(frozen=True)
class SceneSet:
    """A kind of scene.

    Attributes:
        draw: Draws one scene of the set.
        description: Description of its scenes in the data set's tables.
        key: Goes into the seed, so that scenes of the same number differ by more than the set's rules.
    """

    draw: Callable[[np.random.Generator], WorldBuilder]
    description: str
    key: tuple[int, ...]


ORDINARY = "street"

SETS: dict[str, SceneSet] = {
    ORDINARY: SceneSet(street.draw, "Simulated street", ()),
    "doors": SceneSet(doors.draw, "doors: parked cars, open doors, people who step out between them", (1,)),
    "overtaking": SceneSet(overtaking.draw, "overtaking: long vehicles hide the street beyond them", (2,)),
    "crossings": SceneSet(crossings.draw, "crossings: corners hide who was in sight before", (3,)),
    "far": SceneSet(far.draw, "far: things 25 to 45 m off with few points or none", (4,)),
    "crowd": SceneSet(crowd.draw, "crowd: people hide each other", (5,)),
}


def build_world(seconds: float, rng: np.random.Generator, scene_set: str = ORDINARY) -> World:
    """Draw a scene of `seconds`; equal generator states give equal worlds."""
    return SETS[scene_set].draw(rng).build(seconds)
