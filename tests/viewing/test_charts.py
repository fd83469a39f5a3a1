"""Charts, checked by their SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from remembev.viewing.charts import Line, Panel, chart_svg

SVG = "{http://www.w3.org/2000/svg}"
RAMP = np.linspace(0, 1, 50)


def panels_in(svg: str) -> int:
    groups = ElementTree.fromstring(svg[svg.index("<svg") :]).iter(f"{SVG}g")
    return sum(group.get("id", "").startswith("axes") for group in groups)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_every_panel_is_drawn_whatever_the_columns(count: int) -> None:
    panels = [Panel(f"panel {number}", [Line(RAMP, RAMP, "#123456")]) for number in range(count)]
    assert panels_in(chart_svg(panels, columns=3)) == count


def test_lines_and_bands_have_their_colour_and_may_have_gaps() -> None:
    with_gaps = np.where(RAMP < 0.5, RAMP, np.nan)
    svg = chart_svg([Panel("", [Line(RAMP, with_gaps, "#12ab56", band=(with_gaps, with_gaps + 1))])], columns=1)
    assert svg.count("#12ab56") >= 2
    assert "nan" not in svg


def test_equal_charts_give_equal_files() -> None:
    panel = Panel("loss", [Line(RAMP, RAMP, "#123456", "a", raw=RAMP), Line(RAMP, -RAMP, "#654321", "b")])
    assert chart_svg([panel]) == chart_svg([panel])
