"""The learnt parts of the memory as they begin."""

from __future__ import annotations

import torch

from remembev.memory.layers import SensoryUpdate


def test_an_untrained_sensory_unit_keeps_most_of_its_state() -> None:
    torch.manual_seed(0)
    unit, inputs = SensoryUpdate(8, 16), torch.zeros(1, 8, 6, 6)
    remembered = torch.randn(1, 16, 6, 6)
    kept = (unit(inputs, remembered) - unit(inputs, torch.zeros_like(remembered))) / remembered
    assert 0.7 < kept.median() < 0.9
