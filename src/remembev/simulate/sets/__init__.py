"""The kinds of scene there are: ordinary streets, and named sets in which things hide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from remembev.simulate.builder import Builder
from remembev.simulate.sets import crossings, crowd, doors, far, overtaking, street
from remembev.simulate.world import World


@dataclass(frozen=True)
class SceneSet:
    """A kind of scene: how one is drawn from a generator, and what its scenes' descriptions say.

    key goes into the seed, so that scenes of the same number differ by more than the set's rules.
    """

    draw: Callable[[np.random.Generator], Builder]
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


def build_world(seconds: float, rng: np.random.Generator, name: str = ORDINARY) -> World:
    """Draw one scene of `seconds` of a set from a generator: the same generator state gives the same world."""
    return SETS[name].draw(rng).finish(seconds)
