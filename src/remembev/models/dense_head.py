"""``AnchorHeadMulti``: several anchor heads on one BEV map, their losses and boxes.

The layout is OpenPCDet's with USE_MULTIHEAD and SEPARATE_MULTIHEAD: each head classifies only its own classes, and has
a branch of convolutions for the scores and for each part of the box code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from remembev.config.schema import AnchorConfig, DenseHeadConfig, PostProcessingConfig, SeparateRegConfig
from remembev.geometry import BEVGrid
from remembev.models.anchors import AnchorGrid
from remembev.models.backbone import conv_norm_relu
from remembev.models.box_coder import BoxCoder
from remembev.models.detections import Detections, PaddedDetections
from remembev.models.direction import DirectionBins, face_motion
from remembev.models.losses import sigmoid_focal_loss, weighted_l1_loss
from remembev.models.post_processing import select_candidates, suppress, suppress_padded, top_per_class
from remembev.models.targets import BACKGROUND, AxisAlignedTargetAssigner, HeadTargets

_PRIOR = 0.01  # score of every anchor before training
_SAME_TIME = 0.02  # seconds by which frames of a data set may be off their period


class HeadPredictions(Protocol):
    """Predictions of one head for its N anchors and K classes."""

    @property
    def cls_preds(self) -> Tensor:
        """[B, N, K] logits."""

    @property
    def box_preds(self) -> Tensor:
        """[B, N, C] box codes."""

    @property
    def dir_preds(self) -> Tensor | None:
        """[B, N, bins] logits, with a direction classifier."""


@dataclass(frozen=True)
class HeadOutput:
    """The predictions of a ``SingleHead``."""

    cls_preds: Tensor  # [B, N, K]
    box_preds: Tensor  # [B, N, C]
    dir_preds: Tensor | None  # [B, N, bins]


class EncodedBoxes(NamedTuple):
    """Predicted boxes before they are decoded."""

    codes: Tensor  # [..., C]
    anchors: Tensor  # [..., 7]
    sector: Tensor | None  # [...] int64, with a direction classifier


class SingleHead(nn.Module):
    """Anchor head of a few classes: branches for scores, box codes and direction."""

    class_ids: Tensor  # [K] indices into CLASS_NAMES
    code_weights: Tensor  # [C]
    box_channels: Tensor  # [T * C] channel of each (template, code) in the concatenated branches

    def __init__(
        self,
        cfg: DenseHeadConfig,
        class_ids: Sequence[int],
        anchor_cfgs: Sequence[AnchorConfig],
        in_channels: int,
        feature_grid: BEVGrid,
    ) -> None:
        super().__init__()
        self.loss_weights = cfg.LOSS_CONFIG.LOSS_WEIGHTS
        self.anchors = AnchorGrid(anchor_cfgs, feature_grid)
        min_size = cfg.TARGET_ASSIGNER_CONFIG.MIN_CELLS * max(feature_grid.cell_x, feature_grid.cell_y)
        self.assigner = AxisAlignedTargetAssigner(self.anchors, anchor_cfgs, min_size)
        self.box_coder = BoxCoder(cfg.HEADING_CODE)
        self.register_buffer("class_ids", torch.tensor(class_ids), persistent=False)
        self.register_buffer("code_weights", torch.tensor(self.loss_weights.code_weights), persistent=False)

        templates, separate = self.anchors.per_location, cfg.SEPARATE_REG_CONFIG
        widths = {name: int(width) for name, width in (entry.split(":") for entry in separate.REG_LIST)}
        self.conv_cls = _branch(in_channels, templates * len(class_ids), separate)
        self.conv_box = nn.ModuleDict(
            {f"conv_{name}": _branch(in_channels, templates * width, separate) for name, width in widths.items()}
        )
        self.register_buffer("box_channels", _box_channels(templates, list(widths.values())))
        self.direction = DirectionBins(cfg.NUM_DIR_BINS, cfg.DIR_OFFSET, cfg.DIR_LIMIT_OFFSET)
        self.conv_dir_cls = (
            nn.Conv2d(in_channels, templates * cfg.NUM_DIR_BINS, 1) if cfg.USE_DIRECTION_CLASSIFIER else None
        )
        self._initialise()

    def _initialise(self) -> None:
        for module in self.conv_box.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        score_bias = self.conv_cls[-1].bias
        assert isinstance(score_bias, Tensor)
        nn.init.constant_(score_bias, -math.log((1 - _PRIOR) / _PRIOR))

    def forward(self, features: Tensor) -> HeadOutput:
        """Predict T · H · W anchors from features [B, C, H, W]."""
        return HeadOutput(self.scores(features), self.box_codes(features), self.directions(features))

    def scores(self, features: Tensor) -> Tensor:
        """Return the classes' logits [B, N, K]."""
        return self._by_anchor(self.conv_cls(features))

    def box_codes(self, features: Tensor) -> Tensor:
        """Return the box codes [B, N, C]."""
        boxes = torch.cat([branch(features) for branch in self.conv_box.values()], dim=1)
        return self._by_anchor(boxes.index_select(1, self.box_channels))

    def directions(self, features: Tensor) -> Tensor | None:
        """Return the sectors' logits [B, N, bins], None without a direction classifier."""
        return None if self.conv_dir_cls is None else self._by_anchor(self.conv_dir_cls(features))

    def _by_anchor(self, channels: Tensor) -> Tensor:
        """[B, T * C, H, W] to [B, T * H * W, C]."""
        batch, _, height, width = channels.shape
        by_template = channels.reshape(batch, self.anchors.per_location, -1, height, width)
        return by_template.permute(0, 1, 3, 4, 2).flatten(1, 3)

    def assign(self, gt_boxes: Tensor, gt_labels: Tensor) -> HeadTargets:
        """Assign ground truth [B, M, 9] with labels [B, M] into CLASS_NAMES; other heads' classes are ignored."""
        is_class = gt_labels[..., None] == self.class_ids
        return self.assigner.assign(gt_boxes, torch.where(is_class.any(-1), is_class.int().argmax(-1), BACKGROUND))

    def loss(
        self, output: HeadPredictions, targets: HeadTargets, sample_weight: Tensor, gt_weight: Tensor
    ) -> dict[str, Tensor]:
        """Return weighted losses, summed over anchors.

        Args:
            output: Predictions.
            targets: Targets of the anchors.
            sample_weight: Weight of each sample [B].
            gt_weight: Weight of each box [B, M].
        """
        weights = self.loss_weights
        labels, positive = targets.labels, (targets.sample, targets.anchor)
        box_weight = gt_weight[targets.sample, targets.gt]
        anchor_weight = (labels == BACKGROUND) * weights.neg_cls_weight
        anchor_weight[positive] = box_weight * weights.pos_cls_weight
        is_class = labels[..., None] == torch.arange(len(self.class_ids), device=labels.device)
        focal = sigmoid_focal_loss(output.cls_preds.float(), is_class)
        cls_loss = (focal * (anchor_weight * sample_weight[:, None])[..., None]).sum()

        positive_weight = sample_weight[targets.sample] * box_weight
        codes = self.box_coder.encode(targets.boxes, self.anchors.boxes(targets.anchor))
        l1 = weighted_l1_loss(self.box_coder.error(output.box_preds[positive].float(), codes), self.code_weights)
        losses = {
            "cls_loss": weights.cls_weight * cls_loss,
            "loc_loss": weights.loc_weight * (l1 * positive_weight).sum(),
        }
        if output.dir_preds is not None:
            sector = self.direction.sector(targets.boxes[:, 6])
            entropy = F.cross_entropy(output.dir_preds[positive].float(), sector, reduction="none")
            losses["dir_loss"] = weights.dir_weight * (entropy * positive_weight).sum()
        return losses

    def encoded_boxes(self, output: HeadPredictions, sample: Tensor | int, anchor: Tensor) -> EncodedBoxes:
        """Return the predicted codes at anchors [...] of samples [...]."""
        sector = None if output.dir_preds is None else output.dir_preds[sample, anchor].argmax(dim=-1)
        return EncodedBoxes(output.box_preds[sample, anchor].float(), self.anchors.boxes(anchor), sector)


class AnchorHeadMulti(nn.Module):
    """Shared convolution followed by a ``SingleHead`` for each entry of RPN_HEAD_CFGS."""

    def __init__(
        self, cfg: DenseHeadConfig, class_names: Sequence[str], in_channels: int, feature_grid: BEVGrid
    ) -> None:
        super().__init__()
        self.min_points_in_gt = cfg.TARGET_ASSIGNER_CONFIG.MIN_POINTS_IN_GT
        self.min_points_known = cfg.TARGET_ASSIGNER_CONFIG.MIN_POINTS_KNOWN
        seen_within = cfg.TARGET_ASSIGNER_CONFIG.SEEN_WITHIN
        self.unseen_weight = cfg.TARGET_ASSIGNER_CONFIG.UNSEEN_WEIGHT
        self.seen_within = -math.inf if seen_within is None else seen_within + _SAME_TIME
        shared = cfg.SHARED_CONV_NUM_FILTER
        self.shared_conv = nn.Sequential(*conv_norm_relu(nn.Conv2d(in_channels, shared, 3, padding=1, bias=False)))
        anchor_cfgs = {entry.class_name: entry for entry in cfg.ANCHOR_GENERATOR_CONFIG}
        self.box_coder = BoxCoder(cfg.HEADING_CODE)
        self.direction = DirectionBins(cfg.NUM_DIR_BINS, cfg.DIR_OFFSET, cfg.DIR_LIMIT_OFFSET)
        self.rpn_heads = nn.ModuleList()
        for head in cfg.RPN_HEAD_CFGS:
            class_ids = [list(class_names).index(name) for name in head.HEAD_CLS_NAME]
            head_anchors = [anchor_cfgs[name] for name in head.HEAD_CLS_NAME]
            self.rpn_heads.append(SingleHead(cfg, class_ids, head_anchors, shared, feature_grid))

    @property
    def heads(self) -> list[SingleHead]:
        """Heads in the order of their outputs."""
        return cast("list[SingleHead]", list(self.rpn_heads))

    def forward(self, spatial_features_2d: Tensor) -> tuple[HeadPredictions, ...]:
        """Return each head's predictions from spatial_features_2d [B, C_bev, H, W]."""
        shared = self.shared_conv(spatial_features_2d)
        return tuple(head(shared) for head in self.rpn_heads)

    def loss(
        self,
        outputs: Sequence[HeadPredictions],
        gt_boxes: Tensor,  # [B, M, 9]
        gt_labels: Tensor,  # [B, M] into CLASS_NAMES, -1 pads
        gt_num_points: Tensor,  # [B, M]
        gt_seconds_unseen: Tensor,  # [B, M]
    ) -> dict[str, Tensor]:
        """Return weighted ``cls_loss``, ``loc_loss`` and, with a direction classifier, ``dir_loss``: scalars.

        Each sample's losses are divided by its positive anchors of all heads, then averaged over the batch. Entries of
        a box that are NaN, such as an unknown velocity, are ignored.
        """
        seen = gt_num_points >= self.min_points_in_gt
        known = (gt_seconds_unseen <= self.seen_within) & (gt_num_points >= self.min_points_known)
        labels = torch.where(seen | known, gt_labels, -1)
        gt_weight = torch.where(seen, 1.0, self.unseen_weight)
        targets = [head.assign(gt_boxes, labels) for head in self.heads]
        positives = torch.stack([(target.labels >= 0).sum(dim=1) for target in targets]).sum(dim=0)
        sample_weight = 1 / (positives.clamp(min=1) * len(positives))
        losses: dict[str, Tensor] = {}
        for head, output, target in zip(self.heads, outputs, targets, strict=True):
            for name, value in head.loss(output, target, sample_weight, gt_weight).items():
                losses[name] = losses[name] + value if name in losses else value
        return losses

    def predict(self, outputs: Sequence[HeadPredictions], post: PostProcessingConfig) -> list[Detections]:
        """Return the detections of each sample."""
        if outputs[0].cls_preds.is_cuda:
            padded = self.predict_padded(outputs, post)
            return [padded.item(sample) for sample in range(len(padded.num_boxes))]
        return [self._predict_sample(outputs, sample, post) for sample in range(len(outputs[0].cls_preds))]

    def _predict_sample(
        self, outputs: Sequence[HeadPredictions], sample: int, post: PostProcessingConfig
    ) -> Detections:
        encoded, scores, labels = [], [], []
        for head, output in zip(self.heads, outputs, strict=True):
            anchor, class_index, score = select_candidates(output.cls_preds[sample], post)
            encoded.append(head.encoded_boxes(output, sample, anchor))
            scores.append(score)
            labels.append(head.class_ids[class_index])
        return suppress(Detections(self._decode(encoded, post, dim=0), torch.cat(scores), torch.cat(labels)), post)

    def predict_padded(self, outputs: Sequence[HeadPredictions], post: PostProcessingConfig) -> PaddedDetections:
        """Return the detections in fixed shapes, NMS_POST_MAXSIZE a class, for exports and CUDA graphs."""
        encoded, scores = [], []
        for head, output in zip(self.heads, outputs, strict=True):
            anchor, score = top_per_class(output.cls_preds, post)
            sample = torch.arange(len(anchor), device=anchor.device)[:, None, None]
            encoded.append(head.encoded_boxes(output, sample, anchor))
            scores.append(score)
        labels = torch.cat([head.class_ids for head in self.heads])
        return suppress_padded(self._decode(encoded, post, dim=1), torch.cat(scores, dim=1), labels, post)

    def _decode(self, encoded: Sequence[EncodedBoxes], post: PostProcessingConfig, dim: int) -> Tensor:
        """Decode the boxes [..., 9] of all heads, concatenated along ``dim``."""
        codes = torch.cat([boxes.codes for boxes in encoded], dim)
        anchors = torch.cat([boxes.anchors for boxes in encoded], dim)
        boxes = self.box_coder.decode(codes, anchors)
        sectors = [boxes.sector for boxes in encoded if boxes.sector is not None]
        if sectors:
            yaw = self.direction.resolve(boxes[..., 6:7], torch.cat(sectors, dim)[..., None])
            boxes = torch.cat((boxes[..., :6], yaw, boxes[..., 7:]), dim=-1)
        return boxes if post.FACE_MOTION is None else face_motion(boxes, post.FACE_MOTION)


def _branch(in_channels: int, out_channels: int, cfg: SeparateRegConfig) -> nn.Sequential:
    """Return the convolutions of one branch; batch normalisation has PyTorch's defaults."""
    layers: list[nn.Module] = []
    for _ in range(cfg.NUM_MIDDLE_CONV):
        conv = nn.Conv2d(in_channels, cfg.NUM_MIDDLE_FILTER, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(cfg.NUM_MIDDLE_FILTER), nn.ReLU(inplace=True)]
        in_channels = cfg.NUM_MIDDLE_FILTER
    return nn.Sequential(*layers, nn.Conv2d(in_channels, out_channels, 3, padding=1))


def _box_channels(templates: int, widths: Sequence[int]) -> Tensor:
    """Return the channel [T * C] of each (template, code) if a branch has its part of the code for all templates.

    Published OpenPCDet weights view the concatenated channels as (template, code), whatever their branch: for them
    this is 0 … C T - 1.
    """
    channels = torch.arange(templates * sum(widths))
    branches = torch.split(channels, [templates * width for width in widths])
    return torch.cat([branch.view(templates, -1) for branch in branches], dim=1).flatten()
