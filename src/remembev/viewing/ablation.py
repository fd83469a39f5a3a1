"""The report of an ablation: means and spread over the seeds, differences paired by seed, as tables and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from remembev.experiments.seeds import Spread, markdown_table, paired
from remembev.files import atomic_write
from remembev.viewing import style

Run = Mapping[str, float | None]
"""What was measured of one run, by the name of the metric; None where a run has no such thing."""


@dataclass(frozen=True)
class Metric:
    """Something that every run is measured by."""

    name: str
    label: str
    digits: int
    what: str
    compared: bool = True
    """Whether differences between variants are shown."""


METRICS = (
    Metric("mean_ap", "mAP", 4, "official nuScenes mean average precision, memory kept over each scene"),
    Metric("nds", "NDS", 4, "official nuScenes detection score"),
    Metric("auc_seen", "AUC seen", 4, "ROC AUC of the occupancy: cells of objects with at least 5 points against free"),
    Metric("auc_hidden", "AUC hidden", 4, "the same for objects without a point now, seen in the last 4 s"),
    Metric("auc_unseen", "AUC unseen", 4, "the same for objects that never had a point yet: a control"),
    Metric("occupancy_ap", "occupancy AP", 4, "average precision of the occupancy: cells of any object against free"),
    Metric("permanence", "permanence", 4, "share of objects without a point now, seen in the last 4 s, that a box "
           "finds, at most 5 false boxes a frame"),
    Metric("memory_parameters", "parameters", 0, "weights of the memory", compared=False),
    Metric("step_ms", "ms a step", 1, "median CPU time of a streaming step", compared=False),
)  # fmt: skip


@dataclass(frozen=True)
class Ablation:
    """Everything that the report shows."""

    title: str
    config: str
    """The configuration as YAML."""
    settings: Mapping[str, str]
    """What it was run with, a line each."""
    reference: str
    """The variant that the others are compared with."""
    variants: Mapping[str, str]
    """Names in their order, and what each is."""
    changes: Mapping[str, Sequence[str]]
    """Names, and what each changes in the configuration."""
    runs: Mapping[str, Mapping[int, Run]]
    """Names, and what was measured of each by seed, as far as it has come."""

    def values(self, variant: str, metric: Metric) -> dict[int, float]:
        """What was measured of a variant, by seed."""
        found = {seed: run.get(metric.name) for seed, run in self.runs.get(variant, {}).items()}
        return {seed: value for seed, value in sorted(found.items()) if value is not None}

    def differences(self, variant: str, metric: Metric) -> dict[int, float]:
        """The same less the reference of the same seed, for the seeds that have both."""
        return paired(self.values(variant, metric), self.values(self.reference, metric))


def write_ablation(out: Path, ablation: Ablation) -> None:
    """Write ``ablation.json``, ``ablation.md`` and ``ablation.png`` to a folder."""
    with atomic_write(out / "ablation.json") as temporary:
        temporary.write_text(json.dumps(as_json(ablation), indent=2) + "\n", encoding="utf-8")
    with atomic_write(out / "ablation.png") as temporary:
        draw_differences(ablation).savefig(temporary, dpi=110)
    with atomic_write(out / "ablation.md") as temporary:
        temporary.write_text(as_markdown(ablation, picture="ablation.png"), encoding="utf-8")


def as_json(ablation: Ablation) -> dict[str, Any]:
    """Settings, every run, and mean and spread of every variant, as plain values."""
    return {
        "title": ablation.title,
        "settings": dict(ablation.settings),
        "config": ablation.config,
        "reference": ablation.reference,
        "metrics": {metric.name: metric.what for metric in METRICS},
        "variants": {
            name: {
                "what": what,
                "changes": list(ablation.changes[name]),
                "runs": {str(seed): dict(run) for seed, run in sorted(ablation.runs.get(name, {}).items())},
                "summary": {
                    metric.name: {
                        "value": asdict(Spread.of(ablation.values(name, metric))),
                        "difference": asdict(Spread.of(ablation.differences(name, metric))),
                    }
                    for metric in METRICS
                },
            }
            for name, what in ablation.variants.items()
        },
    }


def as_markdown(ablation: Ablation, *, picture: str) -> str:
    """The report as a page."""
    shown = [name for name in ablation.variants if ablation.runs.get(name)]
    compared = [metric for metric in METRICS if metric.compared]
    scores = [
        [
            name,
            *(Spread.of(ablation.values(name, metric)).text(metric.digits) for metric in METRICS),
            str(len(ablation.runs[name])),
        ]
        for name in shown
    ]
    differences = [
        [name, *(_difference(ablation.differences(name, metric), metric.digits) for metric in compared)]
        for name in shown
        if name != ablation.reference
    ]
    variants = [[name, what, "<br>".join(ablation.changes[name])] for name, what in ablation.variants.items()]
    return "\n\n".join(
        (
            f"# {ablation.title}",
            "\n".join(f"- {name}: {text}" for name, text in ablation.settings.items()),
            "## Scores\n\nMean ± standard deviation over the seeds.",
            markdown_table(["variant", *(metric.label for metric in METRICS), "seeds"], scores),
            f"## Differences to `{ablation.reference}`\n\nPaired by seed: mean ± standard deviation (number of seeds).",
            markdown_table(["variant", *(metric.label for metric in compared)], differences),
            f"![Differences to {ablation.reference}, a dot a seed]({picture})",
            "## What is measured\n\n" + "\n".join(f"- {metric.label}: {metric.what}" for metric in METRICS),
            "## Variants",
            markdown_table(["variant", "what it is", "changes"], variants),
        )
    ) + "\n"  # fmt: skip


_DOT, _MEAN = style.LINE_COLOURS[:2]


def draw_differences(ablation: Ablation) -> Figure:
    """A panel a metric: for every variant the differences to the reference, a dot a seed, and their mean."""
    shown = [name for name in ablation.variants if ablation.runs.get(name) and name != ablation.reference]
    metrics = [metric for metric in METRICS if metric.compared]
    figure = Figure(figsize=(2.0 + 2.1 * len(metrics), 1.2 + 0.32 * len(shown)), layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True)
    for axes, metric in zip(panels, metrics, strict=True):
        _draw_panel(axes, metric, [list(ablation.differences(name, metric).values()) for name in shown])
    panels[0].set_yticks(range(len(shown)), shown)
    panels[0].set_ylim(max(1, len(shown)) - 0.5, -0.5)
    figure.suptitle(f"Difference to {ablation.reference} of the same seed", fontsize=10, color=style.INK)
    return figure


def _draw_panel(axes: Axes, metric: Metric, differences: Sequence[Sequence[float]]) -> None:
    axes.axvline(0.0, color=style.MUTED_INK, linewidth=0.8)
    for row, values in enumerate(differences):
        axes.plot(values, [row] * len(values), "o", color=_DOT, markersize=4, alpha=0.6, markeredgewidth=0)
        if values:
            axes.plot([mean(values)], [row], "|", color=_MEAN, markersize=13, markeredgewidth=2)
    style.style_axes(axes, metric.label)
    axes.tick_params(axis="y", labelcolor=style.INK)
    axes.locator_params(axis="x", nbins=4)
    axes.spines["bottom"].set_visible(False)


def _difference(values: Mapping[int, float], digits: int) -> str:
    """Mean ± standard deviation of differences, and of how many seeds."""
    spread = Spread.of(values)
    return f"{spread.text(digits, sign=True)} ({spread.n})" if spread.n else "-"
