"""Comparisons end to end: variants trained alike from shared pretrainings, resumed, scored, timed, reported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import SMALL

from remembev.cli import main
from remembev.config import DEFAULT_VARIANTS, config_to_yaml, load_config
from remembev.errors import DataError, UserError
from remembev.evaluation import TRACKS
from remembev.experiments.compare import Comparison, load_variants, pretraining_name, run_comparison
from remembev.experiments.results import write_json
from remembev.experiments.training_job import TrainingJob
from remembev.models import build_model, load_checkpoint, save_checkpoint
from remembev.training import ClipModule, pretrain_config

QUICK = [
    *SMALL,
    "OPTIMIZATION.PRETRAIN={EPOCHS: 1, LR: 0.003}",
    "OPTIMIZATION.BATCHES_PER_EPOCH=1",
    "OPTIMIZATION.VAL_CLIPS=1",
]


# ------------------------------------------------------------------------------------------------------------ variants


@pytest.mark.parametrize("base", ["small", "nuscenes"])
def test_a_pretraining_is_the_variant_without_a_memory_on_single_frames(base: str) -> None:
    for variant in load_variants([base]):
        start = pretrain_config(variant.cfg)
        assert start is not None
        assert variant.cfg.OPTIMIZATION.PRETRAIN is not None
        frames_of_a_clip_step = variant.cfg.DATA_CONFIG.SEQ_LEN * variant.cfg.OPTIMIZATION.BATCH_SIZE_PER_GPU
        batch = variant.cfg.OPTIMIZATION.PRETRAIN.BATCH_SIZE_PER_GPU or frames_of_a_clip_step
        assert start.OPTIMIZATION.BATCH_SIZE_PER_GPU == batch
        assert start.DATA_CONFIG.SEQ_LEN == 1
        assert start.MODEL.MEMORY.FUSION == "none"
        assert start.OPTIMIZATION.NUM_EPOCHS == variant.cfg.OPTIMIZATION.PRETRAIN.EPOCHS
        assert start.OPTIMIZATION.LR == variant.cfg.OPTIMIZATION.PRETRAIN.LR
        assert pretrain_config(start) is None


def test_variants_share_a_pretraining_unless_their_detectors_or_their_points_differ() -> None:
    variants = {variant.name: variant.cfg for variant in load_variants(["small"])}
    names = {name: pretraining_name(pretrain_config(cfg)) for name, cfg in variants.items()}
    assert list(names) == list(DEFAULT_VARIANTS)
    assert len({names[name] for name in ("single", "conv_gru", "gate", "read")}) == 1
    assert names["sweeps"] == names["sweeps+read"] != names["single"]
    targets = "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG"
    seen = variants["gate"].with_changes({f"{targets}.SEEN_WITHIN": "4 s", f"{targets}.UNSEEN_WEIGHT": 7})
    assert pretraining_name(pretrain_config(seen)) == names["gate"]
    wider = variants["single"].with_changes({"MODEL.VFE.NUM_FILTERS": [24]})
    assert pretraining_name(pretrain_config(wider)) not in names.values()


def test_variants_have_names_of_their_own_and_see_the_same_clips_for_as_many_steps(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("_BASE_CONFIG_: small\n")
    with pytest.raises(UserError, match="small, small: variants need names of their own"):
        load_variants(["small", tmp_path / "small.yaml"])
    (tmp_path / "longer.yaml").write_text("_BASE_CONFIG_: small\nOPTIMIZATION: {NUM_EPOCHS: 99}\n")
    with pytest.raises(UserError, match=r"OPTIMIZATION\.NUM_EPOCHS is 99 in longer and \d+ in small"):
        load_variants(["small", tmp_path / "longer.yaml"])
    with pytest.raises(UserError, match="variants are made of one configuration, not of 2"):
        load_variants(["small", "tiny"], ["gate"])
    (tmp_path / "turned.yaml").write_text("_BASE_CONFIG_: small\nDATA_CONFIG: {DATA_AUGMENTOR: {ROTATION: [0, 1]}}\n")
    with pytest.raises(UserError, match=r"DATA_AUGMENTOR\.ROTATION is \(0\.0, 1\.0\) in turned"):
        load_variants(["small", tmp_path / "turned.yaml"])


def test_variants_may_differ_in_the_augmentation_for_other_sensors_and_then_share_no_pretraining() -> None:
    augmented, plain = (variant.cfg for variant in load_variants(["small"], ["single", "single+noaug"]))
    assert augmented.DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION is not None
    assert plain.DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION is None
    assert len({pretraining_name(pretrain_config(cfg)) for cfg in (augmented, plain)}) == 2


# ---------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Configuration files of two small variants."""
    folder = tmp_path_factory.mktemp("configs")
    for name, fusion in (("single", "none"), ("gate", "gate")):
        cfg = load_config("tiny", [*QUICK, f"MODEL.MEMORY.FUSION={fusion}"])
        (folder / f"{name}.yaml").write_text(config_to_yaml(cfg))
    return [folder / "single.yaml", folder / "gate.yaml"]


def compare(*arguments: object) -> Any:
    """Run the command in this process; return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["remembev", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code


@pytest.fixture(scope="module")
def stopped(files: list[Path], sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """One seed whose pretraining and single variant are done, and whose gate was stopped after its first epoch."""
    out = tmp_path_factory.mktemp("comparison")
    comparison = Comparison(tuple(load_variants(files)), sim_root, out, 1, "val", TRACKS)
    pretraining, single, gate = comparison.trainings()
    pretraining.work()
    single.work()
    begin = ClipModule.on_train_epoch_start

    def stop(self: ClipModule) -> None:
        if self.current_epoch == 1:
            raise RuntimeError("stopped")
        begin(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClipModule, "on_train_epoch_start", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            gate.work()
    return comparison


@pytest.mark.usefixtures("forked_jobs")
def test_an_interrupted_comparison_is_resumed_and_nothing_is_done_twice(
    stopped: Comparison, files: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    out = stopped.out
    pretraining, single, gate = stopped.trainings()
    done = {
        path: path.stat().st_mtime_ns for job in (pretraining, single) for path in job.run.out.glob("**/*.safetensors")
    }
    options = ("--seeds", 1, "--workers", 2, "--reach", "both")
    assert compare(*files, "--data", stopped.data, "--out", out, *options) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert sorted(path.name for path in out.glob("seed-0/*") if path.is_dir()) == ["gate", "single", pretraining.name]

    begun = load_checkpoint(gate.run.initial_weights).state_dict()
    assert all(
        torch.equal(begun[name], weight)
        for name, weight in load_checkpoint(pretraining.run.weights).state_dict().items()
    )
    epochs = [line.split(",") for line in gate.run.curves.read_text().splitlines()]
    assert {row[epochs[0].index("epoch")] for row in epochs[1:]} == {"0", "1"}

    results = {job.name: job.result or {} for job in (single, gate)}
    assert results["single"]["parameters"] < results["gate"]["parameters"]
    assert results["single"]["memory_parameters"] == 0 < results["gate"]["memory_parameters"]
    assert results["single"]["frames"] == results["gate"]["frames"] == 2 * 1 * 3
    assert all(result["step_ms"] > 0 and result["points"] > 0 for result in results.values())
    table = json.loads((out / "compare.json").read_text())
    assert (table["variants"], table["seeds"], table["split"]) == (["single", "gate"], [0], "val")
    assert table["starts"] == {"single": pretraining.name, "gate": pretraining.name}
    assert table["what"] == {path.stem: str(path) for path in files}
    assert table["differences"] == {"gate": ["MODEL.MEMORY.FUSION=gate"]}
    score = json.loads((gate.run.out / "eval" / "metrics.json").read_text())
    assert score["tracks"]["half_second"]["nds"] >= 0
    assert 0 <= score["occupancy"]["auc_seen"] <= 1
    assert json.loads((single.run.out / "eval" / "metrics.json").read_text())["occupancy"] is None
    assert f"| AUC seen | – | {score['occupancy']['auc_seen']:.3f} |" in (out / "compare.md").read_text()
    assert f"{score['mean_ap']:.3f}" in (out / "compare.md").read_text()
    assert "</html>" in (out / "report.html").read_text()
    assert "differences to single" in capfd.readouterr().out


def test_a_variant_with_a_tracker_is_scored_on_the_weights_of_the_one_without(sim_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("motmetrics")
    variants = load_variants(["tiny"], ["single", "single+track", "read+track"], QUICK)
    comparison = Comparison(tuple(variants), sim_root, tmp_path, 1, "val", TRACKS)
    (start,) = {pretraining_name(cfg) for cfg in comparison.pretrainings.values()}
    _, single, read, tracked, read_tracked = jobs = comparison.trainings()
    assert [job.name for job in jobs] == [start, "single", "read", "single+track", "read+track"]
    assert not any(job.ready for job in (single, tracked, read_tracked))

    assert isinstance(single, TrainingJob)
    assert isinstance(read, TrainingJob)
    assert (single.eval_settings, read.eval_settings) == (comparison.eval_settings, None)
    torch.manual_seed(0)
    save_checkpoint(single.run.weights, build_model(single.cfg))
    write_json(single.run.out / "trained.json", {"steps": 2, "frames": 6, "train_seconds": 1.0})
    single.work()
    assert (tracked.ready, tracked.done, read_tracked.ready) == (True, False, False)
    tracked.work()
    assert tracked.done

    folders = [tmp_path / "seed-0" / name for name in ("single", "single+track")]
    metrics = [json.loads((folder / "eval/metrics.json").read_text()) for folder in folders]
    assert metrics[0]["tracking"] is None
    assert metrics[1]["tracking"]["amota"] >= 0
    assert metrics[0]["tracks"]["half_second"] is not None
    assert metrics[1]["tracks"]["half_second"] is None
    assert not list((tmp_path / "seed-0/single+track").glob("*.safetensors"))
    comparison.timings()[0].work()
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert results[0]["frames"] == results[1]["frames"] == 6
    assert all(result["step_ms"] > 0 for result in results)


def test_a_tracker_is_not_compared_with_half_a_second_of_memory(sim_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"single\+track: a tracker remembers the whole scene"):
        run_comparison(
            ["tiny"], sim_root, tmp_path, variants=["single", "single+track"], split="val", tracks=["half_second"]
        )


def test_a_folder_is_not_resumed_on_another_data_set(
    stopped: Comparison, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (stopped.out / "compare.json").write_text(json.dumps({"data": "/elsewhere", "version": "v1.0-sim"}))
    assert compare(*files, "--data", stopped.data, "--out", stopped.out) == 1
    assert "holds runs on /elsewhere" in " ".join(capsys.readouterr().err.split())


def test_a_missing_data_set_is_named_with_the_command_that_makes_one(
    files: list[Path], sim_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"remembev simulate {re.escape(str(tmp_path))}/none --scenes 24 --sets all$"):
        run_comparison(files, tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match=r"has no sweeps between its key frames, and sweeps stacks 9.*--sweeps$"):
        run_comparison(["small"], sim_root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
