"""``compare.md``: a comparison in words and tables."""

from __future__ import annotations

from remembev.experiments.claims import enumerated
from remembev.experiments.measures import COSTS
from remembev.experiments.results import Results
from remembev.experiments.tables import difference_table, score_table, variant_table
from remembev.experiments.verdict import Verdict

_WORDS = {
    Verdict.BETTER: "better by more than the spread over seeds in",
    Verdict.WORSE: "worse by more than the spread over seeds in",
    Verdict.WITHIN: "no difference beyond the spread over seeds in",
    Verdict.ONE_SEED: "one seed only, so no spread to judge by, in",
    Verdict.OPEN: "not measured:",
}


def to_markdown(results: Results) -> str:
    """Return the comparison as a page."""
    first, others = results.reference, results.variants[1:]
    settings = "\n".join(f"- {name}: {text}" for name, text in results.comparison["settings"].items())
    measures = [*results.measures, *results.measured(COSTS)]
    parts = [
        f"# {enumerated(results.variants)} compared",
        settings,
        "## Scores and costs\n\nMean ± standard deviation over the seeds.",
        score_table(results).to_markdown(),
    ]
    if others:
        parts += [
            f"## Differences to `{first}`\n\n"
            "Paired by seed: mean ± standard deviation of the differences. *Better* and *worse*: the mean is larger "
            "than this spread, which is no test of significance.",
            difference_table(results).to_markdown(),
            "\n".join(f"- {_statement(results, name)}" for name in others),
        ]
    parts += [
        "## Measures\n\n" + "\n".join(f"- {measure.label}: {measure.what}" for measure in measures),
        "## Variants",
        variant_table(results).to_markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def _statement(results: Results, variant: str) -> str:
    """Return what a variant is better and worse at than the first."""
    labels: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    for measure in results.compared_measures:
        labels[results.difference(variant, measure).verdict].append(measure.label)
    said = [f"{words} {', '.join(labels[verdict])}" for verdict, words in _WORDS.items() if labels[verdict]]
    return f"`{variant}` against `{results.reference}`: {'; '.join(said) or 'nothing measured yet'}."
