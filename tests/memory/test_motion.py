"""The Kalman filter of objects, against the textbook's matrices object by object."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remembev.config.schema import MotionConfig
from remembev.config.sizes import MetresPerSecond
from remembev.memory.motion import MotionModel

NOISE = 0.4
MOTIONS = {"cyclist": MotionConfig(SPEED=MetresPerSecond(1), ACCELERATION=0.3), "post": MotionConfig(STILL=True)}
CAR, CYCLIST, POST = range(3)
MODEL = MotionModel(("car", "cyclist", "post"), MotionConfig(), MOTIONS, noise=NOISE)


def plain_filter(centres: Tensor, seconds: list[float], speed: float, acceleration: float) -> tuple[Tensor, Tensor]:
    """State [2, 2] (position and velocity, of each axis) and covariance [2, 2] after centres [T, 2] of one object."""
    state = torch.stack((centres[0], torch.zeros(2, dtype=torch.float64)))
    covariance = torch.diag(torch.tensor([NOISE, speed], dtype=torch.float64)) ** 2
    observe = torch.tensor([[1, 0]], dtype=torch.float64)
    for centre, time in zip(centres[1:], seconds, strict=True):
        step = torch.tensor([[1, time], [0, 1]], dtype=torch.float64)
        push = torch.tensor([[time**2 / 2], [time]], dtype=torch.float64) * acceleration
        state, covariance = step @ state, step @ covariance @ step.T + push @ push.T
        gain = covariance @ observe.T / (observe @ covariance @ observe.T + NOISE**2)
        state = state + gain @ (centre[None] - observe @ state)
        covariance = covariance - gain @ observe @ covariance
    return state, covariance


def follow(centres: Tensor, seconds: list[float], label: int) -> tuple[Tensor, Tensor]:
    """Box [1, 9] and covariance [1, 2, 2] of the model after centres [T, 2]."""
    labels = torch.tensor([label])
    boxes = torch.cat((centres[:1], torch.zeros(1, 7).double()), dim=1)
    covariance = MODEL.first_covariance(labels, torch.float64)
    for centre, time in zip(centres[1:], seconds, strict=True):
        boxes, covariance = MODEL.predict(boxes, covariance, labels, torch.tensor([time], dtype=torch.float64))
        boxes, covariance = MODEL.correct(boxes, covariance, labels, centre[None])
    return boxes, covariance


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    seconds=st.lists(st.floats(0.05, 2), min_size=1, max_size=6),
    label=st.sampled_from([CAR, CYCLIST]),
)
def test_the_filter_agrees_with_the_textbook(seed: int, seconds: list[float], label: int) -> None:
    centres = 5 * torch.randn(len(seconds) + 1, 2, generator=torch.Generator().manual_seed(seed)).double()
    boxes, covariance = follow(centres, seconds, label)
    speed, acceleration = {CAR: (4.0, 1.0), CYCLIST: (1.0, 0.3)}[label]
    state, expected = plain_filter(centres, seconds, speed, acceleration)
    torch.testing.assert_close(boxes[0, :2], state[0])
    torch.testing.assert_close(boxes[0, 7:], state[1])
    torch.testing.assert_close(covariance[0], expected)


def test_the_speed_of_a_car_is_known_after_a_second() -> None:
    centres = torch.tensor([[5.0 * number, -2.5 * number] for number in range(3)]).double()  # every half second
    boxes, _ = follow(centres, [0.5, 0.5], CAR)
    assert boxes[0, 7:].tolist() == pytest.approx([10, -5], abs=0.4)


def test_an_object_that_stands_still_is_where_it_was_last_seen() -> None:
    boxes, _ = follow(torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double(), [0.5], POST)
    assert boxes[0, :2].tolist() == [1, 0]
    assert boxes[0, 7:].tolist() == [0, 0]


def test_places_without_an_object_are_harmless() -> None:
    labels = torch.full((2, 3), -1)
    boxes, covariance = torch.zeros(2, 3, 9), torch.zeros(2, 3, 2, 2)
    for one in MODEL.predict(boxes, covariance, labels, torch.ones(2, 3)):
        assert one.isfinite().all()
    for one in MODEL.correct(boxes, covariance, labels, torch.zeros(2, 3, 2)):
        assert one.isfinite().all()
