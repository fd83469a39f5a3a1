import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.geometry import wrap_angle
from remembev.models.direction import DirectionBins, face_motion


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


@given(st.floats(-3, 3), st.floats(-20, 20), st.floats(-20, 20), st.floats(0.1, 5))
def test_a_box_faces_its_motion_from_a_speed_on(yaw: float, vx: float, vy: float, min_speed: float) -> None:
    box = torch.tensor([1.0, 2.0, 3.0, 4.0, 2.0, 1.5, yaw, vx, vy], dtype=torch.float64)
    faced = face_motion(box, min_speed)
    forward = math.cos(faced[6]) * vx + math.sin(faced[6]) * vy
    turned = abs(wrap_angle(faced[6] - box[6]).item()) > 1
    assert turned == (math.hypot(vx, vy) >= min_speed and math.cos(yaw) * vx + math.sin(yaw) * vy < 0)
    assert forward >= -1e-9 or math.hypot(vx, vy) < min_speed
    others = [0, 1, 2, 3, 4, 5, 7, 8]
    assert torch.equal(faced[others], box[others])
