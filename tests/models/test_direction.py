import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.geometry import wrap_angle
from remembev.models.direction import DirectionBins


@given(yaw=st.floats(-7, 7), count=st.integers(2, 6), offset=st.floats(-1, 1), turns=st.integers(-6, 6))
def test_the_sector_resolves_a_heading_known_up_to_a_period(yaw: float, count: int, offset: float, turns: int) -> None:
    bins = DirectionBins(count, offset, 0.0)
    true = torch.tensor(yaw, dtype=torch.float64)
    from_border = torch.remainder(true - offset, bins.period)
    if torch.minimum(from_border, bins.period - from_border) < 1e-6:
        return
    resolved = bins.resolve(true + turns * bins.period, bins.sector(true))
    assert wrap_angle(resolved - true).item() == pytest.approx(0.0, abs=1e-6)


def test_sectors_count_up_from_the_offset() -> None:
    bins = DirectionBins(2, 0.78539, 0.0)
    assert bins.sector(torch.tensor([0.8, math.pi, 4.0, 0.7, -0.1])).tolist() == [0, 0, 1, 1, 1]
