"""The report of a comparison: self-contained, honest about what it finds, written however far the runs have come."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.viewing.pages import Page

from remembev.config import config_to_yaml, load_config
from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.experiments.report import write_report
from remembev.models import Detections
from remembev.streaming import frame_record

VARIANTS = {
    "alone": ["MODEL.MEMORY.FUSION=none"],
    "ten": ["MODEL.MEMORY.FUSION=none", "DATA_CONFIG.NUM_SWEEPS=9"],
    "recurrent": ["MODEL.MEMORY.NAME=ConvGRUBEVModule"],
    "gated": ["MODEL.MEMORY.FUSION=gate"],
    "reading": [],
}
"""Names that don't tell what the variants are: their configurations do."""
SEEDS = (0, 1, 2)
QUALITY = {"alone": 0.1, "ten": 0.2, "recurrent": 0.15, "gated": 0.3, "reading": 0.25}
CLASSES = ("car", "pedestrian")


def score(value: float) -> dict[str, Any]:
    return {
        "mean_ap": value,
        "nds": value + 0.1,
        "errors": dict.fromkeys(("mATE", "mASE", "mAOE", "mAVE", "mAAE"), 1 - value),
        "class_ap": dict.fromkeys(CLASSES, value),
    }


def metrics(value: float) -> dict[str, Any]:
    """What ``remembev eval`` leaves, every number following from one."""
    recall = [place / 100 for place in range(101)]
    return {
        **score(value),
        "tracks": {"unbounded": score(value), "half_second": score(value / 2)},
        "precision_recall": {
            name: {"recall": recall, "precision": [value] * 101, "confidence": recall} for name in CLASSES
        },
        "visibility": {level: {**score(value / 2), "objects": 10} for level in "1234"},
        "last_seen": [
            {"from_s": start, "to_s": end, **score(value / 3), "objects": 7}
            for start, end in ((0.0, 0.0), (0.0, 0.5), (0.5, None))
        ],
        "permanence": {
            "windows_s": [0.5, 4.0],
            "false_boxes": [1.0, 5.0, 10.0],
            "recall": [[value, value, value], [None, value / 2, value]],
            "objects": [3, 1234],
        },
        "flicker": {"tracks": 5, "lost_per_track": value, "mean_gap_s": None, "found_share": 0.5},
        "velocity_error": {"car": value, "pedestrian": None},
        "age": [
            {
                "from_frame": start,
                "to_frame": end,
                **score(value),
                "recall": None if start == 1 else value,
                "objects": 9,
            }
            for start, end in ((1, 1), (2, 2), (3, 4))
        ],
    }


EVAL_SETTINGS = {"split": "val", "tracks": "unbounded half_second"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A comparison of three seeds, all trained and scored, whose data set is not there."""
    out = tmp_path / "comparison"
    for name, changes in VARIANTS.items():
        config = config_to_yaml(load_config("tiny", changes))
        for seed in SEEDS:
            run = out / f"seed-{seed}" / name
            (run / "logs").mkdir(parents=True)
            (run / "eval").mkdir()
            (run / "config.yaml").write_text(config)
            (run / "logs" / "metrics.csv").write_text(
                f"step,train/cls_loss,val/cls_loss\n4,{seed}.5,\n9,1.0,\n9,,2.0\n"
            )
            result = {**EVAL_SETTINGS, "parameters": 1_234_567, "step_ms": 12.5, "points": 20_000, "frames": 640}
            (run / "result.json").write_text(json.dumps(result))
            (run / "eval" / "metrics.json").write_text(json.dumps(metrics(QUALITY[name] + 0.001 * seed**2)))
    tell(out, data="nowhere", **EVAL_SETTINGS)
    return out


def tell(out: Path, **where: str) -> None:
    comparison = {
        "variants": list(VARIANTS),
        "what": {name: f"what {name} is" for name in VARIANTS},
        "seeds": list(SEEDS),
        "version": "v1.0-sim",
        "settings": {"then": "4 epochs of <80> batches"},
        "differences": {name: changes for name, changes in VARIANTS.items() if name != "alone"},
        **where,
    }
    (out / "compare.json").write_text(json.dumps(comparison))


def read(out: Path) -> str:
    return Page(write_report(out).read_text(encoding="utf-8")).text


def test_the_report_is_one_well_formed_file_that_fetches_nothing(folder: Path) -> None:
    path = write_report(folder)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert path == folder / "report.html"
    assert page.open == []
    assert len(page.sources) == 4  # precision over recall, permanence, age, training
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not re.search(r"url\(|@import|<script|\$[a-z{]|\bnan\b", text)
    assert "4 epochs of <80> batches" in page.text


def test_every_difference_to_the_first_variant_has_a_dot_a_seed(folder: Path) -> None:
    text = write_report(folder).read_text(encoding="utf-8")
    section = text[text.index("<h2>Differences to alone</h2>") :]
    row = section[section.index("<td>mAP</td>") :].partition("</tr>")[0]
    assert row.count("<circle") == len(SEEDS) * (len(VARIANTS) - 1)


def test_what_the_occupancy_knows_is_shown_of_the_variants_that_have_one(folder: Path) -> None:
    assert "Occupancy" not in read(folder)
    for variant in ("gated", "reading"):
        scores = {"auc_seen": 0.9, "auc_hidden": 0.8765, "auc_unseen": 0.5, "occupancy_ap": 0.4}
        rewrite(folder, variant, lambda metrics, scores=scores: metrics.update(occupancy=scores))  # type: ignore[misc]
    text = read(folder)
    assert "AUC hidden: ROC AUC for objects without a point" in text
    assert "0.876" in text


def test_a_memory_that_gains_more_than_the_spread_is_said_to(folder: Path) -> None:
    text = read(folder)
    assert (
        "The gate over a single framegated beats alone by more than the spread over seeds on permanence 0.5 s" in text
    )
    assert "reading beats alone by more than the spread over seeds on permanence 0.5 s" in text
    assert "gated beats ten by more than" in text
    assert "is worse" not in text
    assert "not finished" not in text


def test_a_memory_that_loses_is_said_to(folder: Path) -> None:
    for seed in SEEDS:
        (folder / f"seed-{seed}" / "gated" / "eval" / "metrics.json").write_text(json.dumps(metrics(0.02)))
    text = read(folder)
    assert "gated is worse than alone by more than the spread on permanence 0.5 s" in text
    assert "It costs more than the spread on mAP (" in text
    assert "no: worse by more than the spread" in text
    assert "gated beats" not in text


def test_one_seed_makes_no_claim(folder: Path) -> None:
    for seed in SEEDS[1:]:
        shutil.rmtree(folder / f"seed-{seed}")
    text = read(folder)
    assert "beats" not in text
    assert "There is only one seed" in text
    assert "Not scored yet: alone (seed 1, 2)" in text


@pytest.mark.parametrize("kept", [(), ("config.yaml",), ("config.yaml", "logs")])
def test_a_comparison_that_has_hardly_begun_has_a_report_that_says_so(folder: Path, kept: Sequence[str]) -> None:
    for seed in SEEDS:
        for run in (folder / f"seed-{seed}").iterdir():
            for left in run.iterdir():
                if left.name not in kept:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
    text = read(folder)
    assert "This comparison is not finished" in text
    assert "0 of 15" in text
    assert "beats" not in text


def test_measures_that_are_not_there_yet_are_left_out(folder: Path) -> None:
    for variant in VARIANTS:
        for key in ("visibility", "last_seen", "permanence", "flicker", "velocity_error", "age", "precision_recall"):
            rewrite(folder, variant, lambda found, key=key: found.pop(key))  # type: ignore[misc]
        rewrite(folder, variant, lambda found: found["tracks"].update(half_second=None))
    text = read(folder)
    assert "Nothing has been measured of permanence yet" in text
    assert "Not measured yet: mAP at visibility 1" in text


def test_without_the_data_set_the_report_says_that_it_could_not_look_for_lost_objects(folder: Path) -> None:
    assert "This needs the data set" in read(folder)


def test_what_only_the_memory_keeps_is_counted_and_drawn(folder: Path, sim_root: Path) -> None:
    hidden = detect(folder, sim_root)
    assert hidden > 0
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert f"Of {hidden} such objects (1 seed), only gated keeps {hidden}, only alone keeps 0." in page.text
    assert sum(source.startswith("data:image/png") for source in page.sources) == min(hidden, 3)
    assert "(below) has a box on it in" in page.text
    assert len("".join(page.sources)) < 10e6


def test_a_folder_without_a_comparison_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"compare\.json"):
        write_report(tmp_path)


def rewrite(folder: Path, variant: str, change: Any) -> None:
    """Change what was measured of a variant, in every seed."""
    for seed in SEEDS:
        file = folder / f"seed-{seed}" / variant / "eval" / "metrics.json"
        found = json.loads(file.read_text())
        change(found)
        file.write_text(json.dumps(found))


def detect(folder: Path, root: Path) -> int:
    """Detections of one seed on real scenes: ``alone`` finds what has a point, ``gated`` everything.

    Returns how many objects in range have a point and then none for a second or longer.
    """
    tell(folder, data=str(root), **{**EVAL_SETTINGS, "split": "train"})
    for run in folder.glob("seed-*/*/result.json"):
        run.write_text(json.dumps({**json.loads(run.read_text()), "split": "train"}))
    index, cfg = NuScenesIndex.open(root, "v1.0-sim"), load_config("tiny")
    lines: Mapping[str, list[str]] = {"alone": [], "gated": []}
    runs: dict[tuple[int, int], str] = {}
    for scene in index.split_scenes("train"):
        for number in index.scene_frames(scene):
            frame = index.load_annotations(number, cfg.CLASS_NAMES)
            seen = frame.num_points > 0
            for name, chosen in (("alone", seen), ("gated", torch.ones_like(seen))):
                found = Detections(frame.boxes, chosen.float(), frame.labels, seen)[chosen]
                lines[name].append(json.dumps(frame_record(frame, found, cfg.CLASS_NAMES)))
            inside = (frame.boxes[:, :2].abs() < 40).all(dim=1).tolist()
            for track, has_point, is_inside in zip(frame.track_ids.tolist(), seen.tolist(), inside, strict=True):
                before = runs.get((scene, track), "").ljust(number - index.scene_frames(scene).start)
                runs[scene, track] = before + (("x" if has_point else "o") if is_inside else " ")
    for name, text in lines.items():
        (folder / "seed-0" / name / "eval" / "detections.jsonl").write_text("\n".join(text) + "\n")
    return sum(len(re.findall("xoo+", run)) for run in runs.values())
