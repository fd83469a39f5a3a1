import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.geometry import wrap_angle
from remembev.models.box_coder import CODE_SIZE, decode_boxes, encode_boxes

position, size, angle, speed = st.floats(-50, 50), st.floats(0.2, 15), st.floats(-7, 7), st.floats(-20, 20)


@given(
    st.tuples(position, position, position, size, size, size, angle, speed, speed),
    st.tuples(position, position, position, size, size, size, angle),
)
def test_decoding_inverts_encoding(box: tuple[float, ...], anchor: tuple[float, ...]) -> None:
    boxes = torch.tensor([box], dtype=torch.float64)
    anchors = torch.tensor([anchor], dtype=torch.float64)
    codes = encode_boxes(boxes, anchors)
    assert codes.shape == (1, CODE_SIZE)
    decoded = decode_boxes(codes, anchors)
    turned_by = wrap_angle(decoded[:, 6] - boxes[:, 6])
    torch.testing.assert_close(turned_by, torch.zeros_like(turned_by), atol=1e-9, rtol=0)
    upright = [0, 1, 2, 3, 4, 5, 7, 8]
    torch.testing.assert_close(decoded[:, upright], boxes[:, upright])


def test_the_code_equals_the_published_formula() -> None:
    anchor = torch.tensor([1.0, 2.0, -1.0, 4.0, 3.0, 2.0, 0.0])
    box = torch.tensor([2.0, 0.0, 0.0, 8.0, 3.0, 1.0, math.pi / 2, 5.0, -6.0])
    expected = [1 / 5, -2 / 5, 1 / 2, math.log(2), 0.0, -math.log(2), -1.0, 1.0, 5.0, -6.0]
    assert encode_boxes(box, anchor).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_nan_velocity_affects_no_other_code() -> None:
    box = torch.tensor([2.0, 0.0, 0.0, 8.0, 3.0, 1.0, 1.0, math.nan, math.nan])
    codes = encode_boxes(box, torch.tensor([1.0, 2.0, -1.0, 4.0, 3.0, 2.0, 0.0]))
    assert codes.isnan().tolist() == [False] * 8 + [True] * 2
