"""A state on disk: a stream goes on from it bit for bit, and what does not fit is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.streaming.frames import (
    MEMORIES,
    assert_same,
    assert_same_state,
    cloud,
    listening_model,
    pose,
    run,
    state_of,
)

from remembev import StreamingDetector
from remembev.errors import StreamError
from remembev.models import save_checkpoint


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_saved_stream_continues_in_a_new_detector_bit_for_bit(memory: str, tmp_path: Path) -> None:
    checkpoint, saved = tmp_path / "model.safetensors", tmp_path / "state.safetensors"
    save_checkpoint(checkpoint, listening_model(*MEMORIES[memory]))
    detector = StreamingDetector.from_checkpoint(checkpoint)
    run(detector, "straße 1", 6)
    detector.step(torch.zeros(0, 4), pose(5), 2.6, "straße 1")
    detector.save_state(saved, "straße 1")
    detections, state = run(detector, "straße 1", 6, first=6), state_of(detector)

    later = StreamingDetector.from_checkpoint(checkpoint)
    assert later.load_state(saved) == "straße 1"
    with pytest.raises(StreamError, match=r"not after its last frame's, 2\.600000 s"):
        later.step(cloud(5), pose(5), 2.55, "straße 1")
    for resumed, expected in zip(run(later, "straße 1", 6, first=6), detections, strict=True):
        assert_same(resumed, expected)
    assert_same_state(state_of(later), state)
    assert len(detections[-1]) > 0
    if memory == "xmem":
        slots, tokens = state["straße 1"]["memory.slots.alive"], state["straße 1"]["memory.tokens.valid"]
        assert slots.any(), "no agent was followed"
        assert tokens[0, :24].all(), "the long-term memory is not full"


def test_a_loaded_scene_replaces_its_state_and_counts_as_used(tmp_path: Path) -> None:
    detector = StreamingDetector(listening_model("MODEL.MEMORY.MAX_SCENES=2"))
    run(detector, "a", 2)
    detector.save_state(tmp_path / "a.safetensors", "a")
    saved = state_of(detector)["a"]
    run(detector, "a", 1, first=2)
    run(detector, "b", 1)
    detector.load_state(tmp_path / "a.safetensors")
    assert detector.scenes == ["b", "a"]
    assert_same_state({"a": state_of(detector)["a"]}, {"a": saved})
    run(detector, "c", 1)
    detector.load_state(tmp_path / "a.safetensors")
    assert detector.scenes == ["c", "a"]


def test_a_scene_without_a_state_is_not_saved_and_the_old_file_stays(tmp_path: Path) -> None:
    detector = StreamingDetector(listening_model())
    run(detector, "a", 1)
    detector.save_state(tmp_path / "a.safetensors", "a")
    written = (tmp_path / "a.safetensors").read_bytes()
    with pytest.raises(StreamError, match="no state for scene 'b'; known scenes: a"):
        detector.save_state(tmp_path / "a.safetensors", "b")
    assert (tmp_path / "a.safetensors").read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_state_saved_before_there_were_findings_is_loaded(tmp_path: Path) -> None:
    detector, path = StreamingDetector(listening_model()), tmp_path / "state.safetensors"
    run(detector, "a", 2)
    detector.save_state(path, "a")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    made_with = json.loads(metadata["remembev_made_with"])
    del made_with["MODEL.MEMORY.WRITE"], made_with["MODEL.MEMORY.READ.NOTHING"]
    save_file(load_file(path), path, metadata={**metadata, "remembev_made_with": json.dumps(made_with)})
    assert detector.load_state(path) == "a"


def rewritten(path: Path, name: str, tensor: torch.Tensor | None) -> None:
    """One tensor of a state replaced, or left out."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors if tensor is None else {**tensors, name: tensor}, path, metadata=metadata)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (Path.unlink, "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "not a saved state, or truncated"),
    "text": (lambda path: path.write_text("a state" * 99), "not a saved state, or truncated"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "not a saved state, or truncated"),
    "a checkpoint": (lambda path: save_checkpoint(path, listening_model()), "not a saved stream state"),
    "a tensor of another shape": (
        lambda path: rewritten(path, "memory.frames", torch.zeros(2)),
        r"memory\.frames is \[2\] float32 in the file, \[1\] int64 here",
    ),
    "a tensor is missing": (
        lambda path: rewritten(path, "memory.hidden", None),
        r"memory\.hidden is missing in the file, \[1, 1, 8, 16, 16\] float32 here",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_state_is_named_and_changes_nothing(broken: str, tmp_path: Path) -> None:
    detector, path = StreamingDetector(listening_model()), tmp_path / "state.safetensors"
    run(detector, "a", 2)
    detector.save_state(path, "a")
    run(detector, "a", 1, first=2)
    before = state_of(detector)
    spoil, message = BROKEN[broken]
    spoil(path)
    with pytest.raises(StreamError, match=rf"state\.safetensors: .*{message}"):
        detector.load_state(path)
    assert_same_state(state_of(detector), before)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MODEL.MEMORY.TOP_K=4"], "MODEL.MEMORY.TOP_K is 16 in the file, 4 here"),
        (["MODEL.MEMORY.WORKING.MAX_FRAMES=4"], "MODEL.MEMORY.WORKING.MAX_FRAMES is 3 in the file, 4 here"),
        (["DATA_CONFIG.AGENT_SLOTS=2"], "DATA_CONFIG.AGENT_SLOTS is 1 in the file, 2 here"),
        (MEMORIES["gru"], "MODEL.MEMORY.NAME is XMemBEVModule in the file, ConvGRUBEVModule here"),
    ],
)
def test_a_state_of_another_configuration_is_refused_naming_the_key(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    detector, path = StreamingDetector(listening_model()), tmp_path / "state.safetensors"
    run(detector, "a", 1)
    detector.save_state(path, "a")
    other = StreamingDetector(listening_model(*overrides))
    with pytest.raises(StreamError) as raised:
        other.load_state(path)
    assert message in str(raised.value)
    assert other.scenes == []


def test_a_state_of_other_weights_is_refused(tmp_path: Path) -> None:
    model, path = listening_model(), tmp_path / "state.safetensors"
    detector = StreamingDetector(model)
    run(detector, "a", 1)
    detector.save_state(path, "a")
    with torch.no_grad():
        model.dense_head.get_parameter(next(iter(dict(model.dense_head.named_parameters())))).add_(1e-3)
    with pytest.raises(StreamError, match="the sha256 of its weights is"):
        StreamingDetector(model).load_state(path)


def test_keys_that_only_training_or_the_number_of_scenes_depends_on_may_differ(tmp_path: Path) -> None:
    detector, path = StreamingDetector(listening_model()), tmp_path / "state.safetensors"
    run(detector, "a", 1)
    detector.save_state(path, "a")
    other = listening_model(
        "MODEL.MEMORY.MAX_SCENES=3", "MODEL.MEMORY.OCC_LOSS.WEIGHT=2.0", "MODEL.MEMORY.TEACHER_FORCING.START=1.0"
    )
    assert StreamingDetector(other).load_state(path) == "a"
