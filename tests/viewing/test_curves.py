from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from remembev.errors import DataError
from remembev.viewing.curves import curves_svg, read_curves

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


def test_curves_become_one_well_formed_svg_that_fetches_nothing(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(TABLE)
    svg = curves_svg(read_curves(tmp_path / "metrics.csv"))
    root = ElementTree.fromstring(svg[svg.index("<svg") :])
    links = [value for node in root.iter() for key, value in node.attrib.items() if key.endswith("href")]
    assert all(link.startswith("#") for link in links)


def test_a_run_without_a_curve_still_draws(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,epoch\n")
    assert "<svg" in curves_svg(read_curves(tmp_path / "metrics.csv"))


@pytest.mark.parametrize("content", [None, "epoch,train/loss\n0,1.0\n", "step,train/loss\n0,much\n"])
def test_what_is_no_table_of_curves_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"metrics\.csv"):
        read_curves(path)
