"""Peers compared: trained in one way from shared starts, gone on with where they were, timed, and set side by side."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch
from tests.conftest import SMALL

from remembev.cli import main
from remembev.comparison import Comparison, load_variants, run_comparison, start_name
from remembev.config import DEFAULT_VARIANTS, config_to_yaml, load_config
from remembev.errors import DataError, UserError
from remembev.evaluation import TRACKS
from remembev.experiments.standings import FLICKER, SCORES, Standings
from remembev.models import load_checkpoint
from remembev.training import ClipModule, pretrain_config

QUICK = [
    *SMALL,
    "OPTIMIZATION.PRETRAIN={EPOCHS: 1, LR: 0.003}",
    "OPTIMIZATION.BATCHES_PER_EPOCH=1",
    "OPTIMIZATION.VAL_CLIPS=1",
]
MAP, NDS = SCORES[:2]


# --------------------------------------------------------------------------------------------------------------- peers


@pytest.mark.parametrize("base", ["small", "nuscenes"])
def test_a_start_is_the_variant_without_a_memory_on_single_frames(base: str) -> None:
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


def test_variants_share_a_start_unless_their_detectors_or_their_points_differ() -> None:
    variants = {variant.name: variant.cfg for variant in load_variants(["small"])}
    names = {name: start_name(pretrain_config(cfg)) for name, cfg in variants.items()}
    assert list(names) == list(DEFAULT_VARIANTS)
    assert len({names[name] for name in ("single", "conv_gru", "gate", "read")}) == 1
    assert names["sweeps"] == names["sweeps+read"] != names["single"]
    targets = "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG"
    seen = variants["gate"].with_changes({f"{targets}.SEEN_WITHIN": "4 s", f"{targets}.UNSEEN_WEIGHT": 7})
    assert start_name(pretrain_config(seen)) == names["gate"]
    wider = variants["single"].with_changes({"MODEL.VFE.NUM_FILTERS": [24]})
    assert start_name(pretrain_config(wider)) not in names.values()


def test_variants_have_names_of_their_own_and_see_the_same_clips_for_as_many_steps(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("_BASE_CONFIG_: small\n")
    with pytest.raises(UserError, match="small, small: variants need names of their own"):
        load_variants(["small", tmp_path / "small.yaml"])
    (tmp_path / "longer.yaml").write_text("_BASE_CONFIG_: small\nOPTIMIZATION: {NUM_EPOCHS: 99}\n")
    with pytest.raises(UserError, match=r"OPTIMIZATION\.NUM_EPOCHS is 99 in longer and \d+ in small"):
        load_variants(["small", tmp_path / "longer.yaml"])
    with pytest.raises(UserError, match="variants are made of one configuration, not of 2"):
        load_variants(["small", "tiny"], ["gate"])


# ---------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Configuration files of two small peers."""
    folder = tmp_path_factory.mktemp("configs")
    for name, fusion in (("single", "none"), ("gate", "gate")):
        cfg = load_config("tiny", [*QUICK, f"MODEL.MEMORY.FUSION={fusion}"])
        (folder / f"{name}.yaml").write_text(config_to_yaml(cfg))
    return [folder / "single.yaml", folder / "gate.yaml"]


def compare(*arguments: object) -> Any:
    """The command, in this process, and how it exits; what it trains is in others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["remembev", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code


@pytest.fixture(scope="module")
def stopped(files: list[Path], sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """One seed whose start and single peer are done, and whose gate was stopped after its first epoch."""
    out = tmp_path_factory.mktemp("comparison")
    comparison = Comparison(tuple(load_variants(files)), sim_root, out, 1, "val", TRACKS)
    start, single, gate = comparison.trainings()
    start.work()
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
def test_a_stopped_comparison_goes_on_and_does_nothing_twice(
    stopped: Comparison, files: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    out = stopped.out
    start, single, gate = stopped.trainings()
    done = {path: path.stat().st_mtime_ns for job in (start, single) for path in job.run.out.glob("**/*.safetensors")}
    asked = ("--seeds", 1, "--workers", 2, "--track", "both")
    assert compare(*files, "--data", stopped.data, "--out", out, *asked) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert sorted(path.name for path in out.glob("seed-0/*") if path.is_dir()) == ["gate", "single", start.name]

    begun = load_checkpoint(gate.run.initial_weights).state_dict()
    assert all(
        torch.equal(begun[name], weight) for name, weight in load_checkpoint(start.run.weights).state_dict().items()
    )
    epochs = [line.split(",") for line in gate.run.curves.read_text().splitlines()]
    assert {row[epochs[0].index("epoch")] for row in epochs[1:]} == {"0", "1"}

    results = {job.name: job.result or {} for job in (single, gate)}
    assert results["single"]["parameters"] < results["gate"]["parameters"]
    assert results["single"]["frames"] == results["gate"]["frames"] == 2 * 1 * 3
    assert all(result["step_ms"] > 0 and result["points"] > 0 for result in results.values())
    table = json.loads((out / "compare.json").read_text())
    assert (table["peers"], table["seeds"], table["split"]) == (["single", "gate"], [0], "val")
    assert table["starts"] == {"single": start.name, "gate": start.name}
    assert table["differences"] == {"gate": ["MODEL.MEMORY.FUSION=gate"]}
    score = json.loads((gate.run.out / "eval" / "metrics.json").read_text())
    assert score["tracks"]["half_second"]["nds"] >= 0
    assert f"{score['mean_ap']:.3f}" in (out / "compare.md").read_text()
    assert "</html>" in (out / "report.html").read_text()
    assert "differences to single" in capfd.readouterr().out


def test_a_folder_is_not_gone_on_with_on_another_data_set(
    stopped: Comparison, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (stopped.out / "compare.json").write_text(json.dumps({"data": "/elsewhere", "version": "v1.0-sim"}))
    assert compare(*files, "--data", stopped.data, "--out", stopped.out) == 1
    assert "holds runs on /elsewhere" in " ".join(capsys.readouterr().err.split())


def test_data_that_is_not_there_is_not_invented(files: list[Path], sim_root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"remembev simulate {re.escape(str(tmp_path))}/none --scenes 24 --sets all$"):
        run_comparison(files, tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match=r"has no sweeps between its key frames, and sweeps stacks 9.*--sweeps$"):
        run_comparison(["small"], sim_root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------------------------------- standings


def run(mean_ap: float, recall: float | None, lost: float | None, step_ms: float) -> dict[str, Any]:
    permanence = {"windows_s": [1, 4], "false_boxes": [1, 5, 10], "recall": [[0.0, recall, 0.9], [0.0, None, 0.9]]}
    score = {"mean_ap": mean_ap, "nds": 0.5, "permanence": permanence, "visibility": {"1": {"mean_ap": mean_ap / 2}}}
    tracks = {"tracks": {"half_second": None}, "flicker": {"lost_per_track": lost}}
    return {"eval": {**score, **tracks}, "result": {"parameters": 1000, "step_ms": step_ms}}


STANDINGS = Standings(
    {"settings": {"data": "made by hand"}, "differences": {"gate": ["MODEL.MEMORY.FUSION=gate"]}},
    {
        "single": {0: run(0.10, 0.2, 2.0, 10.0), 1: run(0.20, 0.4, 2.0, 20.0), 2: run(0.30, 0.3, None, 30.0)},
        "gate": {0: run(0.15, 0.1, 1.0, 20.0), 1: run(0.26, 0.5, 1.5, 50.0)},
    },
)


def rows(page: str, name: str) -> list[list[str]]:
    """The cells of a row of the page's tables, wherever it stands."""
    split = ([cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "|" in line)
    return [cells[1:] for cells in split if cells[0] == name]


def test_the_tables_have_means_over_seeds_and_differences_in_pairs() -> None:
    page = STANDINGS.to_markdown()
    pairs = [0.15 - 0.10, 0.26 - 0.20]
    assert rows(page, "mAP") == [
        ["0.200 ± 0.100", f"{mean([0.15, 0.26]):.3f} ± {stdev([0.15, 0.26]):.3f}"],
        [f"+{mean(pairs):.3f} ± {stdev(pairs):.3f} (better)"],
    ]
    assert rows(page, "mAP at visibility 1")[0][0] == "0.100 ± 0.050"
    assert rows(page, "permanence 1 s")[0] == ["0.300 ± 0.100", "0.300 ± 0.283"]
    assert rows(page, "permanence 1 s")[1] == ["+0.000 ± 0.141 (within the spread)"]
    assert rows(page, "permanence 4 s") == [["-", "-"], ["-"]]
    assert rows(page, "mAP ≤ 0.5 s") == [["-", "-"], ["-"]]
    assert rows(page, "time over single's") == [["1.00 ± 0.00", "2.25 ± 0.35"]]
    assert rows(page, "parameters") == [["1000", "1000"]]
    assert rows(page, "seeds") == [["3", "2"]]


def test_less_flicker_is_better_and_no_difference_is_within_the_spread() -> None:
    assert STANDINGS.verdict("gate", FLICKER) == "better"
    assert STANDINGS.verdict("gate", NDS) == "within the spread"
    worse = replace(STANDINGS, runs={"gate": STANDINGS.runs["gate"], "single": STANDINGS.runs["single"]})
    assert worse.verdict("single", FLICKER) == "worse"
    assert worse.verdict("single", MAP) == "worse"


def test_one_seed_says_nothing_of_the_spread() -> None:
    first = {peer: {0: runs[0]} for peer, runs in STANDINGS.runs.items()}
    assert replace(STANDINGS, runs=first).verdict("gate", MAP) == "one seed"


def test_the_page_says_in_words_what_is_better_worse_and_open() -> None:
    said = next(line for line in STANDINGS.to_markdown().splitlines() if line.startswith("- `gate` against"))
    assert "better by more than the spread over seeds in mAP, mAP at visibility 1, flicker;" in said
    assert "no difference larger than the spread over seeds in NDS, permanence 1 s;" in said
    assert "not measured: mAP ≤ 0.5 s" in said


@pytest.mark.parametrize("peers", [("single",), ("single", "gate")])
def test_standings_can_be_shown_before_anything_is_measured(peers: tuple[str, ...]) -> None:
    nothing = replace(STANDINGS, runs={peer: {} for peer in peers})
    assert nothing.empty
    assert rows(nothing.to_markdown(), "seeds") == [["0"] * len(peers)]
    assert len(nothing.to_tables()) == len(peers)
