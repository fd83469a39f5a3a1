import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.config.schema import HeadingCode
from remembev.geometry import wrap_angle
from remembev.models.box_coder import BoxCoder

position, size, angle, speed = st.floats(-50, 50), st.floats(0.2, 15), st.floats(-7, 7), st.floats(-20, 20)
ANCHOR = torch.tensor([1.0, 2.0, -1.0, 4.0, 3.0, 2.0, 0.0])
CODES = get_args(HeadingCode)
AXES = ("double_angle", "residual")
"""Codes that don't tell front from back."""


@pytest.mark.parametrize("heading", CODES)
@given(
    st.tuples(position, position, position, size, size, size, angle, speed, speed),
    st.tuples(position, position, position, size, size, size, angle),
)
def test_decoding_inverts_encoding(heading: HeadingCode, box: tuple[float, ...], anchor: tuple[float, ...]) -> None:
    coder = BoxCoder(heading)
    boxes = torch.tensor([box], dtype=torch.float64)
    anchors = torch.tensor([anchor], dtype=torch.float64)
    codes = coder.encode(boxes, anchors)
    assert codes.shape == (1, coder.code_size)
    decoded = coder.decode(codes, anchors)
    turned_by = wrap_angle(decoded[:, 6] - boxes[:, 6])
    if heading == "double_angle":
        turned_by = wrap_angle(2 * turned_by) / 2
    torch.testing.assert_close(turned_by, torch.zeros_like(turned_by), atol=1e-9, rtol=0)
    upright = [0, 1, 2, 3, 4, 5, 7, 8]
    torch.testing.assert_close(decoded[:, upright], boxes[:, upright])


@pytest.mark.parametrize(
    ("heading", "angles"),
    [("sincos", [-1.5, 3**0.5 / 2]), ("double_angle", [-1.5, -(3**0.5) / 2]), ("residual", [2 * math.pi / 3])],
)
def test_the_code_equals_the_published_formula(heading: HeadingCode, angles: list[float]) -> None:
    box = torch.tensor([2.0, 0.0, 0.0, 8.0, 3.0, 1.0, 2 * math.pi / 3, 5.0, -6.0])
    expected = [1 / 5, -2 / 5, 1 / 2, math.log(2), 0.0, -math.log(2), *angles, 5.0, -6.0]
    assert BoxCoder(heading).encode(box, ANCHOR).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("heading", CODES)
def test_a_nan_velocity_affects_no_other_code(heading: HeadingCode) -> None:
    box = torch.tensor([2.0, 0.0, 0.0, 8.0, 3.0, 1.0, 1.0, math.nan, math.nan])
    codes = BoxCoder(heading).encode(box, ANCHOR)
    assert codes.isnan().tolist() == [False] * (len(codes) - 2) + [True] * 2


@pytest.mark.parametrize("heading", CODES)
@given(st.floats(-3, 3))
def test_a_box_turned_around_is_an_error_only_of_sines_and_cosines(heading: HeadingCode, yaw: float) -> None:
    coder = BoxCoder(heading)
    box = torch.tensor([2.0, 0.0, 0.0, 8.0, 3.0, 1.0, yaw, 5.0, -6.0], dtype=torch.float64)
    around = box.clone()
    around[6] += math.pi
    error = coder.error(coder.encode(around, ANCHOR), coder.encode(box, ANCHOR)).abs().max().item()
    assert error == pytest.approx(0, abs=1e-9) if heading in AXES else error > 1


@given(st.floats(-7, 7), st.floats(-7, 7))
def test_the_residual_s_error_is_the_sine_of_the_difference(predicted: float, true: float) -> None:
    codes, targets = torch.zeros(2, 9, dtype=torch.float64)
    codes[6], targets[6] = predicted, true
    error = BoxCoder("residual").error(codes, targets)
    # OpenPCDet's add_sin_difference
    expected = math.sin(predicted) * math.cos(true) - math.cos(predicted) * math.sin(true)
    assert error.tolist() == pytest.approx([0.0] * 6 + [expected, 0.0, 0.0], abs=1e-12)
