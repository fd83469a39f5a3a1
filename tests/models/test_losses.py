import math

import pytest
import torch
from torch.nn import functional as F

from remembev.models.losses import sigmoid_focal_loss, weighted_l1_loss


def test_the_focal_loss_is_its_formula_on_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 3, generator=generator, dtype=torch.float64) * 3
    is_class = torch.rand(50, 3, generator=generator) < 0.3
    p = torch.sigmoid(logits)
    expected = torch.where(is_class, -0.25 * (1 - p) ** 2 * p.log(), -0.75 * p**2 * (1 - p).log())
    torch.testing.assert_close(sigmoid_focal_loss(logits, is_class), expected)


def test_the_focal_loss_without_focus_is_half_the_cross_entropy() -> None:
    logits, is_class = torch.randn(9), torch.arange(9) % 2 == 0
    expected = F.binary_cross_entropy_with_logits(logits, is_class.float(), reduction="none") / 2
    torch.testing.assert_close(sigmoid_focal_loss(logits, is_class, alpha=0.5, gamma=0.0), expected)


def test_the_focal_loss_and_its_gradient_stay_finite_at_huge_logits() -> None:
    logits = torch.tensor([-1e4, 1e4, -1e4, 1e4], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([True, True, False, False]))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([2500.0, 0.0, 0.0, 7500.0])
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_box_loss_weights_each_entry_of_the_code() -> None:
    errors = torch.tensor([[1.0, -2.0, 0.0]])
    assert weighted_l1_loss(errors, torch.tensor([1.0, 0.2, 5.0])).tolist() == pytest.approx([1.4])


def test_nan_targets_have_no_loss_and_no_gradient() -> None:
    codes = torch.tensor([[1.0, 2.0]], requires_grad=True)
    loss = weighted_l1_loss(codes - torch.tensor([[math.nan, 0.0]]), torch.ones(2))
    loss.sum().backward()
    assert loss.tolist() == [2.0]
    assert codes.grad is not None
    assert codes.grad.tolist() == [[0.0, 1.0]]
