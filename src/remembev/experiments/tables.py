"""Tables of a comparison, written as Markdown, for the terminal or as HTML from the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import mean, stdev

import rich.table

from remembev.experiments.measures import COSTS, TIME, Measure
from remembev.experiments.results import Results
from remembev.experiments.verdict import Difference, Spread, Verdict
from remembev.viewing.page import table

VARIANT_COLOURS = ("#7a8594", "#b7791f", "#7b4bb7", "#2b6cb0", "#d9622b", "#2f855a", "#b83280", "#0e7c86")
"""Colours of the variants in their order, the same throughout a report."""
_TONES = {Verdict.BETTER: "good", Verdict.WORSE: "bad"}


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it says.
        html: What HTML shows instead, if that is more.
        tone: CSS class in HTML: ``good``, ``bad`` or none.
    """

    text: str
    html: str = ""
    tone: str = ""

    def to_html(self) -> str:
        """Return its content as HTML."""
        return self.html or escape(self.text)


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head, the first column a name.

    Attributes:
        caption: A sentence below the table, in HTML alone.
        groups: Heads above the heads (HTML), and how many columns each spans.
    """

    head: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    groups: Mapping[str, int] | None = None

    def to_markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [[cell.text for cell in row] for row in (self.head, *self.rows)]
        lines.insert(1, ["---"] * len(self.head))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def to_rich(self, title: str) -> rich.table.Table:
        """Return the table for a terminal."""
        shown = rich.table.Table(title=title, title_justify="left")
        for place, cell in enumerate(self.head):
            shown.add_column(cell.text, justify="right" if place else "left", no_wrap=place == 0)
        for row in self.rows:
            shown.add_row(*(cell.text for cell in row))
        return shown

    def to_html(self) -> str:
        """Return the table as HTML that scrolls where it is wider than the page."""
        rows = [
            "<tr>"
            + "".join(f'<td class="{cell.tone}">{cell.to_html()}</td>' if cell.tone else f"<td>{cell.to_html()}</td>"
                      for cell in row)
            + "</tr>"
            for row in self.rows
        ]  # fmt: skip
        heads = [cell.to_html() for cell in self.head]
        return f'<div class="scroll">{table(heads, rows, self.caption, groups=self.groups)}</div>'


# --------------------------------------------------------------------------------------------------------------- cells


def colour(results: Results, variant: str) -> str:
    """Return a variant's colour."""
    return VARIANT_COLOURS[results.variants.index(variant) % len(VARIANT_COLOURS)]


def name_cell(results: Results, variant: str) -> Cell:
    """Return a variant's name in its colour."""
    name = escape(variant).replace("+", "+<wbr>")
    return Cell(variant, f'<span class="variant" style="--variant:{colour(results, variant)}">{name}</span>')


def spread_cell(spread: Spread, digits: int, *, sign: bool = False, best: bool = False) -> Cell:
    """Return mean ± standard deviation, the latter small in HTML and the best mean bold."""
    text = spread.text(digits, sign=sign)
    value, separator, around = escape(text).replace("-", "−").partition(" ± ")
    value = f"<b>{value}</b>" if best else value
    return Cell(text, f"{value} <small>± {around}</small>" if separator else value)


def dots(values: Sequence[float], limit: float, colour: str, width: int = 150) -> str:
    """Return values as dots on a line from -limit to limit (SVG), mean ± standard deviation shaded."""
    height, middle = 18, width // 2

    def place(value: float) -> float:
        return round(middle + (middle - 5) * max(-1.0, min(1.0, value / limit if limit else 0.0)), 1)

    shade = ""
    if len(values) > 1:
        low, high = (place(mean(values) + sign * stdev(values)) for sign in (-1, 1))
        shade = f'<rect x="{low}" y="4" width="{high - low:.1f}" height="10" rx="3" fill="{colour}" opacity=".18"/>'
    marks = "".join(
        f'<circle cx="{place(value)}" cy="{height // 2}" r="3.2" fill="{colour}" opacity=".85"/>' for value in values
    )
    line = f'<path d="M0 {height // 2}H{width}M{middle} 1V{height - 1}" stroke="#c4ccd6" fill="none"/>'
    return (
        f'<svg class="dots" viewBox="0 0 {width} {height}" width="{width}" height="{height}">{line}{shade}{marks}</svg>'
    )


# -------------------------------------------------------------------------------------------------------------- tables


def by_measure(results: Results, head: str, measures: Sequence[Measure], caption: str = "") -> Table:
    """Return a table with a row a measure and a column a variant, the best of a row bold."""
    rows = [[Cell(measure.label), *_value_cells(results, measure).values()] for measure in measures]
    return Table([Cell(head), *(name_cell(results, name) for name in results.variants)], rows, caption)


def by_variant(
    results: Results, measures: Sequence[Measure], caption: str = "", groups: Mapping[str, int] | None = None
) -> Table:
    """Return a table with a row a variant and a column a measure, the best of a column bold."""
    columns = [_value_cells(results, measure) for measure in measures]
    rows = [[name_cell(results, name), *(column[name] for column in columns)] for name in results.variants]
    return Table([Cell(""), *(Cell(measure.label) for measure in measures)], rows, caption, groups)


def score_table(results: Results) -> Table:
    """Return the scores and costs of all variants."""
    table = by_measure(results, "", [*results.measures, *results.measured(COSTS)])
    first, names = results.reference, results.variants
    ratios = [results.ratios(name, TIME) for name in names]
    rows = [
        *table.rows,
        [Cell(f"time over {first}'s"), *(spread_cell(Spread.of(ratio), 2) for ratio in ratios)],
        [Cell("seeds"), *(Cell(str(len(results.runs[name]))) for name in names)],
    ]
    return Table(table.head, rows)


def difference_table(results: Results) -> Table:
    """Return the differences of all other variants to the first by measure, in HTML with a dot a seed."""
    others = results.variants[1:]
    rows = []
    for measure in results.compared_measures:
        differences = [results.difference(name, measure) for name in others]
        limit = max((abs(value) for one in differences for value in one.by_seed.values()), default=1.0)
        rows.append([
            Cell(measure.label),
            *(_difference_cell(one, dots(list(one.by_seed.values()), limit, colour(results, name), width=110))
              for name, one in zip(others, differences, strict=True)),
        ])  # fmt: skip
    return Table([Cell(""), *(name_cell(results, name) for name in others)], rows)


def variant_table(results: Results) -> Table:
    """Return what the variants are, and the keys in which they differ from the first."""
    what, changed = results.comparison["what"], results.comparison["differences"]
    rows = [
        [name_cell(results, name), Cell(what[name]), _lines_cell(changed.get(name, []))] for name in results.variants
    ]
    return Table([Cell("variant"), Cell("what it is"), Cell(f"keys that differ from {results.reference}")], rows)


def _lines_cell(lines: Sequence[str]) -> Cell:
    return Cell("<br>".join(lines), "<br>".join(map(escape, lines)))


def _difference_cell(difference: Difference, drawing: str) -> Cell:
    if difference.verdict is Verdict.OPEN:
        return Cell(difference.text())
    shown = spread_cell(difference.spread, difference.measure.digits, sign=True)
    text = f"{shown.text} ({difference.verdict.value})"
    return Cell(text, f"{drawing}<br>{shown.html}", _TONES.get(difference.verdict, ""))


def _value_cells(results: Results, measure: Measure) -> dict[str, Cell]:
    """Return the cell of every variant."""
    spreads = {name: Spread.of(results.values(name, measure)) for name in results.variants}
    means = {round(spread.mean, measure.digits) for spread in spreads.values() if spread.mean is not None}
    best = {"higher": max, "lower": min}[measure.better](means) if measure.better and len(means) > 1 else None
    return {
        name: spread_cell(
            spread, measure.digits, best=spread.mean is not None and round(spread.mean, measure.digits) == best
        )
        for name, spread in spreads.items()
    }
