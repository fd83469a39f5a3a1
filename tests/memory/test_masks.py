"""Masks of a finer grid than the memory's."""

from __future__ import annotations

import pytest
import torch

from remembev.config.schema import OccupancyLossConfig
from remembev.memory import FrameContext, occupancy_loss
from remembev.memory.masks import pool_masks

from .small import assert_same, features, mask, small_memory


def test_a_cell_is_occupied_if_any_of_its_finer_cells_is() -> None:
    fine = torch.zeros(1, 2, 8, 12)
    fine[0, 0, 5, 7] = fine[0, 1, 0, 0] = 1
    pooled = pool_masks(fine, 4, 4)
    assert pooled.nonzero().tolist() == [[0, 0, 2, 2], [0, 1, 0, 0]]
    assert torch.equal(pool_masks(fine.bool(), 4, 4), pooled)


@pytest.mark.parametrize("cells", [(6, 8), (8, 6), (2, 2)])
def test_a_grid_that_does_not_divide_is_an_error_with_both_sizes(cells: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"\[1, 1, {cells[0]}, {cells[1]}\] can't be pooled .* 4 × 4 cells"):
        pool_masks(torch.zeros(1, 1, *cells), 4, 4)


@pytest.mark.parametrize("agents", [1, 2])
def test_finer_masks_are_written_as_the_same_masks_on_the_memory_s_grid(agents: int) -> None:
    memory = small_memory(agents=agents).train()
    masks, states = mask(0, agents=agents), []
    for given in (masks, masks.repeat_interleave(3, dim=2).repeat_interleave(2, dim=3)):
        context = FrameContext(scene_masks=given[:, :1], agent_masks=given if agents > 1 else None)
        states.append(memory.step(features(0), memory.initial_state(1), context).state)
    assert_same(*states)


def test_the_occupancy_loss_of_finer_masks_is_that_of_the_pooled_ones() -> None:
    logits, fine = torch.randn(2, 1, 4, 4), (torch.rand(2, 1, 8, 8) > 0.8).float()
    losses = [
        occupancy_loss(logits, masks, OccupancyLossConfig(DILATE=1), 0.5) for masks in (fine, pool_masks(fine, 4, 4))
    ]
    assert torch.equal(*losses)
    assert losses[0] > 0
