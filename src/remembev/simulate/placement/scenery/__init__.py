"""Scenery, which is never annotated: ground, plots and their buildings, vegetation, street furniture.

Shapes are in facades, walls, vegetation and street_furniture; what is placed where in terrain, plots and kerbs.
"""

from remembev.simulate.placement.scenery.kerbs import (
    add_furniture,
    add_furniture_obstacles,
    add_overhead,
    add_square,
)
from remembev.simulate.placement.scenery.plots import add_buildings, add_free_walls, add_skyline
from remembev.simulate.placement.scenery.terrain import GROUND_WIDTH, add_ground

__all__ = [
    "GROUND_WIDTH",
    "add_buildings",
    "add_free_walls",
    "add_furniture",
    "add_furniture_obstacles",
    "add_ground",
    "add_overhead",
    "add_skyline",
    "add_square",
]
