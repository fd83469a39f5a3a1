"""Heads for inference, whose box branches run only where a score passes.

Scores need the whole map. The branches of box codes, most of a head's convolutions, are needed where a candidate is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from remembev.models.anchors import AnchorGrid
from remembev.models.dense_head import EncodedBoxes, SingleHead

_DENSE_FROM = 1 / 16
"""Share of the cells with a candidate from which on the whole map is cheaper."""


@dataclass(frozen=True)
class SparseOutput:
    """Scores of one head, and its other predictions for all anchors, computed when they are asked for."""

    cls_preds: Tensor  # [B, N, K]
    features: Tensor  # [B, C, H, W]
    head: SingleHead

    @cached_property
    def box_preds(self) -> Tensor:
        """[B, N, C]."""
        return self.head.box_codes(self.features)

    @cached_property
    def dir_preds(self) -> Tensor | None:
        """[B, N, bins], with a direction classifier."""
        return self.head.directions(self.features)


class SparseHead(nn.Module):
    """A head that computes the boxes of a single frame on patches of the map around the candidates' cells.

    A batch, and a frame with candidates in many cells, takes the branches over the whole map; the boxes are the same up
    to rounding.
    """

    first_weight: Tensor  # [M, C, 3, 3], of all branches
    first_bias: Tensor  # [M]

    def __init__(self, head: SingleHead) -> None:
        """Take ``head``, which has no normalisation any more."""
        super().__init__()
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in head.modules())
        self.head = head
        first = [convs[0] for convs in self._branches()]
        self.first_widths = [conv.out_channels for conv in first]
        self.register_buffer("first_weight", torch.cat([conv.weight for conv in first]), persistent=False)
        self.register_buffer(
            "first_bias", torch.cat([conv.bias for conv in first if conv.bias is not None]), persistent=False
        )

    @property
    def class_ids(self) -> Tensor:
        """Indices [K] into CLASS_NAMES."""
        return self.head.class_ids

    @property
    def anchors(self) -> AnchorGrid:
        """The head's anchors."""
        return self.head.anchors

    def forward(self, features: Tensor) -> SparseOutput:
        """Predict scores from features [B, C, H, W]."""
        return SparseOutput(self.head.scores(features), features, self.head)

    def encoded_boxes(self, output: SparseOutput, sample: Tensor | int, anchor: Tensor) -> EncodedBoxes:
        """Return the predicted codes at anchors [...] of samples [...]."""
        templates, height, width = self.anchors.shape
        if not isinstance(sample, int):
            return self.head.encoded_boxes(output, sample, anchor)
        cell, place = torch.unique(anchor % (height * width), return_inverse=True)
        if len(cell) > _DENSE_FROM * height * width:
            return self.head.encoded_boxes(output, sample, anchor)
        features, template = output.features[sample], anchor // (height * width)
        row, column = cell // width, cell % width
        codes = self._codes(features, row, column)
        sector = None
        if self.head.conv_dir_cls is not None:
            logits = self.head.conv_dir_cls(features[:, row, column].t()[..., None, None])[..., 0, 0]
            sector = torch.unflatten(logits, 1, (templates, -1))[place, template].argmax(dim=-1)
        return EncodedBoxes(codes[place, template].float(), self.anchors.boxes(anchor), sector)

    def _codes(self, features: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Return the codes [Q, T, C] of all templates at cells [Q] of features [C, H, W]."""
        branches = self._branches()
        hidden = F.conv2d(_patches(features, row, column, len(branches[0])), self.first_weight, self.first_bias)
        codes = []
        for of_branch, (_, *convs) in zip(torch.split(hidden, self.first_widths, dim=1), branches, strict=True):
            for reach, conv in zip(range(len(convs), 0, -1), convs, strict=True):
                of_branch = F.conv2d(of_branch.relu() * _on_map(features, row, column, reach), conv.weight, conv.bias)
            codes.append(of_branch[..., 0, 0])
        return torch.unflatten(torch.cat(codes, dim=1)[:, self.head.box_channels], 1, (self.anchors.per_location, -1))

    def _branches(self) -> list[list[nn.Conv2d]]:
        """Return the convolutions of each branch of the box code."""
        branches = self.head.conv_box.values()
        return [[layer for layer in branch.modules() if isinstance(layer, nn.Conv2d)] for branch in branches]


def _patches(features: Tensor, row: Tensor, column: Tensor, reach: int) -> Tensor:
    """Return the patches [Q, C, P, P], channels-last, of features [C, H, W] around cells [Q]; zero outside the map."""
    padded = F.pad(features, (reach, reach, reach, reach)).permute(1, 2, 0)
    offset = torch.arange(2 * reach + 1, device=row.device)
    return padded[(row[:, None] + offset)[:, :, None], (column[:, None] + offset)[:, None, :]].permute(0, 3, 1, 2)


def _on_map(features: Tensor, row: Tensor, column: Tensor, reach: int) -> Tensor:
    """Return 1 for the cells of the patches [Q, 1, P, P] around cells [Q] that lie on the map [C, H, W], else 0.

    A convolution over the whole map pads the input of every layer with zeros.
    """
    offset = torch.arange(-reach, reach + 1, device=row.device)
    rows, columns = (
        (place[:, None] + offset >= 0) & (place[:, None] + offset < size)
        for place, size in zip((row, column), features.shape[1:], strict=True)
    )
    return (rows[:, :, None] & columns[:, None, :])[:, None].to(features.dtype)
