from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remembev.errors import DataError
from remembev.viewing.charts import Panel
from remembev.viewing.curves import Curve, curves_svg, mean_line, read_curves, running_mean

TABLE = """step,epoch,train/loss,train/occ_loss,lr-AdamW,val/loss
0,0,3.0,1.0,,
0,0,,,0.0001,
10,0,2.0,0.5,,
10,0,,,,2.5
"""


def test_empty_cells_are_left_out_of_each_curve(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(TABLE)
    curves = read_curves(tmp_path / "metrics.csv")
    assert set(curves) == {"train/loss", "train/occ_loss", "lr-AdamW", "val/loss"}
    np.testing.assert_array_equal(curves["train/loss"].steps, [0, 10])
    np.testing.assert_array_equal(curves["train/loss"].values, [3, 2])
    np.testing.assert_array_equal(curves["val/loss"].steps, [10])


def test_curves_are_one_well_formed_svg_without_external_resources(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(TABLE)
    svg = curves_svg([read_curves(tmp_path / "metrics.csv")])
    root = ElementTree.fromstring(svg[svg.index("<svg") :])
    links = [value for node in root.iter() for key, value in node.attrib.items() if key.endswith("href")]
    assert all(link.startswith("#") for link in links)


def test_stages_follow_each_other_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    panels: list[Panel] = []
    monkeypatch.setattr("remembev.viewing.curves.chart_svg", panels.extend)
    steps = np.array([0.0, 5.0, 9.0])
    start = {"train/loss": Curve(steps, steps), "val/loss": Curve(steps[2:], steps[2:])}
    clips = {"train/loss": Curve(steps, steps), "train/occ_loss": Curve(steps, steps)}
    curves_svg([start, clips])
    loss, parts, rate = panels
    assert [line.x.tolist() for line in loss.lines] == [[0, 5, 9], [10, 15, 19], [9]]
    assert [line.name for line in loss.lines] == ["", "training", "validation"]
    assert [line.x.tolist() for line in parts.lines] == [[10, 15, 19]]
    assert [list(panel.marks) for panel in panels] == [[10.0]] * 3
    assert rate.lines == []


def test_a_run_without_curves_is_plotted(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,epoch\n")
    assert "<svg" in curves_svg([read_curves(tmp_path / "metrics.csv")])


@pytest.mark.parametrize("content", [None, "epoch,train/loss\n0,1.0\n", "step,train/loss\n0,much\n"])
def test_an_unreadable_table_of_curves_is_named_in_the_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"metrics\.csv"):
        read_curves(path)


def test_the_mean_of_runs_ends_with_the_shortest_and_has_a_band_from_minimum_to_maximum() -> None:
    runs = [
        Curve(np.array([0.0, 10.0, 20.0]), np.array([1.0, 2.0, 3.0])),
        Curve(np.array([0.0, 10.0]), np.array([3.0, 6.0])),
    ]
    line = mean_line(runs, "#000000")
    np.testing.assert_array_equal(line.x, [0, 10])
    np.testing.assert_array_equal(line.y, [2, 4])
    assert line.band is not None
    np.testing.assert_array_equal(line.band, [[1, 2], [3, 6]])


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=200))
def test_a_running_mean_is_the_mean_of_its_window(values: list[float]) -> None:
    half = len(values) // 40
    expected = []
    for place in range(len(values)):
        reach = min(half, place, len(values) - 1 - place)
        expected.append(np.mean(values[place - reach : place + reach + 1]))
    np.testing.assert_allclose(running_mean(np.array(values)), expected, atol=1e-9)
