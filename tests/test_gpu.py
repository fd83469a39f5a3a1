"""What only a GPU can show: its kernels, the step as one graph, streams and training steps do as on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import SMALL, awaken
from tests.export.streams import assert_same_boxes, drawn_model, forty_frames, run
from tests.models.test_temporal import clip
from tests.ops.test_memory_read import random_places, random_read, single
from tests.ops.test_nms import crowd, rows
from tests.ops.test_pillars import GRID, LIMITS, Z_RANGE, random_clouds, random_layer
from torch import Tensor

from remembev import Detections, StreamingDetector, build_model, load_config
from remembev.export import capture_step
from remembev.models import TemporalPointPillar
from remembev.ops import encode_pillars, pick_best_first, read_memory
from remembev.ops.memory_read import Positions
from remembev.streaming.engine import ModelEngine

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.fixture(autouse=True)
def _without_tf32() -> Iterator[None]:
    """Convolutions in the whole of float32, so that GPU and CPU differ by rounding alone."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("limits", LIMITS)
def test_pillars_are_those_of_the_cpu(limits: tuple[int | None, int | None]) -> None:
    tensors = *random_clouds(3, 2, 500), *random_layer(3, 11)
    expected = encode_pillars(*tensors, GRID, Z_RANGE, *limits)
    bev = encode_pillars(*(tensor.cuda() for tensor in tensors), GRID, Z_RANGE, *limits)
    torch.testing.assert_close(bev.cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("top_k", [1, 3, 30])
def test_what_is_read_is_what_the_cpu_reads(top_k: int) -> None:
    inputs = single(random_read(2, 2, 8, 4, 1031, 270))
    exact, age = random_places(inputs)
    positions, age = Positions(exact.query.float(), exact.token.float()), age.float()
    expected = read_memory(**inputs, top_k=top_k, positions=positions, age=age)
    there = {name: tensor.cuda() for name, tensor in inputs.items()}
    read = read_memory(
        **there, top_k=top_k, positions=Positions(positions.query.cuda(), positions.token.cuda()), age=age.cuda()
    )
    torch.testing.assert_close(read.value.cpu(), expected.value, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(read.usage.cpu(), expected.usage, rtol=1e-4, atol=1e-4)
    assert torch.equal(read.nothing.cpu(), expected.nothing)


@pytest.mark.parametrize("spread", [0.5, 3.0, 15.0])
def test_suppression_keeps_what_the_cpu_keeps(spread: float) -> None:
    boxes, valid, _ = rows(*crowd(900, 0, spread, classes=3), 3)
    expected = pick_best_first(boxes, valid, 0.2, 83)
    assert torch.equal(pick_best_first(boxes.cuda(), valid.cuda(), 0.2, 83).cpu(), expected)


@pytest.mark.parametrize("memory", ["agents", "gate", "gru", "none"])
def test_a_stream_finds_what_it_finds_on_the_cpu(memory: str) -> None:
    expected = run(StreamingDetector(drawn_model(memory)))
    found = run(StreamingDetector(drawn_model(memory), "cuda"))
    for one, other in zip(found, expected, strict=True):
        assert_same_boxes(one.to("cpu"), other)
    assert sum(map(len, found)) > 200


@pytest.mark.parametrize("memory", ["agents", "gate", "gru", "none"])
def test_the_captured_step_finds_what_the_step_finds(memory: str) -> None:
    expected = run(StreamingDetector(drawn_model(memory), "cuda"))
    found = run(capture_step(drawn_model(memory), max_points=4000))
    for one, other in zip(found, expected, strict=True):
        assert_same_boxes(one.to("cpu"), other.to("cpu"))
    assert sum(map(len, found)) > 200


def test_a_state_is_gone_on_with_where_it_was_not_made(tmp_path: Path) -> None:
    expected = run(StreamingDetector(drawn_model("agents")))
    frames = list(forty_frames())
    for first, second in (("cpu", "cuda"), ("cuda", "cpu")):
        detector = StreamingDetector(drawn_model("agents"), first)
        for frame in frames[:20]:
            detector.step(frame.points, frame.pose, frame.timestamp, "a")
        detector.save_state(tmp_path / "a.safetensors", "a")
        later = StreamingDetector(drawn_model("agents"), second)
        later.load_state(tmp_path / "a.safetensors")
        for number in range(20, 26):
            frame = frames[number]
            found = later.step(frame.points, frame.pose, frame.timestamp, "a")
            assert_same_boxes(found.to("cpu"), expected[number])


def test_bfloat16_finds_most_of_what_float32_finds() -> None:
    expected = run(StreamingDetector(drawn_model("gate"), "cuda"))
    found = run(StreamingDetector(ModelEngine(drawn_model("gate"), "cuda", torch.bfloat16)))
    wanted = sum(map(len, expected))
    again = sum(boxes_found_again(one, other) for one, other in zip(found, expected, strict=True))
    assert again > 0.8 * wanted


def test_losses_and_gradients_of_a_clip_are_those_of_the_cpu() -> None:
    cfg = load_config("tiny", [*SMALL, "MODEL.MEMORY.TEACHER_FORCING={START: 1, END: 1}"])
    torch.manual_seed(0)
    model = awaken(build_model(cfg)).train()
    batch = clip(cfg)
    expected, gradients = losses_and_gradients(model, batch)
    there = {name: value.cuda() if isinstance(value, Tensor) else value for name, value in batch.items()}
    model.memory.memories.forget()
    losses, found = losses_and_gradients(model.cuda(), there)
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-3, atol=1e-4)
    for name, gradient in gradients.items():
        apart = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert apart < 0.02, (name, float(apart))


def losses_and_gradients(
    model: TemporalPointPillar, batch: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model.zero_grad()
    losses = model(batch)
    losses["loss"].backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return (
        {name: loss.detach().cpu() for name, loss in losses.items()},
        {name: gradient.to("cpu", copy=True) for name, gradient in gradients.items()},
    )


def boxes_found_again(found: Detections, expected: Detections) -> int:
    """Boxes that have one of their class within half a metre."""
    if not len(found) or not len(expected):
        return 0
    near = torch.cdist(expected.boxes[:, :2], found.boxes[:, :2]) < 0.5
    return int((near & (expected.labels[:, None] == found.labels)).any(dim=1).sum())
