from __future__ import annotations

import numpy as np
import pytest

from remembev.simulate import streets
from remembev.simulate.placement.people import add_pedestrian, path_through
from remembev.simulate.placement.vehicles import draw_bodies
from remembev.simulate.world import Body, WorldBuilder


@pytest.fixture(scope="module")
def walkers() -> list[list[Body]]:
    """What 300 walkers on an empty street come with."""
    rng = np.random.default_rng(0)
    builder = WorldBuilder(streets.draw_layout(rng, 1, crossed=False), rng)
    path = path_through(builder.layout.main, [(-40.0, 8.0), (40.0, 8.0)])
    for _ in range(300):
        assert add_pedestrian(builder, path, 5.0, None, 20.0)
        builder.movers.clear()
    return builder.bodies


def test_some_walk_side_by_side_at_arm_s_length(walkers: list[list[Body]]) -> None:
    groups = [bodies for bodies in walkers if len(bodies) > 1 and "pram" not in {b.kind for b in bodies}]
    assert 0.06 < len(groups) / len(walkers) < 0.2
    assert {len(bodies) for bodies in groups} == {2, 3}
    for bodies in groups:
        assert 0.7 < np.diff([b.left for b in bodies]).min() < 1.0
        assert sum(b.left for b in bodies) == pytest.approx(0.0)


def test_a_pram_is_ahead_of_the_adult_who_pushes_it_and_does_not_overlap(walkers: list[list[Body]]) -> None:
    pairs = [bodies for bodies in walkers if bodies[-1].kind == "pram"]
    assert 0.01 < len(pairs) / len(walkers) < 0.07
    for adult, pram in pairs:
        assert adult.kind == "adult"
        assert -pram.behind == pytest.approx((adult.size[0] + pram.size[0]) / 2)


def test_nobody_walks_in_company_where_there_is_room_for_one() -> None:
    rng = np.random.default_rng(0)
    builder = WorldBuilder(streets.draw_layout(rng, 1, crossed=False), rng)
    street = builder.layout.main
    for offset in (7.0, 9.0):
        builder.reserve_lane(street, offset, 0.4)
    path = path_through(street, [(-40.0, 8.0), (40.0, 8.0)])
    for _ in range(60):
        add_pedestrian(builder, path, 5.0, None, 20.0)
        builder.movers.clear()
    bodies = [b for b in builder.bodies if "pram" not in {x.kind for x in b}]
    assert len(bodies) > 30
    assert all(len(b) == 1 and b[0].left == 0.0 for b in bodies)


def test_pick_ups_pass_as_trucks_and_tow_nothing() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_bodies("truck", rng, towing=1.0, pick_ups=0.3) for _ in range(200)]
    kinds = [tuple(b.kind for b in bodies) for bodies in drawn]
    assert set(kinds) == {("pick_up",), ("truck", "trailer")}
    assert 0.2 < kinds.count(("pick_up",)) / 200 < 0.4
