"""An exported step is the model's step: the same boxes, the same memory, and states that either goes on from."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Literal

import pytest
import torch
from tests.export.conftest import Export
from tests.export.streams import assert_same_boxes, forty_frames, run

from remembev import StreamingDetector
from remembev.config import TrackingConfig
from remembev.errors import StreamError
from remembev.export import load_exported, open_detector
from remembev.streaming import StreamState
from remembev.tracking import Tracker

Form = Literal["onnx", "aoti"]


@pytest.mark.parametrize(
    ("memory", "form"), [("agents", "onnx"), ("findings", "onnx"), ("gate", "aoti"), ("gru", "onnx"), ("none", "onnx")]
)
def test_an_exported_file_equals_the_model_over_forty_frames(exported: Export, memory: str, form: Form) -> None:
    checkpoint, file = exported(memory, form)
    model, program = open_detector(checkpoint), open_detector(file)
    expected, found = run(model), run(program)
    for one, other in zip(found, expected, strict=True):
        assert_same_boxes(one, other, tolerance=1e-3)  # forty frames' rounding adds up, here and in the states
        assert (one.gate is None) == (other.gate is None)
        if one.gate is not None:
            torch.testing.assert_close(one.occupancy, other.occupancy, rtol=0, atol=1e-3)
            torch.testing.assert_close(one.gate, other.gate, rtol=0, atol=1e-3)
    assert sum(map(len, found)) > 200
    assert (found[-1].gate is None) == (memory in ("gru", "none"))
    for scene in ("a", "b"):
        _assert_close(program.state(scene), model.state(scene), tolerance=1e-3)
    if memory not in ("gru", "none"):
        torch.testing.assert_close(found[-1].occupancy, expected[-1].occupancy, rtol=0, atol=1e-4)
        assert model.state("a").named()["memory.tokens.valid"][:, :24].all(), "the long-term memory is full"
    if memory == "agents":
        assert model.state("a").named()["memory.slots.held"][:, 1:].any(), "an agent is followed"


@pytest.mark.parametrize(("memory", "form"), [("agents", "onnx"), ("gate", "aoti")])
def test_saved_states_pass_between_model_and_file(exported: Export, memory: str, form: Form, tmp_path: Path) -> None:
    checkpoint, file = exported(memory, form)
    expected = run(StreamingDetector.from_checkpoint(checkpoint))
    frames = list(forty_frames())
    for first, second in ((checkpoint, file), (file, checkpoint)):
        detector = open_detector(first)
        for frame in frames[:20]:
            detector.step(frame.points, frame.pose, frame.timestamp, "a")
        detector.save_state(tmp_path / "a.safetensors", "a")
        later = open_detector(second)
        later.load_state(tmp_path / "a.safetensors")
        for number in range(20, 26):
            frame = frames[number]
            assert_same_boxes(later.step(frame.points, frame.pose, frame.timestamp, "a"), expected[number])


def test_an_exported_file_is_tracked_and_its_tracks_pass_to_the_model(exported: Export, tmp_path: Path) -> None:
    checkpoint, file = exported("none", "onnx")
    assert load_exported(file).tracker is None
    names = load_exported(file).cfg.CLASS_NAMES
    tracker = Tracker(names, TrackingConfig(MIN_SCORE=0, MIN_COAST_SCORE=0))
    detector, frames = load_exported(file, tracker=tracker), list(forty_frames())[:4]
    for frame in frames[:3]:
        detections = detector.step(frame.points, frame.pose, frame.timestamp, "a")
    assert detections.track_ids is not None
    assert detections.coasted is not None
    assert len(set(detections.track_ids.tolist())) > 1
    assert detections.coasted.any()
    detector.save_state(tmp_path / "a.safetensors", "a")
    model = open_detector(checkpoint, tracker=tracker)
    model.load_state(tmp_path / "a.safetensors")
    last = frames[3]
    one, other = (each.step(last.points, last.pose, last.timestamp, "a") for each in (detector, model))
    assert torch.equal(one.track_ids, other.track_ids)


def test_a_stream_uses_two_buffers_and_kept_states_are_unchanged(exported: Export) -> None:
    detector = load_exported(exported("agents", "onnx")[1])
    buffers: dict[str, set[int]] = {}
    for number, frame in enumerate(forty_frames()):
        detector.step(frame.points, frame.pose, frame.timestamp, "a")
        if number == 10:
            kept = detector.state("a")
            copy = kept.map(torch.clone)
        if number >= 12:
            for name, tensor in detector.state("a").memory.named().items():
                if name != "timestamp":
                    buffers.setdefault(name, set()).add(tensor.data_ptr())
    assert all(len(places) == 2 for places in buffers.values()), buffers
    assert buffers.keys() > {"hidden", "tokens.value"}
    _assert_close(kept, copy, tolerance=0.0)
    place = kept.memory.named()["hidden"].data_ptr()
    del kept, tensor
    gc.collect()
    first, second = detector.engine.initial_state(), detector.engine.initial_state()
    output = detector.engine.step(torch.ones(3, 5), torch.eye(4)[None], torch.ones(1, dtype=torch.float64), first)
    assert output.memory.named()["hidden"].data_ptr() == place, "what nobody keeps is used again"
    _assert_close_named(first.named(), second.named())


def test_a_frame_of_too_many_points_is_refused_and_the_stream_continues(
    exported: Export,
) -> None:
    detector = load_exported(exported("none", "onnx")[1])
    frames = list(forty_frames())
    detector.step(frames[0].points, frames[0].pose, frames[0].timestamp, "a")
    before = detector.state("a").map(torch.clone)
    with pytest.raises(StreamError, match=r"35001 points in range, but the file was exported for at most 35000"):
        detector.step(torch.ones(35001, 4), frames[1].pose, frames[1].timestamp, "a")
    _assert_close(detector.state("a"), before, tolerance=0.0)
    beyond = torch.full((35000, 4), 500.0)
    detector.step(torch.cat((frames[1].points, beyond)), frames[1].pose, frames[1].timestamp, "a")


def _assert_close(found: StreamState, expected: StreamState, tolerance: float = 1e-4) -> None:
    _assert_close_named(found.named(), expected.named(), tolerance)


def _assert_close_named(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-4
) -> None:
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name],
            tensor,
            rtol=tolerance,
            atol=tolerance,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )
