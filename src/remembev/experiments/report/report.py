"""A comparison as one page, made of whatever its folder holds so far; ``report.html`` is its template."""

from __future__ import annotations

from html import escape
from pathlib import Path

from remembev.experiments.claims import Claim
from remembev.experiments.report import sections
from remembev.experiments.report.lost_and_kept import lost_and_kept
from remembev.experiments.report.runs import ComparisonRuns
from remembev.experiments.tables import Cell, Table, colour, dots, name_cell, spread_cell
from remembev.experiments.verdict import Spread
from remembev.viewing.page import facts, template, write_page

REPORT_FILE = "report.html"

_LEAD = (
    "The same detector in several variants, with and without a memory, trained alike on the same data from the same "
    "seeds. A difference counts if its mean, paired by seed, is larger than its standard deviation over the seeds."
)


def write_report(out: Path) -> Path:
    """Write ``report.html`` of a comparison's folder, as far as the comparison has come; return the file.

    Raises:
        DataError: If the folder holds no comparison, or a file of it can't be read.
    """
    runs = ComparisonRuns.read(out)
    body = template("report.html", "remembev.experiments.report").substitute(
        progress=_progress(runs),
        claims="".join(_claim(runs, claim) for claim in runs.claims) or _no_claim(),
        strips=lost_and_kept(runs),
        differences=sections.differences(runs),
        official=sections.official(runs),
        precision_recall=sections.precision_recall(runs),
        visibility=sections.visibility(runs),
        last_seen=sections.last_seen(runs),
        permanence=sections.permanence(runs),
        sets=sections.scene_sets(runs),
        age=sections.age(runs),
        flicker=sections.flicker(runs),
        velocity=sections.velocity(runs),
        tracking=sections.tracking(runs),
        occupancy=sections.occupancy(runs),
        costs=sections.costs(runs),
        curves=sections.training(runs),
        settings=facts("settings", runs.results.comparison["settings"]),
        configs=sections.configurations(runs),
    )
    scored = sum(len(by_seed) for by_seed in runs.results.runs.values())
    tiles = {f"claims hold: {claim.title}": claim.tally() for claim in runs.claims}
    tiles["runs are scored"] = f"{scored} of {len(runs.variants) * len(runs.seeds)}"
    path = out / REPORT_FILE
    write_page(path, title="Variants compared", lead=_LEAD, tiles=tiles, body=body)
    return path


def _claim(runs: ComparisonRuns, claim: Claim) -> str:
    """Return a claim: the sentence, and a row a measure with the differences of every seed."""
    limit = max((abs(value) for difference in claim.differences for value in difference.by_seed.values()), default=1.0)
    rows = [
        [
            Cell(difference.measure.label),
            spread_cell(Spread.of(difference.reference), difference.measure.digits),
            spread_cell(Spread.of(difference.values), difference.measure.digits),
            spread_cell(difference.spread, difference.measure.digits, sign=True),
            Cell("", dots(list(difference.by_seed.values()), limit, colour(runs.results, claim.variant))),
            Cell(claim.answer(difference), tone={True: "good", False: "bad", None: ""}[claim.holds(difference)]),
        ]
        for difference in claim.differences
    ]
    names = [name_cell(runs.results, name) for name in (claim.reference, claim.variant)]
    caption = (
        "Mean ± standard deviation over the seeds; differences are paired by seed. Dots: one a seed, no difference in "
        f"the middle, ±{limit:.3f} at the edges. Shaded: mean ± standard deviation."
    )
    table = Table(
        [Cell("measure"), *names, Cell("difference"), Cell("every seed"), Cell("does the claim hold?")], rows, caption
    )
    return (
        f"<h3>{escape(claim.title[0].upper() + claim.title[1:])}</h3>"
        f'<p><strong>{escape(claim.sentence())}</strong></p><div class="words">{table.to_html()}</div>'
    )


def _no_claim() -> str:
    return (
        '<p class="quiet">Nothing is claimed here: it takes two variants that have begun to train and that differ in '
        "their memory alone.</p>"
    )


def _progress(runs: ComparisonRuns) -> str:
    """Return which runs are missing, if any are."""
    missing = {
        name: [str(seed) for seed in runs.seeds if seed not in by_seed] for name, by_seed in runs.results.runs.items()
    }
    if not any(missing.values()):
        return ""
    listed = "; ".join(f"{name} (seed {', '.join(seeds)})" for name, seeds in missing.items() if seeds)
    return f'<p class="note">This comparison is not finished. Not scored yet: {escape(listed)}.</p>'
