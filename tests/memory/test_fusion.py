"""The gate and its strength, and projections that are small at first."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.memory.fusion import GatedConv, Upsample, partly_open


@given(strength=st.floats(0, 1), seed=st.integers(0, 100))
def test_a_partly_open_gate_lies_between_an_open_one_and_the_gate(strength: float, seed: int) -> None:
    gate = torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    opened = partly_open(gate, strength)
    torch.testing.assert_close(opened, 1 - strength * (1 - gate))
    assert (opened >= gate).all()
    assert (opened <= 1).all()


def test_without_strength_a_gate_is_open_and_with_all_of_it_itself_to_the_last_bit() -> None:
    gate = torch.randn(1, 1, 64, 64).sigmoid()
    assert (partly_open(gate, 0.0) == 1).all()
    assert torch.equal(partly_open(gate, 1.0), gate)


def test_projections_are_small_at_first_but_pass_gradients() -> None:
    features, gate = torch.randn(2, 96, 8, 8, requires_grad=True), torch.rand(2, 1, 8, 8)
    for changed in (GatedConv(96)(features, gate), Upsample(96, 32, 2)(features)):
        assert 0 < changed.abs().max() < 0.1
        (gradient,) = torch.autograd.grad(changed.square().sum(), features)
        assert gradient.any()
