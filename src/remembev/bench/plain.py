"""The model in OpenPCDet's way, in plain eager PyTorch: the baseline of the step's times.

Padded pillars, a channels-first map filled sample by sample, separate normalisation layers, every anchor decoded, and
NMS box by box. It gives the same boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from remembev.config.schema import PostProcessingConfig
from remembev.models import Detections, TemporalPointPillar
from remembev.models.dense_head import HeadPredictions, SingleHead
from remembev.models.direction import face_motion
from remembev.models.temporal import FrameOutput
from remembev.models.vfe import PillarEncoder, PillarFeatureNet
from remembev.ops import stage
from remembev.ops.reference import greedy_nms
from remembev.streaming import ModelEngine


class PlainEngine(ModelEngine):
    """Runs a model in OpenPCDet's way."""

    def __init__(self, model: TemporalPointPillar, device: str | torch.device = "cpu") -> None:
        super().__init__(model, device)
        self.model = _PlainModel(model).eval().to(self.device)


class _PlainModel(TemporalPointPillar):
    def __init__(self, model: TemporalPointPillar) -> None:
        super().__init__(model.cfg)
        self.load_state_dict(model.state_dict())
        self.vfe = _PlainVFE(self.vfe)

    def detect(self, output: FrameOutput) -> list[Detections]:
        outputs, post = output.predictions, self.cfg.MODEL.POST_PROCESSING
        with stage("nms"):
            return [
                _joined(
                    [_detect(*of_head, sample, post) for of_head in zip(self.dense_head.heads, outputs, strict=True)]
                )
                for sample in range(len(outputs[0].cls_preds))
            ]


class _PlainVFE(PillarEncoder):
    def __init__(self, encoder: PillarEncoder) -> None:
        super().__init__()
        assert isinstance(encoder, PillarFeatureNet)
        self.encoder = encoder

    def to_bev(self, points: Tensor, num_points: Tensor) -> Tensor:
        features, coords = self.encoder(points, num_points)
        grid, maps = self.encoder.grid, []
        with stage("scatter"):
            for sample in range(len(points)):
                of_sample = coords[:, 0] == sample
                cell = coords[of_sample, 1] * grid.width + coords[of_sample, 2]
                bev = features.new_zeros(features.shape[1], grid.height * grid.width)
                bev[:, cell] = features[of_sample].T
                maps.append(bev.view(-1, grid.height, grid.width))
            return torch.stack(maps)


def _detect(head: SingleHead, output: HeadPredictions, sample: int, post: PostProcessingConfig) -> Detections:
    """Return the boxes of one head."""
    scores = output.cls_preds[sample].sigmoid()
    anchors = torch.arange(len(head.anchors), device=scores.device)
    boxes = head.box_coder.decode(output.box_preds[sample], head.anchors.boxes(anchors))
    if output.dir_preds is not None:
        boxes[:, 6] = head.direction.resolve(boxes[:, 6], output.dir_preds[sample].argmax(dim=-1))
    if post.FACE_MOTION is not None:
        boxes = face_motion(boxes, post.FACE_MOTION)
    found = []
    for class_index, label in enumerate(head.class_ids):
        of_class = scores[:, class_index]
        (high,) = (of_class >= post.SCORE_THRESH).nonzero(as_tuple=True)
        best = high[of_class[high].topk(min(len(high), post.NMS_CONFIG.NMS_PRE_MAXSIZE)).indices]
        kept = best[greedy_nms(boxes[best], post.NMS_CONFIG.NMS_THRESH)][: post.NMS_CONFIG.NMS_POST_MAXSIZE]
        found.append(Detections(boxes[kept], of_class[kept], label.expand(len(kept))))
    return _joined(found)


def _joined(parts: Sequence[Detections]) -> Detections:
    return Detections(
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.labels for part in parts]),
    )
