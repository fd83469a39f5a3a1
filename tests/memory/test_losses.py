"""The occupancy loss against its formulas."""

from __future__ import annotations

import pytest
import torch

from remembev.config.schema import OccupancyLossConfig
from remembev.memory.losses import bootstrapped_cross_entropy, dice_loss, dilate, occupancy_loss, ramp


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 1.0), (0.2, 1.0), (0.3, 0.775), (0.4, 0.55), (0.6, 0.1), (1.0, 0.1)]
)
def test_a_ramp_is_linear_within_its_part_of_the_training(progress: float, expected: float) -> None:
    assert ramp(progress, 1.0, 0.1, (0.2, 0.6)) == pytest.approx(expected)


def test_a_ramp_without_length_is_a_step() -> None:
    assert [ramp(progress, 0.0, 1.0, (0.5, 0.5)) for progress in (0.0, 0.5, 0.6)] == [0.0, 0.0, 1.0]


def test_bootstrapping_starts_from_all_cells_and_ends_with_the_hardest() -> None:
    cfg = OccupancyLossConfig(BOOTSTRAP_TOP=0.25, BOOTSTRAP_WARMUP=(0.25, 0.75))
    logits, target = torch.randn(2, 1, 4, 4), torch.rand(2, 1, 4, 4).round()
    for progress, share in ((0.0, 1.0), (0.5, 0.625), (0.9, 0.25)):
        expected = bootstrapped_cross_entropy(logits, target, share) + dice_loss(logits, target)
        torch.testing.assert_close(occupancy_loss(logits, target, cfg, progress), expected)


def test_the_bootstrapped_cross_entropy_is_the_mean_of_the_hardest() -> None:
    logits, target = torch.randn(1, 1, 5, 4), (torch.rand(1, 1, 5, 4) > 0.5).float()
    probability = logits.sigmoid()
    losses = -(target * probability.log() + (1 - target) * (1 - probability).log())
    expected = losses.flatten().sort(descending=True).values[:5].mean()
    torch.testing.assert_close(bootstrapped_cross_entropy(logits, target, 0.25), expected)


def test_occupied_cells_are_weighted() -> None:
    cfg = OccupancyLossConfig(POSITIVE_WEIGHT=3.0, DICE=0.5, BOOTSTRAP_TOP=1.0)
    logits, target = torch.randn(1, 1, 5, 4), (torch.rand(1, 1, 5, 4) > 0.5).float()
    probability = logits.sigmoid()
    losses = -(3 * target * probability.log() + (1 - target) * (1 - probability).log())
    expected = losses.mean() + 0.5 * dice_loss(logits, target)
    torch.testing.assert_close(occupancy_loss(logits, target, cfg, progress=1.0), expected)


def test_dice_is_near_zero_when_right_and_near_one_when_wrong() -> None:
    target = torch.zeros(1, 1, 20, 20)
    target[..., :10] = 1
    right = (target * 2 - 1) * 20
    assert dice_loss(right, target) < 0.01
    assert dice_loss(-right, target) > 0.99


def test_the_loss_of_an_empty_scene_is_finite_and_small_when_nothing_is_predicted() -> None:
    empty = torch.zeros(2, 1, 8, 8)
    loss = occupancy_loss(torch.full((2, 1, 8, 8), -12.0), empty, OccupancyLossConfig(), progress=1.0)
    assert 0 <= loss < 0.01


def test_dilation_covers_the_cells_around_a_mask() -> None:
    masks = torch.zeros(1, 1, 6, 6)
    masks[0, 0, 0, 1] = masks[0, 0, 4, 4] = 1
    expected = torch.zeros(1, 1, 6, 6)
    expected[0, 0, :2, :3] = expected[0, 0, 3:, 3:] = 1
    assert torch.equal(dilate(masks, 1), expected)
    assert torch.equal(dilate(masks, 0), masks)
