"""OpenPCDet's multi-head PointPillars from its formulas, a stage a function, on weights by OpenPCDet's names.

Written for reading: loops over points, anchors and boxes, normalisation by hand, nothing of remembev. A function that
normalises takes ``statistics``: None at inference, where the running ones are used; in training a dictionary that it
writes the running ones after the step into.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]
Statistics = dict[str, Tensor] | None

BRANCHES = {"reg": 2, "height": 1, "size": 3, "angle": 2, "velo": 2}
CODE = 10
CODE_WEIGHTS = [1.0] * 8 + [0.2] * 2


# --------------------------------------------------------------------------------------------------------------- layout


def published_shapes(classes_of_heads: list[int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a checkpoint whose heads have so many classes, two anchors each."""
    shapes: dict[str, tuple[int, ...]] = {"global_step": (1,), "vfe.pfn_layers.0.linear.weight": (64, 11)}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    norm("vfe.pfn_layers.0.norm", 64)
    inputs = 64
    for block, (layers, filters) in enumerate([(3, 64), (5, 128), (5, 256)]):
        for layer in range(layers + 1):
            # A block begins with a layer of padding; a convolution, its normalisation and its ReLU are three layers.
            shapes[f"backbone_2d.blocks.{block}.{1 + 3 * layer}.weight"] = (filters, inputs, 3, 3)
            norm(f"backbone_2d.blocks.{block}.{2 + 3 * layer}", filters)
            inputs = filters
        # Down by a convolution; up by transposed ones, whose weights are [in, out, k, k].
        resample = {0: (128, 64, 2, 2), 1: (128, 128, 1, 1), 2: (256, 128, 2, 2)}
        shapes[f"backbone_2d.deblocks.{block}.0.weight"] = resample[block]
        norm(f"backbone_2d.deblocks.{block}.1", 128)
    shapes["dense_head.shared_conv.0.weight"] = (64, 384, 3, 3)
    norm("dense_head.shared_conv.1", 64)
    for head, classes in enumerate(classes_of_heads):
        anchors = 2 * classes
        shapes[f"dense_head.rpn_heads.{head}.head_label_indices"] = (classes,)
        outputs = {"conv_cls": anchors * classes}
        outputs |= {f"conv_box.conv_{name}": anchors * width for name, width in BRANCHES.items()}
        for branch, channels in outputs.items():
            name = f"dense_head.rpn_heads.{head}.{branch}"
            shapes[f"{name}.0.weight"] = (64, 64, 3, 3)
            norm(f"{name}.1", 64)
            shapes[f"{name}.3.weight"] = (channels, 64, 3, 3)
            shapes[f"{name}.3.bias"] = (channels,)
    return shapes


def random_weights(classes_of_heads: list[int], seed: int = 0) -> Weights:
    """Weights under which no stage dies out, with scores around the threshold and some shifts above 0."""
    generator = torch.Generator().manual_seed(seed)
    first_class, weights = 1, {}
    for name, shape in published_shapes(classes_of_heads).items():
        noise = torch.randn(shape, generator=generator)
        if name == "global_step":
            weights[name] = torch.tensor([123])
        elif name.endswith("head_label_indices"):
            weights[name] = torch.arange(first_class, first_class + shape[0])
            first_class += shape[0]
        elif name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            weights[name] = 0.5 + torch.rand(shape, generator=generator)
        elif len(shape) == 1:
            weights[name] = 0.3 * noise + (1.0 if name.endswith("weight") else 0.0)
            if name.endswith("conv_cls.3.bias"):
                weights[name] -= 3.5
        else:
            fan_in = math.prod(shape[1:])
            weights[name] = noise * math.sqrt((1.0 if name.endswith(".3.weight") else 2.0) / fan_in)
    # Points come in metres and units of intensity.
    weights["vfe.pfn_layers.0.linear.weight"] *= torch.tensor([0.1, 0.1, 0.5, 0.02, 2, 3, 3, 1, 3, 3, 1])
    return weights


# --------------------------------------------------------------------------------------------------------------- stages


def voxelise(
    points: np.ndarray, low: list[float], size: list[float], cells: list[int], max_points: int, max_pillars: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points [N, 5] in their order into pillars: points [P, S, 5], how many [P], cells (z, y, x) [P, 3]."""
    pillars: dict[tuple[int, ...], list[np.ndarray]] = {}
    cell = np.floor((points[:, :3] - np.array(low, points.dtype)) / np.array(size, points.dtype)).astype(int)
    for point, (x, y, z) in zip(points, cell.tolist(), strict=True):
        if not (0 <= x < cells[0] and 0 <= y < cells[1] and 0 <= z < cells[2]):
            continue
        if (z, y, x) not in pillars and len(pillars) == max_pillars:
            continue
        members = pillars.setdefault((z, y, x), [])
        if len(members) < max_points:
            members.append(point)
    padded = np.zeros((len(pillars), max_points, 5), dtype=points.dtype)
    for row, members in zip(padded, pillars.values(), strict=True):
        row[: len(members)] = members
    return padded, np.array([len(members) for members in pillars.values()]), np.array(list(pillars))


def encode_pillars(
    weights: Weights,
    points: Tensor,  # [P, S, 5]
    count: Tensor,  # [P]
    cells: Tensor,  # [P, 3] z, y, x
    low: list[float],
    size: list[float],
    statistics: Statistics,
) -> Tensor:
    """Features [P, 64]: rows of padding are zeros before the linear layer, and counted in all that follows it."""
    xyz = points[..., :3]
    mean = xyz.sum(dim=1, keepdim=True) / count[:, None, None]
    centre = (cells.flip(1).to(points.dtype) + 0.5) * points.new_tensor(size) + points.new_tensor(low)
    features = torch.cat((points, xyz - mean, xyz - centre[:, None]), dim=-1)
    for pillar, number in enumerate(count.tolist()):
        features[pillar, number:] = 0
    rows = features @ weights["vfe.pfn_layers.0.linear.weight"].T
    normalised = normalise(weights, "vfe.pfn_layers.0.norm", rows.flatten(0, 1), statistics)
    return F.relu(normalised).view_as(rows).max(dim=1).values


def normalise(
    weights: Weights, name: str, x: Tensor, statistics: Statistics, eps: float = 1e-3, momentum: float = 0.01
) -> Tensor:
    """Batch normalisation of x [N, C, ...]."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    if statistics is not None:
        axes = [0, *range(2, x.ndim)]
        number = x.numel() / x.shape[1]
        batch_mean = x.mean(dim=axes)
        batch_var = ((x - batch_mean.view(shape)) ** 2).mean(dim=axes)
        unbiased = batch_var * number / (number - 1)
        statistics[f"{name}.running_mean"] = (mean * (1 - momentum) + batch_mean * momentum).detach()
        statistics[f"{name}.running_var"] = (var * (1 - momentum) + unbiased * momentum).detach()
        statistics[f"{name}.num_batches_tracked"] = weights[f"{name}.num_batches_tracked"] + 1
        mean, var = batch_mean, batch_var
    scaled = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + eps)
    return scaled * weights[f"{name}.weight"].view(shape) + weights[f"{name}.bias"].view(shape)


def scatter(features: Tensor, sample: Tensor, cells: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Pillar features [P, C] at their sample [P] and cells (z, y, x) [P, 3]: [B, C, H, W]."""
    bev = features.new_zeros(batch, height, width, features.shape[1])
    bev[sample, cells[:, 1], cells[:, 2]] = features
    return bev.permute(0, 3, 1, 2)


def backbone(weights: Weights, bev: Tensor, statistics: Statistics) -> Tensor:
    """spatial_features_2d [B, 384, H/4, W/4] of a map of pillars [B, 64, H, W]."""
    maps = []
    for block, layers in enumerate([4, 6, 6]):
        for layer in range(layers):
            name = f"backbone_2d.blocks.{block}.{1 + 3 * layer}"
            bev = F.conv2d(F.pad(bev, (1, 1, 1, 1)), weights[f"{name}.weight"], stride=2 if layer == 0 else 1)
            bev = F.relu(normalise(weights, f"backbone_2d.blocks.{block}.{2 + 3 * layer}", bev, statistics))
        kernel = weights[f"backbone_2d.deblocks.{block}.0.weight"]
        resampled = F.conv2d(bev, kernel, stride=2) if block == 0 else F.conv_transpose2d(bev, kernel, stride=block)
        maps.append(F.relu(normalise(weights, f"backbone_2d.deblocks.{block}.1", resampled, statistics)))
    return torch.cat(maps, dim=1)


def shared_conv(weights: Weights, features: Tensor, statistics: Statistics) -> Tensor:
    """What all heads start from [B, 64, H, W]."""
    features = F.conv2d(features, weights["dense_head.shared_conv.0.weight"], padding=1)
    return F.relu(normalise(weights, "dense_head.shared_conv.1", features, statistics))


def head(weights: Weights, number: int, features: Tensor, statistics: Statistics) -> tuple[Tensor, Tensor]:
    """Logits [B, A·H·W, K] and codes [B, A·H·W, 10] of a head with K classes and A = 2 K anchors at a cell.

    The branches' channels are put one after another and cut into anchors, whatever branch they are of.
    """
    name = f"dense_head.rpn_heads.{number}"
    classes = len(weights[f"{name}.head_label_indices"])

    def branch(which: str) -> Tensor:
        middle = F.conv2d(features, weights[f"{name}.{which}.0.weight"], padding=1)
        middle = F.relu(normalise(weights, f"{name}.{which}.1", middle, statistics, eps=1e-5, momentum=0.1))
        return F.conv2d(middle, weights[f"{name}.{which}.3.weight"], weights[f"{name}.{which}.3.bias"], padding=1)

    def by_anchor(channels: Tensor, width: int) -> Tensor:
        batch, _, rows, columns = channels.shape
        cut = channels.view(batch, 2 * classes, width, rows, columns)
        return cut.permute(0, 1, 3, 4, 2).reshape(batch, -1, width)

    boxes = torch.cat([branch(f"conv_box.conv_{part}") for part in BRANCHES], dim=1)
    return by_anchor(branch("conv_cls"), classes), by_anchor(boxes, CODE)


# --------------------------------------------------------------------------------------------------- anchors and boxes


def anchors(
    sizes: list[list[float]], bottoms: list[float], low: list[float], high: list[float], rows: int, columns: int
) -> Tensor:
    """Anchors [A·H·W, 7] of a head, float64: class, rotation, row, column; the outermost are on the range's edge."""
    boxes = []
    for size, bottom in zip(sizes, bottoms, strict=True):
        for yaw in (0.0, 1.57):
            for row in range(rows):
                y = low[1] + row * (high[1] - low[1]) / (rows - 1)
                for column in range(columns):
                    x = low[0] + column * (high[0] - low[0]) / (columns - 1)
                    boxes.append([x, y, bottom + size[2] / 2, *size, yaw])
    return torch.tensor(boxes, dtype=torch.float64)


def decode(codes: Tensor, at: Tensor) -> Tensor:
    """Boxes [N, 9] of codes [N, 10] at anchors [N, 7]."""
    diagonal = torch.sqrt(at[:, 3] ** 2 + at[:, 4] ** 2)
    return torch.stack(
        [
            codes[:, 0] * diagonal + at[:, 0],
            codes[:, 1] * diagonal + at[:, 1],
            codes[:, 2] * at[:, 5] + at[:, 2],
            torch.exp(codes[:, 3]) * at[:, 3],
            torch.exp(codes[:, 4]) * at[:, 4],
            torch.exp(codes[:, 5]) * at[:, 5],
            torch.atan2(codes[:, 7] + torch.sin(at[:, 6]), codes[:, 6] + torch.cos(at[:, 6])),
            codes[:, 8],
            codes[:, 9],
        ],
        dim=1,
    )


def encode(box: Tensor, at: Tensor) -> Tensor:
    """The code [10] of a box [9] at an anchor [7]."""
    diagonal = torch.sqrt(at[3] ** 2 + at[4] ** 2)
    return torch.stack(
        [
            (box[0] - at[0]) / diagonal,
            (box[1] - at[1]) / diagonal,
            (box[2] - at[2]) / at[5],
            torch.log(box[3] / at[3]),
            torch.log(box[4] / at[4]),
            torch.log(box[5] / at[5]),
            torch.cos(box[6]) - torch.cos(at[6]),
            torch.sin(box[6]) - torch.sin(at[6]),
            box[7],
            box[8],
        ]
    )


def rectangle(box: list[float]) -> list[tuple[float, float]]:
    """Corners of a box from above, counter-clockwise."""
    x, y, _, length, width, _, yaw = box[:7]
    cos, sin = math.cos(yaw), math.sin(yaw)
    offsets = [(length, width), (-length, width), (-length, -width), (length, -width)]
    return [(x + (a * cos - b * sin) / 2, y + (a * sin + b * cos) / 2) for a, b in offsets]


def overlap(first: list[float], second: list[float]) -> float:
    """Intersection over union of two boxes from above: one clipped by the sides of the other."""
    if math.dist(first[:2], second[:2]) > (math.hypot(*first[3:5]) + math.hypot(*second[3:5])) / 2:
        return 0.0
    polygon, sides = rectangle(first), rectangle(second)
    for start, stop in zip(sides, sides[1:] + sides[:1], strict=True):
        inside = [(stop[0] - start[0]) * (y - start[1]) - (stop[1] - start[1]) * (x - start[0]) for x, y in polygon]
        clipped = []
        for i, (point, d) in enumerate(zip(polygon, inside, strict=True)):
            before, e = polygon[i - 1], inside[i - 1]
            if (d >= 0) != (e >= 0):
                share = e / (e - d)
                clipped.append((before[0] + share * (point[0] - before[0]), before[1] + share * (point[1] - before[1])))
            if d >= 0:
                clipped.append(point)
        polygon = clipped
    shared = 0.5 * sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True))
    return shared / (first[3] * first[4] + second[3] * second[4] - shared)


def suppress(
    boxes: Tensor, scores: Tensor, *, min_score: float, max_overlap: float, most_in: int, most_out: int
) -> list[int]:
    """Rows of one class's boxes [N, 9] that are kept, best score [N] first."""
    candidates = [row for row in scores.argsort(descending=True).tolist() if scores[row] >= min_score][:most_in]
    kept: list[int] = []
    shapes = boxes.tolist()
    for row in candidates:
        if all(overlap(shapes[row], shapes[other]) <= max_overlap for other in kept):
            kept.append(row)
    return kept[:most_out]


# --------------------------------------------------------------------------------------------------- targets and losses


def to_nearest_axis(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x1, y1, x2, y2 [N] of boxes [N, ≥7] turned to the nearest axis."""
    turned = (boxes[:, 6] - torch.floor(boxes[:, 6] / math.pi + 0.5) * math.pi).abs() >= math.pi / 4
    along_x = torch.where(turned, boxes[:, 4], boxes[:, 3])
    along_y = torch.where(turned, boxes[:, 3], boxes[:, 4])
    return (
        boxes[:, 0] - along_x / 2,
        boxes[:, 1] - along_y / 2,
        boxes[:, 0] + along_x / 2,
        boxes[:, 1] + along_y / 2,
    )


def assign(at: Tensor, boxes: Tensor, matched: float, unmatched: float) -> Tensor:
    """Which of the boxes [M, 9] of a class its anchors [N, 7] answer for: row, -1 background, -2 not counted: [N]."""
    if len(boxes) == 0:
        return torch.full((len(at),), -1)
    x1, y1, x2, y2 = to_nearest_axis(at)
    areas = (x2 - x1) * (y2 - y1)
    columns = []
    for bx1, by1, bx2, by2 in zip(*to_nearest_axis(boxes), strict=True):
        width = (torch.minimum(x2, bx2) - torch.maximum(x1, bx1)).clamp(min=0)
        height = (torch.minimum(y2, by2) - torch.maximum(y1, by1)).clamp(min=0)
        columns.append(width * height / (areas + (bx2 - bx1) * (by2 - by1) - width * height))
    overlaps = torch.stack(columns, dim=1)
    best, answer = overlaps.max(dim=1)
    result = torch.where(best < unmatched, -1, -2)
    result[best >= matched] = answer[best >= matched]
    for column in overlaps.T:
        if column.max() > 0:
            forced = column == column.max()
            result[forced] = answer[forced]
    return result


def focal_loss(logits: Tensor, is_class: Tensor) -> Tensor:
    """−α_t (1 − p_t)² log p_t, α = 0.25."""
    p = torch.sigmoid(logits)
    positive = 0.25 * (1 - p) ** 2 * F.softplus(-logits)
    negative = 0.75 * p**2 * F.softplus(logits)
    return torch.where(is_class, positive, negative)


def losses(
    predictions: list[tuple[Tensor, Tensor]],  # a head: logits [B, N, K], codes [B, N, 10]
    at: list[Tensor],  # a head: anchors [N, 7]
    matches: list[list[Tensor]],  # a sample, a head: [N], row of the sample's boxes, -1 or -2
    boxes: list[Tensor],  # a sample: [M, 9]
    labels: list[Tensor],  # a sample: [M], class among all
) -> tuple[Tensor, Tensor]:
    """Loss of the scores and of the boxes: over the positives of all heads of a sample, then over the samples."""
    cls_loss = loc_loss = torch.zeros(())
    for sample, of_heads in enumerate(matches):
        positives = max(1, sum(int((match >= 0).sum()) for match in of_heads))
        first_class = 0
        for (logits, codes), anchor, match in zip(predictions, at, of_heads, strict=True):
            weight = torch.where(match == -1, 2.0, torch.where(match >= 0, 1.0, 0.0))
            classes = torch.arange(first_class, first_class + logits.shape[2])
            first_class += len(classes)
            of_anchor = torch.where(match >= 0, labels[sample][match.clamp(min=0)] if len(labels[sample]) else -1, -1)
            focal = focal_loss(logits[sample], of_anchor[:, None] == classes)
            cls_loss = cls_loss + (focal * weight[:, None]).sum() / positives / len(boxes)
            for row in (match >= 0).nonzero()[:, 0].tolist():
                code = encode(boxes[sample][match[row]], anchor[row].to(codes.dtype))
                off = torch.where(code.isnan(), 0.0, codes[sample, row] - code.nan_to_num()).abs()
                loc_loss = loc_loss + 0.25 * (off * off.new_tensor(CODE_WEIGHTS)).sum() / positives / len(boxes)
    return cls_loss, loc_loss
