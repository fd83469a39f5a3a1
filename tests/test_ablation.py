"""The ablation end to end on a small data set: variants, pairs, what is done already, what fails, and the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch
from tests.conftest import SMALL

from remembev.ablation import REFERENCE, START, VARIANTS, Variant, run_ablation, trainings_of
from remembev.cli import main
from remembev.config import Config, config_to_yaml, load_config
from remembev.errors import UserError
from remembev.models import load_checkpoint
from remembev.training import ClipModule, train
from remembev.viewing.ablation import Ablation, as_json, as_markdown, write_ablation

pytest.importorskip("nuscenes")
BY_NAME = {variant.name: variant for variant in VARIANTS}
QUICK = [
    *SMALL,
    "OPTIMIZATION.PRETRAIN={EPOCHS: 1, LR: 0.003}",
    "OPTIMIZATION.NUM_EPOCHS=1",
    "OPTIMIZATION.BATCHES_PER_EPOCH=1",
    "OPTIMIZATION.VAL_CLIPS=1",
]


# ------------------------------------------------------------------------------------------------------------ variants


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
@pytest.mark.parametrize("config", ["tiny", "nuscenes"])
def test_a_variant_is_a_configuration_that_differs_in_its_memory_alone(config: str, variant: Variant) -> None:
    cfg = load_config(config)
    changed = variant.of(cfg)
    assert (changed == BY_NAME[REFERENCE].of(cfg)) == (variant.name == REFERENCE)
    same_memory = changed.MODEL.model_copy(update={"MEMORY": cfg.MODEL.MEMORY})
    assert changed.model_copy(update={"MODEL": same_memory}) == cfg


@pytest.mark.parametrize("config", ["tiny", "nuscenes"])
def test_first_in_first_out_has_room_for_as_many_tokens_as_consolidation_and_less_than_a_frame_more(
    config: str,
) -> None:
    def room(cfg: Config) -> int:
        memory = cfg.MODEL.MEMORY
        return memory.LONG_TERM.MAX_TOKENS + memory.max_frames * memory.tokens_per_frame(cfg.memory_grid)

    cfg = load_config(config)
    frame = cfg.memory_grid.height * cfg.memory_grid.width
    assert 0 <= room(BY_NAME["fifo"].of(cfg)) - room(cfg) < frame
    assert room(BY_NAME["no_long_term"].of(cfg)) == room(cfg) - cfg.MODEL.MEMORY.LONG_TERM.MAX_TOKENS
    assert BY_NAME["foreground"].of(cfg).MODEL.MEMORY.tokens_per_frame(cfg.memory_grid) == frame // 4


# ---------------------------------------------------------------------------------------------------------------- runs


def test_variants_of_a_seed_see_the_same_clips_though_one_draws_more_itself(
    small_cfg: Config, sim_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, float]] = []
    step = ClipModule.training_step

    def watched(self: ClipModule, batch_seq: dict[str, Any], batch_idx: int) -> Any:
        seen.append((str(batch_seq["sample_token"][0, 0]), float(batch_seq["gt_boxes"].sum())))
        return step(self, batch_seq, batch_idx)

    monkeypatch.setattr(ClipModule, "training_step", watched)
    for name in ("none", "gate"):
        train(BY_NAME[name].of(small_cfg), sim_root, tmp_path / name, seed=3)
    assert len(set(seen)) == 4
    assert seen[:4] == seen[4:]


@pytest.fixture(scope="module")
def folder(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one seed: the start and ``none`` are done, ``gate`` was stopped, ``conv_gru`` can't be written."""
    out, cfg = tmp_path_factory.mktemp("ablation"), load_config("tiny", QUICK)
    variants = {name: BY_NAME[name].of(cfg) for name in ("none", "gate")}
    start, none, gate = trainings_of(0, cfg, variants, sim_root, out)
    start.work()
    none.work()
    stopped = gate.run
    stopped.out.mkdir(parents=True)
    stopped.config.write_text(config_to_yaml(variants["gate"]))
    (out / "seed-0" / "conv_gru").write_text("a file where a folder should be")
    return out


@pytest.mark.usefixtures("forked_jobs")
def test_what_is_missing_is_done_and_what_fails_is_named_and_stops_nothing_else(
    folder: Path, sim_root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = {path: path.stat().st_mtime_ns for name in (START, "none") for path in folder.glob(f"seed-0/{name}/**/*")}
    changes = [part for change in QUICK for part in ("--set", change)]
    arguments = ["ablate", "tiny", "--data", str(sim_root), "--out", str(folder), "--seeds", "1", *changes]
    monkeypatch.setattr("sys.argv", ["remembev", *arguments, "--only", "gate,none,conv_gru", "--workers", "2"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    message = " ".join(capfd.readouterr().err.split())
    assert "not done: seed 0 conv_gru" in message
    log = folder / "seed-0" / "conv_gru.log"
    assert str(log) in message
    assert "FileExistsError" in log.read_text()

    assert {path: path.stat().st_mtime_ns for path in done} == done
    runs = {name: json.loads((folder / "seed-0" / name / "result.json").read_text()) for name in ("none", "gate")}
    official = json.loads((folder / "seed-0" / "gate" / "metrics.json").read_text())
    assert runs["gate"]["mean_ap"] == official["mean_ap"]
    assert runs["none"]["auc_seen"] is None
    assert 0 <= runs["gate"]["auc_seen"] <= 1
    assert runs["none"]["memory_parameters"] == 0 < runs["gate"]["memory_parameters"]
    table = json.loads((folder / "ablation.json").read_text())
    assert {name: one["runs"] for name, one in table["variants"].items() if one["runs"]} == {
        name: {"0": run} for name, run in runs.items()
    }
    assert (folder / "ablation.png").read_bytes().startswith(b"\x89PNG")

    start = load_checkpoint(folder / "seed-0" / START / "model.safetensors").state_dict()
    gate = load_checkpoint(folder / "seed-0" / "gate" / "initial.safetensors").state_dict()
    assert all(torch.equal(gate[name], weight) for name, weight in start.items())


def test_runs_of_another_configuration_are_not_mixed_in(folder: Path, sim_root: Path) -> None:
    with pytest.raises(UserError, match=r"config\.yaml is of another configuration"):
        run_ablation(load_config("tiny", [*QUICK, "OPTIMIZATION.LR=1"]), sim_root, folder, name="tiny", seeds=1)


def test_a_variant_that_there_is_not_is_named_with_those_there_are(small_cfg: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no variant gait; there are none, conv_gru, gate,"):
        run_ablation(small_cfg, tmp_path, tmp_path / "out", name="tiny", seeds=1, only=["gate", "gait"])
    assert not (tmp_path / "out").exists()


# -------------------------------------------------------------------------------------------------------------- report


ABLATION = Ablation(
    title="Ablation of a test",
    config="",
    settings={"configuration": "small"},
    reference="gate",
    variants={"none": "nothing", "gate": "as it is", "ages": "not run yet"},
    changes={"none": ["FUSION=none"], "gate": [], "ages": ["READ.AGE=5 s"]},
    runs={
        "none": {0: {"mean_ap": 0.2, "auc_seen": None}, 1: {"mean_ap": 0.5, "auc_seen": None}, 2: {"mean_ap": 0.9}},
        "gate": {0: {"mean_ap": 0.1, "auc_seen": 0.7}, 1: {"mean_ap": 0.3, "auc_seen": 0.9}},
    },
)


def test_means_are_over_all_seeds_and_differences_over_pairs() -> None:
    summary = as_json(ABLATION)["variants"]["none"]["summary"]
    values, pairs = [0.2, 0.5, 0.9], [0.2 - 0.1, 0.5 - 0.3]
    assert summary["mean_ap"] == {
        "value": {"mean": mean(values), "sd": stdev(values), "n": 3},
        "difference": {"mean": mean(pairs), "sd": stdev(pairs), "n": 2},
    }
    nothing = {"mean": None, "sd": None, "n": 0}
    assert summary["auc_seen"] == {"value": nothing, "difference": nothing}


def test_the_tables_show_spread_and_a_dash_for_what_a_variant_has_not() -> None:
    rows = [line.split(" | ") for line in as_markdown(ABLATION, picture="picture.png").splitlines()]
    scores, differences = (row for row in rows if row[0] == "| none" and len(row) > 3)
    assert scores[1] == "0.5333 ± 0.3512"
    assert scores[3] == "-"
    assert scores[-1] == "3 |"
    assert differences[1] == "+0.1500 ± 0.0707 (2)"
    assert [row[0] for row in rows if row[0] == "| ages"] == ["| ages"]


@pytest.mark.parametrize("runs", [{}, {"none": ABLATION.runs["none"]}, ABLATION.runs])
def test_a_report_can_be_written_however_far_the_runs_are(runs: Any, tmp_path: Path) -> None:
    write_ablation(tmp_path, replace(ABLATION, runs=runs))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ablation.json", "ablation.md", "ablation.png"]
