"""A comparison of peers as one page: what memory is claimed to bring, held against the spread over seeds, and the rest.

The page is made of whatever a comparison's folder holds already. What it says is ``comparison.html`` beside this
module; verdicts follow from the numbers (``findings.py``); tables and charts are next door (``sections.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from remembev.experiments.seeds import Spread
from remembev.viewing import sections
from remembev.viewing.contest import MAP, NDS, Contest, scored
from remembev.viewing.findings import Finding, claim_sentence
from remembev.viewing.lost_and_kept import lost_and_kept
from remembev.viewing.page import dots, facts, table, template, write_page

REPORT_FILE = "report.html"

_LEAD = (
    "The same detector with and without a memory, trained in the same way on the same data from the same seeds. "
    "A difference counts where its mean, in pairs of the same seed, is larger than its spread over the seeds."
)

Claim = tuple[str, str, str, list[Finding]]
"""What is claimed, the two peers, and what was found."""


def write_comparison(out: Path) -> Path:
    """Write ``report.html`` of a comparison's folder, as far as the comparison has come; returns the file.

    Raises DataError if the folder is no comparison's, or holds what can't be read.
    """
    contest = Contest.read(out)
    claims = _claims(contest)
    body = template("comparison.html").substitute(
        progress=_progress(contest),
        claims="".join(_claim(contest, *claim) for claim in claims) or _no_claim(),
        strips=lost_and_kept(contest),
        official=sections.official(contest),
        precision_recall=sections.precision_recall(contest),
        visibility=sections.visibility(contest),
        last_seen=sections.last_seen(contest),
        permanence=sections.permanence(contest),
        sets=sections.difficulty_sets(contest),
        age=sections.age(contest),
        flicker=sections.flicker(contest),
        velocity=sections.velocity(contest),
        costs=sections.costs(contest),
        curves=sections.training(contest),
        settings=facts("settings", contest.settings),
        configs=sections.configurations(contest),
    )
    tiles = {f"claims hold for {title}": _tally(findings) for title, _, _, findings in claims}
    tiles["runs are scored"] = f"{len(contest.done)} of {len(contest.peers) * len(contest.seeds)}"
    path = out / REPORT_FILE
    write_page(path, title="Does memory pay?", lead=_LEAD, tiles=tiles, body=body)
    return path


def _claims(contest: Contest) -> list[Claim]:
    """What memory is claimed to bring, of the peers that are there."""
    asked = (
        ("the gate over a single frame", contest.gate, contest.single),
        ("gate and read over a single frame", contest.reading, contest.single),
        ("the best memory over stacked sweeps", contest.best_memory, contest.stacked),
    )
    return [(title, one, other, _findings(contest, one, other)) for title, one, other in asked if one and other]


def _findings(contest: Contest, one: str, other: str) -> list[Finding]:
    hard_to_see = [
        scored(f"{name} at visibility {level}", "visibility", level, key)
        for level in ("1", "2")
        for name, key in (("mAP", "mean_ap"), ("NDS", "nds"))
    ]
    asked = [(measure.label, measure, True) for measure in (*contest.permanence, *hard_to_see)]
    asked += [(f"{measure.label} over all", measure, False) for measure in (MAP, NDS)]
    values = contest.standings.values
    return [Finding(label, values(one, measure), values(other, measure), claimed) for label, measure, claimed in asked]


def _tally(findings: Sequence[Finding]) -> str:
    """On how many measures a claim holds."""
    told = [finding for finding in findings if finding.holds is not None]
    return f"{sum(bool(finding.holds) for finding in told)} of {len(told)}" if told else "open"


def _claim(contest: Contest, title: str, one: str, other: str, findings: Sequence[Finding]) -> str:
    """A claim: the sentence, and a row a measure with the differences of every seed."""
    limit = max((abs(value) for finding in findings for value in finding.differences.values()), default=1.0)
    rows = [
        f"<tr><td>{escape(finding.label)}</td>{sections.cell(Spread.of(finding.second))}"
        f"{sections.cell(Spread.of(finding.first))}{sections.cell(finding.spread, sign=True)}"
        f"<td>{dots(list(finding.differences.values()), limit, contest.colour(one))}</td>"
        f'<td class="{_tone(finding)}">{escape(finding.answer)}</td></tr>'
        for finding in findings
    ]
    peers = [sections.name(contest, peer) for peer in (other, one)]
    heads = ("measure", *peers, "difference", "every seed", "larger than the spread?")
    caption = (
        "Mean ± standard deviation over the seeds; differences in pairs of the same seed. "
        f"Dots: one a seed, the middle is no difference, the edges are ±{limit:.3f}. Shaded: mean ± spread."
    )
    return (
        f"<h3>{escape(title[0].upper() + title[1:])}</h3><p><strong>{escape(claim_sentence(one, other, findings))}"
        f'</strong></p><div class="words">{table(heads, rows, caption)}</div>'
    )


def _tone(finding: Finding) -> str:
    return "" if finding.holds is None else "good" if finding.holds else "bad"


def _no_claim() -> str:
    return (
        '<p class="quiet">There is no pair of peers to tell by: it takes one with a memory and one without that have '
        "begun to train; their configurations tell which is which.</p>"
    )


def _progress(contest: Contest) -> str:
    """What is missing yet, if anything is."""
    missing = {
        peer: [str(seed) for seed in contest.seeds if (peer, seed) not in contest.done] for peer in contest.peers
    }
    if not any(missing.values()):
        return ""
    said = "; ".join(f"{peer} (seed {', '.join(seeds)})" for peer, seeds in missing.items() if seeds)
    return f'<p class="note">This comparison is not done. Not scored yet: {escape(said)}.</p>'
