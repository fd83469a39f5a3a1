"""The learnt parts of the memory as they begin."""

from __future__ import annotations

import torch

from remembev.memory.layers import SensoryAverage, SensoryUpdate


def test_an_untrained_sensory_unit_keeps_most_of_its_state() -> None:
    torch.manual_seed(0)
    unit, inputs = SensoryUpdate(8, 16), torch.zeros(1, 8, 6, 6)
    remembered = torch.randn(1, 16, 6, 6)
    kept = (unit(inputs, remembered) - unit(inputs, torch.zeros_like(remembered))) / remembered
    assert 0.7 < kept.median() < 0.9


def test_an_untrained_sensory_average_keeps_most_of_a_difference() -> None:
    torch.manual_seed(0)
    unit, difference = SensoryAverage(8, 16), torch.randn(1, 1, 16, 6, 6)
    kept = unit(torch.zeros(1, 9, 6, 6), torch.zeros(1, 1, 16, 6, 6), difference) / difference
    assert 0.7 < kept.median() < 0.9


def test_a_cell_that_remembers_nothing_does_not_differ_from_the_frame() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(1, 2, 16, 4, 4)
    hidden[:, 1, :, 0] = 0
    shown, difference = SensoryAverage(8, 16).compare(torch.randn(1, 8, 4, 4), hidden)
    assert not difference[:, 1, :, 0].any()
    torch.testing.assert_close(difference[:, 0], hidden[:, 0] - shown[:, 0])


def test_of_what_a_resampled_grid_remembers_nothing_is_kept_but_of_what_is_gone_most_is() -> None:
    torch.manual_seed(0)
    unit, features, inputs = SensoryAverage(8, 16), torch.randn(1, 8, 6, 6), torch.zeros(1, 9, 6, 6)
    shown, _ = unit.compare(features, torch.zeros(1, 1, 16, 6, 6))
    between = shown.clone()
    between[..., 1:] = 0.3 * shown[..., 1:] + 0.7 * shown[..., :-1]
    kept = unit(inputs, *unit.compare(features, between))
    torch.testing.assert_close(kept, torch.zeros_like(kept))
    nothing, difference = unit.compare(torch.zeros_like(features), shown)
    assert (unit(inputs, nothing, difference) / difference).median() > 0.7
