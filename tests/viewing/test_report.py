"""The report: complete, self-contained, and with a verdict that follows the numbers."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.viewing.pages import Page

from remembev.errors import DataError
from remembev.evaluation import DetectionScore
from remembev.evaluation.scoring import ERRORS
from remembev.viewing.curves import Curve
from remembev.viewing.report import Report, class_sentence, learning_sentence, memory_sentence, write_report


def score(
    mean_ap: float, nds: float, *, car: float = 0.5, bus: float = 0.5, speed_error: float = 1.0
) -> DetectionScore:
    errors = {**dict.fromkeys(ERRORS, 0.5), "mAVE": speed_error}
    return DetectionScore(mean_ap, nds, errors, {"car": car, "bus": bus}, {"car": errors, "bus": errors})


@pytest.fixture
def report(tmp_path: Path) -> Report:
    pictures = {}
    for name in ("movie.gif", "strip.png", "keyframe.png"):
        pictures[name] = tmp_path / name
        Image.new("RGB", (8, 8)).save(pictures[name])
    return Report(
        title="a run & its <report>",
        untrained=score(0.0, 0.0),
        with_memory=score(0.30, 0.35),
        without_memory=score(0.25, 0.36),
        curves=[{"train/loss": Curve(np.arange(3.0), np.ones(3))}],
        movie=pictures["movie.gif"],
        strip=pictures["strip.png"],
        config="KEY: {a: <b>}",
        data={"scenes": "24"},
        seconds={"train": 301.0},
        bench={"NMS": 1.5},
        commands=["make demo"],
        keyframe=pictures["keyframe.png"],
        keyframe_licence="CC BY-NC-SA 4.0",
    )


def test_a_report_is_one_well_formed_file_without_external_resources(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path / "out" / "report.html", report)
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert len(page.sources) == 4
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not re.search(r"url\(|@import|<script|\$[a-z{]", text)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]


def test_a_report_contains_everything_it_is_given(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", report)
    text = Page((tmp_path / "report.html").read_text()).text
    for text_part in ("a run & its <report>", "0.300 / 0.350", "5 min 01 s", "1.5 ms", "make demo", "KEY: {a: <b>}"):
        assert text_part in text
    assert "CC BY-NC-SA 4.0" in text
    assert memory_sentence(report.with_memory, report.without_memory) in text


def test_without_a_key_frame_there_is_no_section_for_it(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", replace(report, keyframe=None))
    assert "real street" not in (tmp_path / "report.html").read_text()


def test_a_missing_picture_is_named_and_no_report_is_written(report: Report, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.gif"):
        write_report(tmp_path / "report.html", replace(report, movie=tmp_path / "nowhere.gif"))
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("with_memory", "without", "verdict"),
    [
        ((0.30, 0.40), (0.25, 0.38), "The memory adds 5.0 points of mAP and 2.0 points of NDS"),
        ((0.25, 0.38), (0.30, 0.40), "The memory costs 5.0 points of mAP and 2.0 points of NDS"),
        ((0.30, 0.38), (0.25, 0.40), "The memory adds 5.0 points of mAP but costs 2.0 points of NDS"),
        ((0.30, 0.40), (0.30, 0.40), "The memory makes no difference to mAP or NDS"),
    ],
)
def test_the_verdict_on_the_memory_follows_the_numbers(
    with_memory: tuple[float, float], without: tuple[float, float], verdict: str
) -> None:
    assert memory_sentence(score(*with_memory), score(*without)).startswith(verdict)


def test_the_classes_that_gain_and_lose_most_are_named() -> None:
    sentence = class_sentence(score(0, 0, car=0.6, bus=0.4, speed_error=0.8), score(0, 0))
    assert "helps car most (+10.0 points of AP)" in sentence
    assert "hurts bus most (−10.0)" in sentence
    assert "falls from 1.00 to 0.80 m/s" in sentence
    assert class_sentence(score(0, 0), score(0, 0)) == "No class AP and no velocity error changes."


def test_a_loss_by_training_is_reported() -> None:
    assert "−1.0 points of mAP" in learning_sentence(score(0.02, 0.1), score(0.01, 0.1))
