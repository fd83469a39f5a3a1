"""Exported files: what they say of themselves, what is refused, and that they run without torch and RememBEV."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tests.conftest import REPOSITORY
from tests.export.conftest import Export
from tests.export.streams import SMALLEST, assert_same_boxes, forty_frames

from remembev import Detections, build_model, load_config
from remembev.cli import main
from remembev.errors import ExportError
from remembev.export import capture_step, export_checkpoint, load_exported, open_detector
from remembev.export.interface import KEY, Interface
from remembev.models import load_checkpoint, save_checkpoint


def test_the_documented_loop_runs_with_onnx_runtime_alone(exported: Export, tmp_path: Path) -> None:
    checkpoint, file = exported("agents", "onnx")
    frames = [frame for frame in forty_frames() if len(frame.points)][:8]
    clouds = [np.pad(frame.points.numpy(), ((0, 0), (0, 1))) for frame in frames]
    poses, seconds = [frame.pose.numpy() for frame in frames], [frame.timestamp for frame in frames]
    np.savez(tmp_path / "lidar.npz", clouds=np.stack(clouds), poses=np.stack(poses), seconds=seconds)
    page = (REPOSITORY / "docs" / "guides" / "deployment.md").read_text(encoding="utf-8")
    loop = next(block for block in page.split("```python\n") if block.startswith("import json")).split("```")[0]
    program = "\n".join(
        (
            "import sys",
            "sys.modules['torch'] = sys.modules['remembev'] = None",
            "rows = []",
            "def print(name, score, box): rows.append([len(seen), classes.index(name), score, *box])",
            "classes, seen = ['car', 'pedestrian'], []",
            "import numpy",
            "given = numpy.load('lidar.npz')",
            "def frames():",
            "    for frame in zip(given['clouds'], given['poses'], given['seconds']):",
            "        yield frame",
            "        seen.append(frame)",
            "lidar = frames()",
            loop.replace('"model.onnx"', repr(str(file))),
            "numpy.save('rows.npy', numpy.array(rows, numpy.float64))",
        )
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=300)
    rows = torch.from_numpy(np.load(tmp_path / "rows.npy"))
    detector = open_detector(checkpoint)
    for number, frame in enumerate(frames):
        found = rows[rows[:, 0] == number]
        expected = detector.step(frame.points, frame.pose, frame.timestamp, "a")
        assert_same_boxes(Detections(found[:, 3:], found[:, 2], found[:, 1].long()), expected)
    assert len(rows) > 40


def test_a_file_describes_its_interface_and_model(exported: Export) -> None:
    checkpoint, file = exported("agents", "onnx")
    model = onnx.load(file)
    assert b".py" not in file.read_bytes(), "no paths of the machine it was exported on"
    described = {entry.key: entry.value for entry in model.metadata_props}[KEY]
    interface = Interface.from_json(described, name="file")
    assert interface.to_json() == described
    for names, entries in ((model.graph.input, interface.inputs), (model.graph.output, interface.outputs)):
        assert [value.name for value in names] == [entry.name for entry in entries]
        shapes = [[part.dim_value for part in value.type.tensor_type.shape.dim] for value in names]
        assert shapes == [entry.shape for entry in entries]
    assert interface.read_config("file") == open_detector(checkpoint).cfg
    initial = {entry.name: entry.initial for entry in interface.state}
    assert initial["slots.held"] == [[True, False, False]]
    assert initial["since_write"] == "inf"
    assert initial["tokens.value"] == 0


def _with_metadata(file: Path, out: Path, described: str | None) -> Path:
    model = onnx.load(file)
    del model.metadata_props[:]
    if described is not None:
        onnx.helper.set_model_props(model, {KEY: described})
    onnx.save(model, out)
    return out


def test_a_file_that_is_not_of_this_version_is_an_error_that_names_it(exported: Export, tmp_path: Path) -> None:
    _, file = exported("none", "onnx")
    interface = load_exported(file).engine.interface  # type: ignore[attr-defined]
    later = interface.to_json().replace('"version": 1', '"version": 2')
    other = interface.to_json().replace('"name": "frames", "shape": [1]', '"name": "frames", "shape": [2]')
    bad = tmp_path / "bad.onnx"
    bad.write_text("no model")
    cases = {
        tmp_path / "none.onnx": "no such file",
        tmp_path / "model.bin": r"an exported file ends in \.onnx or \.pt2",
        bad: "ONNX Runtime .* can't run it",
        _with_metadata(file, tmp_path / "a.onnx", None): "not exported by RememBEV",
        _with_metadata(file, tmp_path / "b.onnx", later): "exported step has version 2",
        _with_metadata(file, tmp_path / "c.onnx", other): "its state differs",
    }
    for path, message in cases.items():
        with pytest.raises(ExportError, match=rf"{path.name}: {message}"):
            load_exported(path)
    broken = tmp_path / "broken.pt2"
    broken.write_bytes(b"PK no package")
    with pytest.raises(ExportError, match=r"broken\.pt2: torch .* can't run it"):
        load_exported(broken)


def test_a_file_of_an_unknown_opset_is_an_error_that_names_it(exported: Export, tmp_path: Path) -> None:
    model = onnx.load(exported("none", "onnx")[1])
    model.opset_import[0].version = 99
    onnx.save(model, tmp_path / "new.onnx")
    with pytest.raises(ExportError, match=r"new\.onnx: ONNX Runtime .* can't run it: .*[Oo]pset"):
        load_exported(tmp_path / "new.onnx")


def test_a_model_that_cannot_be_exported_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, build_model(load_config("tiny", [*SMALLEST, "MODEL.VFE.NUM_FILTERS=[8, 8]"])))
    with pytest.raises(ExportError, match=r"MODEL\.VFE\.NUM_FILTERS: \[8, 8\]"):
        export_checkpoint(checkpoint, "onnx")
    with pytest.raises(ExportError, match=r"model\.pt2: a file of format onnx ends in \.onnx"):
        export_checkpoint(checkpoint, "onnx", tmp_path / "model.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_missing_package_is_an_error_that_names_the_extra(
    exported: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, file = exported("none", "onnx")
    for package, arguments in {
        "onnxscript": ["export", str(checkpoint), "--out", str(file.with_name("other.onnx"))],
        "onnxruntime": ["stream", str(file), "--data", "nowhere"],
    }.items():
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setattr("sys.argv", ["remembev", *arguments])
        with pytest.raises(SystemExit):
            main()
        assert "pip install -e '.[export]'" in capsys.readouterr().err


def test_a_stream_of_a_data_set_runs_on_an_exported_file_as_on_its_checkpoint(
    exported: Export, sim_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for path in exported("none", "onnx"):
        monkeypatch.setattr("sys.argv", ["remembev", "stream", str(path), "--data", str(sim_root), "--frames", "3"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "car" in shown[0] or "pedestrian" in shown[0]


def test_an_exported_file_is_timed_with_its_own_checkpoint_only(
    exported: Export, sim_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, file = exported("agents", "onnx")
    arguments = [
        "remembev",
        "bench",
        "step",
        "--data",
        str(sim_root),
        "--version",
        "v1.0-sim",
        "--frames",
        "2",
        "--json",
    ]
    monkeypatch.setattr("sys.argv", [*arguments, str(checkpoint), "--exported", str(file)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    ways = json.loads(capsys.readouterr().out)["ways"]
    assert [way for way in ways if way != "bf16"] == ["plain", "fp32", file.name]
    assert ways[file.name]["median_ms"] > 0
    assert ways[file.name]["stages"] == {}
    other = checkpoint.with_name("other.safetensors")
    save_checkpoint(other, build_model(load_checkpoint(checkpoint).cfg))
    monkeypatch.setattr("sys.argv", [*arguments, str(other), "--exported", str(file)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "was exported from other weights" in capsys.readouterr().err


def test_an_exported_file_runs_in_float32_only(exported: Export) -> None:
    _, file = exported("agents", "onnx")
    with pytest.raises(ExportError, match="exported steps are float32"):
        open_detector(file, dtype=torch.bfloat16)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_step_is_captured_on_a_gpu_only() -> None:
    with pytest.raises(ExportError, match="a CUDA graph needs a GPU"):
        capture_step(build_model(load_config("tiny", SMALLEST)))
