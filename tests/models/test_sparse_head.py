"""Boxes of the candidates' cells are those of the whole map."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.models.test_fused import model_with_statistics

from remembev import load_config
from remembev.models import fuse_for_inference
from remembev.models.sparse_head import SparseHead, SparseOutput

HEADS = {
    "sector": (),
    "no sector": ("MODEL.DENSE_HEAD.HEADING_CODE=sincos", "MODEL.DENSE_HEAD.USE_DIRECTION_CLASSIFIER=false"),
    "no middle layer": ("MODEL.DENSE_HEAD.SEPARATE_REG_CONFIG.NUM_MIDDLE_CONV=0",),
    "three middle layers": ("MODEL.DENSE_HEAD.SEPARATE_REG_CONFIG.NUM_MIDDLE_CONV=3",),
}


@cache
def sparse_head(*overrides: str) -> tuple[SparseHead, SparseOutput]:
    """A fused head with lively biases and its scores of random features, of a batch of two."""
    fused = fuse_for_inference(model_with_statistics(*overrides))
    head = fused.dense_head.rpn_heads[1]
    assert isinstance(head, SparseHead)
    _, height, width = head.anchors.shape
    channels = head.head.conv_cls[0].in_channels
    return head, head(torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("overrides", HEADS.values(), ids=HEADS)
@torch.no_grad()
def test_codes_and_sectors_at_cells_are_those_of_the_whole_map(overrides: tuple[str, ...]) -> None:
    head, output = sparse_head(*overrides)
    templates, height, width = head.anchors.shape
    corners = torch.tensor([0, width - 1, (height - 1) * width, height * width - 1])
    cell = torch.cat((corners, torch.arange(3) * (width + 1) + width))
    anchor = (cell + torch.arange(templates)[:, None] * height * width).flatten()
    computed = replace(output)  # whose predictions of the whole map nothing asks for
    at_cells, expected = head.encoded_boxes(computed, 1, anchor), head.head.encoded_boxes(output, 1, anchor)
    assert "box_preds" not in vars(computed)
    assert expected.codes.abs().median() > 0.01
    torch.testing.assert_close(at_cells.codes, expected.codes, rtol=1e-5, atol=1e-5)
    assert torch.equal(at_cells.anchors, expected.anchors)
    assert (at_cells.sector is None) == (expected.sector is None) == (overrides == HEADS["no sector"])
    if expected.sector is not None:
        assert torch.equal(at_cells.sector, expected.sector)


@given(count=st.integers(0, 300), seed=st.integers(0, 100))
@torch.no_grad()
def test_any_number_of_candidates_has_the_boxes_of_the_whole_map(count: int, seed: int) -> None:
    head, output = sparse_head()
    generator = torch.Generator().manual_seed(seed)
    anchor = torch.randint(len(head.anchors), (count,), generator=generator)
    found, expected = head.encoded_boxes(output, 0, anchor), head.head.encoded_boxes(output, 0, anchor)
    torch.testing.assert_close(found.codes, expected.codes, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_crowd_of_candidates_and_a_batch_take_the_whole_map() -> None:
    head, known = sparse_head()
    output = replace(known)
    _, height, width = head.anchors.shape
    crowd = torch.arange(height * width // 8)
    head.encoded_boxes(output, 0, crowd)
    assert "box_preds" in vars(output)
    batch = replace(output)
    head.encoded_boxes(batch, torch.tensor([[0], [1]]), torch.tensor([[3], [5]]))
    assert "box_preds" in vars(batch)


@torch.no_grad()
def test_a_frame_without_a_candidate_has_no_box() -> None:
    model = fuse_for_inference(model_with_statistics())
    post = load_config("tiny").MODEL.POST_PROCESSING.model_copy(update={"SCORE_THRESH": 1.0})
    channels = model.dense_head.shared_conv[0].in_channels
    grid = model.cfg.feature_grid
    outputs = model.dense_head(torch.randn(1, channels, grid.height, grid.width))
    (found,) = model.dense_head.predict(outputs, post)
    assert len(found) == 0
