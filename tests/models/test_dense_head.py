import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from remembev.config import load_config
from remembev.config.schema import NMSConfig, PostProcessingConfig
from remembev.config.sizes import MetresPerSecond
from remembev.geometry import BEVGrid, wrap_angle
from remembev.models import AnchorHeadMulti, HeadOutput, PaddedDetections
from remembev.models.targets import BACKGROUND, IGNORED

GRID = BEVGrid(-12.8, -12.8, 12.8, 12.8, 32, 32)
CLASSES = load_config("tiny").CLASS_NAMES
POST = PostProcessingConfig()
BEST_50 = PostProcessingConfig(SCORE_THRESH=0.0, NMS_CONFIG=NMSConfig(NMS_PRE_MAXSIZE=50))
SOME = PostProcessingConfig(SCORE_THRESH=0.015, NMS_CONFIG=NMSConfig(NMS_PRE_MAXSIZE=100, NMS_POST_MAXSIZE=5))
CHANNELS = 6
SINCOS = ("MODEL.DENSE_HEAD.HEADING_CODE=sincos", "MODEL.DENSE_HEAD.USE_DIRECTION_CLASSIFIER=false")
DOUBLE_ANGLE = ("HEADING_CODE=double_angle", "USE_DIRECTION_CLASSIFIER=true")
RESIDUAL = (
    "HEADING_CODE=residual",
    "USE_DIRECTION_CLASSIFIER=true",
    "SEPARATE_REG_CONFIG.REG_LIST=[reg:2, height:1, size:3, angle:1, velo:2]",
    "LOSS_CONFIG.LOSS_WEIGHTS.code_weights=[1, 1, 1, 1, 1, 1, 1, 0.2, 0.2]",
)
CODERS = pytest.mark.parametrize(
    "coder",
    [(), ("USE_DIRECTION_CLASSIFIER=true",), DOUBLE_ANGLE, RESIDUAL],
    ids=["sincos", "both", "double", "residual"],
)


def anchor_head(*overrides: str) -> AnchorHeadMulti:
    torch.manual_seed(0)
    small = ["MODEL.DENSE_HEAD.SHARED_CONV_NUM_FILTER=8", "MODEL.DENSE_HEAD.SEPARATE_REG_CONFIG.NUM_MIDDLE_FILTER=4"]
    cfg = load_config("nuscenes", [*small, *SINCOS, *(f"MODEL.DENSE_HEAD.{override}" for override in overrides)])
    return AnchorHeadMulti(cfg.MODEL.DENSE_HEAD, CLASSES, CHANNELS, GRID)


def features(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, CHANNELS, GRID.height, GRID.width, generator=torch.Generator().manual_seed(1))


def ground_truth(head: AnchorHeadMulti) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two frames that each hold every class once, with about its anchors' size, none in another's place."""
    labels = torch.arange(len(CLASSES)).repeat(2, 1)
    boxes = torch.zeros(2, len(CLASSES), 9)
    for single in head.heads:
        for class_index, of_class in zip(single.class_ids.tolist(), single.anchors.class_templates, strict=True):
            z, *size, _ = single.anchors.templates[of_class.start].tolist()
            boxes[:, class_index, 2:6] = torch.tensor([z + 0.1, *(1.05 * length for length in size)])
    generator = torch.Generator().manual_seed(2)
    boxes[..., 0] = torch.tensor([-6.0, 6.0]).repeat(len(CLASSES) // 2)
    boxes[..., 1] = torch.linspace(-11, 11, len(CLASSES))
    boxes[..., 6] = (torch.rand(2, len(CLASSES), generator=generator) - 0.5) * 6
    boxes[..., 7:] = torch.randn(2, len(CLASSES), 2, generator=generator)
    return boxes, labels, torch.full_like(labels, 5)


def perfect_outputs(head: AnchorHeadMulti, boxes: torch.Tensor, labels: torch.Tensor) -> tuple[HeadOutput, ...]:
    """What a head would say that has learnt its targets by heart."""
    outputs = []
    for single, blank in zip(head.heads, head(features()), strict=True):
        targets = single.assign(boxes, labels)
        cls_preds = torch.full_like(blank.cls_preds, -9.0)
        cls_preds[targets.sample, targets.anchor, targets.labels[targets.sample, targets.anchor]] = 9.0
        box_preds = torch.zeros_like(blank.box_preds)
        anchors = single.anchors.boxes(targets.anchor)
        box_preds[targets.sample, targets.anchor] = single.box_coder.encode(targets.boxes, anchors)
        dir_preds = None
        if blank.dir_preds is not None:
            dir_preds = torch.zeros_like(blank.dir_preds)
            sector = single.direction.sector(targets.boxes[:, 6])
            dir_preds[targets.sample, targets.anchor, sector] = 20.0
        outputs.append(HeadOutput(cls_preds, box_preds, dir_preds))
    return tuple(outputs)


def openpcdet_losses(
    head: AnchorHeadMulti, outputs: tuple[HeadOutput, ...], boxes: torch.Tensor, labels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The losses written out densely, over all anchors, in float64."""
    targets = [single.assign(boxes, labels) for single in head.heads]
    losses = {"cls_loss": torch.zeros((), dtype=torch.float64), "loc_loss": torch.zeros((), dtype=torch.float64)}
    for sample in range(len(boxes)):
        positives = max(1, sum(int((target.labels[sample] >= 0).sum()) for target in targets))
        for single, target, output in zip(head.heads, targets, outputs, strict=True):
            for class_index in range(len(single.class_ids)):
                p = output.cls_preds[sample, :, class_index].double().sigmoid()
                anchor_labels = target.labels[sample]
                weight = torch.where(anchor_labels == BACKGROUND, 2.0, 1.0) * (anchor_labels != IGNORED)
                focal = torch.where(
                    anchor_labels == class_index, -0.25 * (1 - p) ** 2 * p.log(), -0.75 * p**2 * (1 - p).log()
                )
                losses["cls_loss"] += (focal * weight).sum() / positives / len(boxes)
            own = target.sample == sample
            codes = single.box_coder.encode(target.boxes[own], single.anchors.boxes(target.anchor[own])).double()
            difference = (output.box_preds[sample, target.anchor[own]].double() - codes).abs()
            weights = torch.tensor([1.0] * 8 + [0.2] * 2)
            losses["loc_loss"] += 0.25 * (difference * weights).sum() / positives / len(boxes)
    return losses


def test_outputs_have_a_row_for_every_anchor_of_a_head() -> None:
    head = anchor_head(*DOUBLE_ANGLE)
    for output, num_classes in zip(head(features()), (1, 2, 2, 1, 2, 2), strict=True):
        num_anchors = 2 * num_classes * 32 * 32
        assert output.cls_preds.shape == (2, num_anchors, num_classes)
        assert output.box_preds.shape == (2, num_anchors, 10)
        assert output.dir_preds is not None
        assert output.dir_preds.shape == (2, num_anchors, 2)


def test_rows_of_the_output_are_at_the_places_of_their_anchors() -> None:
    head = anchor_head().eval()
    moved = features()
    moved[:, :, 20, 9] += 1.0
    for single, before, after in zip(head.heads, head(features()), head(moved), strict=True):
        changed = (before.cls_preds != after.cls_preds).any(-1)[0].nonzero()[:, 0]
        at = single.anchors.boxes(changed)
        assert len(changed)
        assert (at[:, 0] - single.anchors.x[0, 9]).abs().max() < 3.5 * GRID.cell_x
        assert (at[:, 1] - single.anchors.y[0, 20]).abs().max() < 3.5 * GRID.cell_y


def test_branches_of_a_head_give_the_part_of_the_code_in_their_name() -> None:
    single = anchor_head().heads[1].eval()
    parts = {"reg": [0, 1], "height": [2], "size": [3, 4, 5], "angle": [6, 7], "velo": [8, 9]}
    for name, codes in parts.items():
        before = single(torch.ones(1, 8, 32, 32)).box_preds.clone()
        with torch.no_grad():
            single.conv_box[f"conv_{name}"][-1].bias.add_(1.0)
        moved = (single(torch.ones(1, 8, 32, 32)).box_preds - before).abs() > 0.5
        assert moved.any(dim=1)[0].nonzero()[:, 0].tolist() == codes
        assert moved[..., codes].all()


def test_the_published_order_of_box_channels_can_be_set() -> None:
    single = anchor_head().heads[1].eval()
    single.box_channels.copy_(torch.arange(40))
    shared = torch.randn(2, 8, 32, 32)
    concatenated = torch.cat([branch(shared) for branch in single.conv_box.values()], dim=1)
    published = concatenated.view(2, 4, 10, 32, 32).permute(0, 1, 3, 4, 2).reshape(2, -1, 10)
    assert torch.equal(single(shared).box_preds, published)


def test_an_untrained_head_scores_every_anchor_low() -> None:
    scores = torch.cat([output.cls_preds.sigmoid().flatten() for output in anchor_head()(features())])
    assert scores.median().item() == pytest.approx(0.01, rel=0.5)


@CODERS
def test_decoding_the_targets_of_a_ground_truth_gives_it_back(coder: tuple[str, ...]) -> None:
    head = anchor_head(*coder)
    boxes, labels, _ = ground_truth(head)
    detections = head.predict(perfect_outputs(head, boxes, labels), POST)
    assert len(detections) == 2
    for found, true_boxes in zip(detections, boxes, strict=True):
        order = found.labels.argsort()
        assert found.labels[order].tolist() == list(range(10))
        assert found.scores.min() > 0.99
        torch.testing.assert_close(found.boxes[order], true_boxes, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("coder", [DOUBLE_ANGLE, RESIDUAL], ids=["double", "residual"])
def test_perfect_outputs_cost_next_to_nothing(coder: tuple[str, ...]) -> None:
    head = anchor_head(*coder)
    boxes, labels, num_points = ground_truth(head)
    losses = head.loss(perfect_outputs(head, boxes, labels), boxes, labels, num_points, torch.zeros(num_points.shape))
    assert sorted(losses) == ["cls_loss", "dir_loss", "loc_loss"]
    assert all(value.item() < 1e-3 for value in losses.values())


@pytest.mark.parametrize("frames_with_boxes", [0, 1, 2])
def test_losses_equal_openpcdet_s_formulas(frames_with_boxes: int) -> None:
    head = anchor_head()
    boxes, labels, num_points = ground_truth(head)
    labels[frames_with_boxes:] = -1
    outputs = head(features() * 3)
    losses = head.loss(outputs, boxes, labels, num_points, torch.zeros(num_points.shape))
    expected = openpcdet_losses(head, outputs, boxes, labels)
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_padding_and_boxes_without_enough_points_are_no_targets() -> None:
    head = anchor_head("TARGET_ASSIGNER_CONFIG={MIN_POINTS_IN_GT: 2}")
    boxes, labels, num_points = ground_truth(head)
    outputs = head(features())
    num_points[:, :4] = 1
    labels[:, 4:6] = -1
    with_more = head.loss(outputs, boxes, labels, num_points, torch.zeros(num_points.shape))
    alone = head.loss(outputs, boxes[:, 6:], labels[:, 6:], num_points[:, 6:], torch.zeros(num_points[:, 6:].shape))
    assert with_more == alone


def test_boxes_that_had_a_point_a_short_time_ago_are_targets_of_a_detector_with_a_history() -> None:
    head, same = (anchor_head(f"TARGET_ASSIGNER_CONFIG={{{key}}}") for key in ("SEEN_WITHIN: 1 s", ""))
    same.load_state_dict(head.state_dict())
    boxes, labels, num_points = ground_truth(head)
    outputs = head(features())
    unseen = torch.zeros(num_points.shape)
    num_points[:, :6], unseen[:, :3], unseen[:, 3:6] = 0, 1.0002, 1.5
    remembered = head.loss(outputs, boxes, labels, num_points, unseen)
    num_points[:, :3] = 1
    assert remembered == same.loss(outputs, boxes, labels, num_points, unseen)


def test_fewer_points_do_for_a_box_that_was_seen_with_enough_before_but_some_may_be_needed() -> None:
    several = "MIN_POINTS_IN_GT: 4, SEEN_WITHIN: 1 s, MIN_POINTS_KNOWN"
    heads = [anchor_head(f"TARGET_ASSIGNER_CONFIG={{{several}: {least}}}") for least in (0, 1)]
    boxes, labels, num_points = ground_truth(heads[0])
    num_points += 4
    outputs, unseen = heads[0](features()), torch.zeros(num_points.shape)
    num_points[:, :6], unseen[:, :2], unseen[:, 2:6] = 3, torch.inf, 0.5
    num_points[:, 4:6] = 0
    with_hidden, in_sight = (head.loss(outputs, boxes, labels, num_points, unseen) for head in heads)
    enough = torch.full_like(num_points, 4)
    for losses, hidden in ((with_hidden, 2), (in_sight, 0)):
        known = labels.clone()
        known[:, :2] = -1
        known[:, 4 + hidden : 6] = -1
        assert losses == heads[0].loss(outputs, boxes, known, enough, unseen * 0)


def test_boxes_without_points_are_weighted() -> None:
    change = "TARGET_ASSIGNER_CONFIG.SEEN_WITHIN=1 s"
    heads = [anchor_head(change, f"TARGET_ASSIGNER_CONFIG.UNSEEN_WEIGHT={weight}") for weight in (1, 2, 5)]
    boxes, labels, num_points = ground_truth(heads[0])
    num_points[:, :4] = 0
    outputs = heads[0](features())
    one, two, five = (head.loss(outputs, boxes, labels, num_points, torch.zeros(num_points.shape)) for head in heads)
    for name in one:
        assert two[name] > one[name]
        torch.testing.assert_close(five[name] - one[name], 4 * (two[name] - one[name]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [0, 3])
def test_frames_without_ground_truth_train_the_scores_only(count: int) -> None:
    head = anchor_head(*DOUBLE_ANGLE)
    boxes, labels = torch.zeros(2, count, 9), torch.full((2, count), -1)
    losses = head.loss(head(features()), boxes, labels, torch.zeros(2, count), torch.zeros(2, count))
    torch.stack(list(losses.values())).sum().backward()
    assert losses["cls_loss"] > 0
    assert losses["loc_loss"] == losses["dir_loss"] == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_an_unknown_velocity_is_ignored_in_training() -> None:
    head = anchor_head()
    boxes, labels, num_points = ground_truth(head)
    boxes[..., 7:] = math.nan
    outputs = head(features())
    losses = head.loss(outputs, boxes, labels, num_points, torch.zeros(num_points.shape))
    gradients = torch.autograd.grad(losses["loc_loss"], [output.box_preds for output in outputs])
    assert losses["loc_loss"].isfinite()
    assert all(gradient[..., :8].any() and not gradient[..., 8:].any() for gradient in gradients)


def test_gradients_reach_every_parameter_and_the_features() -> None:
    head = anchor_head(*DOUBLE_ANGLE)
    boxes, labels, num_points = ground_truth(head)
    bev = features().requires_grad_()
    torch.stack(
        list(head.loss(head(bev), boxes, labels, num_points, torch.zeros(num_points.shape)).values())
    ).sum().backward()
    assert bev.grad is not None
    assert bev.grad.any()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_losses_and_boxes_are_float32_and_finite_under_bfloat16_autocast() -> None:
    head = anchor_head(*DOUBLE_ANGLE)
    boxes, labels, num_points = ground_truth(head)
    plain = head.loss(head(features()), boxes, labels, num_points, torch.zeros(num_points.shape))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = head(features())
        losses = head.loss(outputs, boxes, labels, num_points, torch.zeros(num_points.shape))
        detections = head.predict(outputs, BEST_50)
    assert outputs[0].cls_preds.dtype == torch.bfloat16
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, plain[name], rtol=0.02, atol=1e-3)
    assert all(found.boxes.dtype == torch.float32 and found.boxes.isfinite().all() for found in detections)


def test_targets_are_matched_in_float32_under_autocast() -> None:
    head = anchor_head()
    boxes, labels, _ = ground_truth(head)
    for single in head.heads:
        plain = single.assign(boxes, labels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(single.assign(boxes, labels).labels, plain.labels)


@pytest.mark.parametrize("flipped", [False, True])
def test_the_direction_classifier_resolves_a_half_turn(flipped: bool) -> None:
    head = anchor_head("USE_DIRECTION_CLASSIFIER=true")
    boxes, labels, _ = ground_truth(head)
    outputs = perfect_outputs(head, boxes, labels)
    if flipped:
        for single, output in zip(head.heads, outputs, strict=True):
            yaw = single.anchors.boxes(torch.arange(len(single.anchors)))[:, 6]
            cos, sin = output.box_preds[..., 6] + yaw.cos(), output.box_preds[..., 7] + yaw.sin()
            output.box_preds[..., 6] = -cos - yaw.cos()
            output.box_preds[..., 7] = -sin - yaw.sin()
    for found, true_boxes in zip(head.predict(outputs, POST), boxes, strict=True):
        assert found.labels.sort().values.tolist() == list(range(10))
        error = wrap_angle(found.boxes[:, 6] - true_boxes[found.labels, 6])
        torch.testing.assert_close(error, torch.zeros_like(error), atol=1e-3, rtol=0)


def test_boxes_that_move_face_the_way_they_move() -> None:
    head = anchor_head()
    boxes, labels, _ = ground_truth(head)
    boxes[..., 7] = boxes[..., 6].cos() * -0.8
    boxes[..., 8] = boxes[..., 6].sin() * -0.8
    outputs = perfect_outputs(head, boxes, labels)
    for speed, turned in ((0.7, math.pi), (0.9, 0.0)):
        post = PostProcessingConfig(FACE_MOTION=MetresPerSecond(speed))
        for found, true_boxes in zip(head.predict(outputs, post), boxes, strict=True):
            error = wrap_angle(found.boxes[:, 6] - true_boxes[found.labels, 6]).abs()
            torch.testing.assert_close(error, torch.full_like(error, turned), atol=1e-3, rtol=0)


def test_heads_may_list_the_classes_in_any_order() -> None:
    names = ", ".join(reversed(CLASSES))
    head = anchor_head(f"RPN_HEAD_CFGS=[{{HEAD_CLS_NAME: [{names}]}}]")
    boxes, labels, _ = ground_truth(head)
    for found, true_boxes in zip(head.predict(perfect_outputs(head, boxes, labels), POST), boxes, strict=True):
        order = found.labels.argsort()
        torch.testing.assert_close(found.boxes[order], true_boxes, atol=1e-4, rtol=1e-4)


def test_a_frame_gives_the_same_boxes_in_a_batch_as_alone() -> None:
    head = anchor_head().eval()
    together = head.predict(head(features()), BEST_50)
    alone = head.predict(head(features()[1:]), BEST_50)[0]
    assert len(alone) > 10
    torch.testing.assert_close(together[1].scores, alone.scores)
    torch.testing.assert_close(together[1].boxes, alone.boxes)


class Padded(nn.Module):
    def __init__(self, head: AnchorHeadMulti, post: PostProcessingConfig) -> None:
        super().__init__()
        self.head, self.post = head, post

    def forward(self, features: torch.Tensor) -> PaddedDetections:
        return self.head.predict_padded(self.head(features), self.post)


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("post", [BEST_50, SOME, POST], ids=["full", "some", "none"])
def test_detections_in_fixed_shapes_are_the_same(post: PostProcessingConfig, autocast: bool) -> None:
    head = anchor_head(*DOUBLE_ANGLE).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        outputs = head(features())
        padded = head.predict_padded(outputs, post)
        for sample, found in enumerate(head.predict(outputs, post)):
            same = padded.item(sample)
            assert torch.equal(same.labels, found.labels)
            assert torch.equal(same.scores, found.scores)
            torch.testing.assert_close(same.boxes, found.boxes)
            assert (padded.labels[sample, len(found) :] == -1).all()
            assert not padded.boxes[sample, len(found) :].any()
    assert padded.boxes.shape == (2, 10 * post.NMS_CONFIG.NMS_POST_MAXSIZE, 9)


def test_an_exported_head_finds_the_same_boxes_on_any_frame() -> None:
    padded = Padded(anchor_head(*DOUBLE_ANGLE).eval(), SOME)
    exported = torch.export.export(padded, (features(),)).module()
    for scale in (1.0, 0.0, 4.0):
        torch.testing.assert_close(exported(scale * features()), padded(scale * features()))


def test_training_on_one_frame_finds_its_boxes() -> None:
    head = anchor_head()
    boxes, labels, num_points = ground_truth(head)
    bev = F.interpolate(torch.randn(2, CHANNELS, 8, 8), size=(32, 32)) + features()
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    costs = []
    for _ in range(8):
        cost = torch.stack(
            list(head.loss(head(bev), boxes, labels, num_points, torch.zeros(num_points.shape)).values())
        ).sum()
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()
        costs.append(cost.item())
    assert costs[-1] < 0.7 * costs[0]
