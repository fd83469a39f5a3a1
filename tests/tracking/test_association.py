"""Greedy matching: the best box first, within a limit for all or for each."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from remembev.tracking import match_greedily


@given(st.integers(0, 1000), st.integers(0, 7), st.integers(0, 5))
def test_each_box_takes_the_nearest_object_that_no_better_box_has_taken(seed: int, boxes: int, count: int) -> None:
    random = np.random.default_rng(seed)
    distance = random.integers(0, 5, (boxes, count)).astype(float)
    for limit in (np.full(boxes, 3.0), random.integers(0, 5, boxes).astype(float)):
        taken: set[int] = set()
        for row, match in enumerate(match_greedily(distance, limit).tolist()):
            free = [(distance[row, column], column) for column in range(count) if column not in taken]
            assert match == (min(free)[1] if free and min(free)[0] < limit[row] else -1)
            taken |= {match}
    assert np.array_equal(match_greedily(distance, 3.0), match_greedily(distance, np.full(boxes, 3.0)))
