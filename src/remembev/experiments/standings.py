"""What a comparison has measured so far: read from its folder, set side by side, and said in plain words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from remembev.experiments.seeds import Spread, markdown_table, paired, read_result

COMPARISON_FILE = "compare.json"


@dataclass(frozen=True)
class Measure:
    """Something that every peer is measured by, where it stands in a run's files, and what is better; None: a cost."""

    label: str
    what: str
    path: tuple[str | int, ...]
    better: Literal["higher", "lower"] | None = "higher"
    digits: int = 3

    def of(self, run: Mapping[str, Any]) -> float | None:
        """Its value for a run, None where there is nothing to measure."""
        found: Any = run
        for key in self.path:
            found = found.get(key) if isinstance(found, Mapping) else None if found is None else found[key]
        return found


SCORES = (
    Measure("mAP", "official nuScenes mean average precision, the memory kept over each scene", ("eval", "mean_ap")),
    Measure("NDS", "official nuScenes detection score, likewise", ("eval", "nds")),
    Measure(
        "mAP ≤ 0.5 s",
        "the official score where nothing older than 0.5 s is known",
        ("eval", "tracks", "half_second", "mean_ap"),
    ),
    Measure("NDS ≤ 0.5 s", "likewise", ("eval", "tracks", "half_second", "nds")),
    Measure(
        "mAP at visibility 1",
        "the official score of objects of which at most 40 % can be seen",
        ("eval", "visibility", "1", "mean_ap"),
    ),
    Measure("mAP at visibility 2", "the same for 40 to 60 %", ("eval", "visibility", "2", "mean_ap")),
    Measure("NDS at visibility 1", "of the objects at visibility 1", ("eval", "visibility", "1", "nds")),
    Measure("NDS at visibility 2", "of those at visibility 2", ("eval", "visibility", "2", "nds")),
)
FLICKER = Measure(
    "flicker",
    "how often a tracked object is lost and found again",
    ("eval", "flicker", "lost_per_track"),
    better="lower",
)
FOUND = Measure(
    "found share",
    "share of a tracked object's frames in which it is found: who finds nothing never flickers",
    ("eval", "flicker", "found_share"),
)
COSTS = (
    Measure("parameters", "weights of the whole model", ("result", "parameters"), None, digits=0),
    Measure("ms a frame", "median time of a frame of one scene, one thread", ("result", "step_ms"), None, digits=1),
    Measure("points a frame", "median of the same frames", ("result", "points"), None, digits=0),
    Measure(
        "s of training",
        "wall time after the start, where it was done in one go",
        ("result", "train_seconds"),
        None,
        digits=0,
    ),
    Measure("frames trained on", "after the start, each as often as it was seen", ("result", "frames"), None, digits=0),
)
TIME = COSTS[1]


@dataclass(frozen=True)
class Standings:
    """The peers of a comparison in their order, and what was measured of each by seed."""

    comparison: Mapping[str, Any]
    runs: Mapping[str, Mapping[int, Mapping[str, Any]]]

    @classmethod
    def read(cls, out: Path) -> Standings:
        """What a folder holds of the comparison that its ``compare.json`` tells of."""
        comparison = json.loads((out / COMPARISON_FILE).read_text(encoding="utf-8"))
        runs = {
            peer: {seed: found for seed in comparison["seeds"] if (found := _read_run(out, seed, peer, comparison))}
            for peer in comparison["peers"]
        }
        return cls(comparison, runs)

    @property
    def peers(self) -> list[str]:
        """Names of the peers; the others are compared with the first."""
        return list(self.runs)

    @property
    def empty(self) -> bool:
        """Whether nothing has been measured yet."""
        return not any(self.runs.values())

    @cached_property
    def measures(self) -> list[Measure]:
        """What there is to compare: permanence at each of its windows, for one number of false boxes."""
        return [*SCORES, *self._permanence(), FLICKER, FOUND]

    def values(self, peer: str, measure: Measure) -> dict[int, float]:
        """What was measured of a peer, by seed."""
        found = {seed: measure.of(run) for seed, run in self.runs[peer].items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def differences(self, peer: str, measure: Measure) -> dict[int, float]:
        """The same less the first peer's of the same seed."""
        return paired(self.values(peer, measure), self.values(self.peers[0], measure))

    def verdict(self, peer: str, measure: Measure) -> str:
        """Whether a peer is better than the first by more than the spread of their differences over the seeds."""
        spread = Spread.of(self.differences(peer, measure))
        if spread.mean is None:
            return "not measured"
        if spread.exceeded is None:
            return "one seed"
        if not spread.exceeded:
            return "within the spread"
        return "better" if (spread.mean > 0) == (measure.better == "higher") else "worse"

    def to_tables(self) -> list[Table]:
        """Values, and how they differ from the first peer's, for the terminal."""
        first, *others = self.peers
        values = _table("mean ± standard deviation", self.peers, self._value_rows())
        return [values, _table(f"differences to {first} in pairs", others, self._difference_rows())][: len(self.peers)]

    def to_markdown(self) -> str:
        """The standings as a page."""
        first, others = self.peers[0], self.peers[1:]
        settings = "\n".join(f"- {name}: {text}" for name, text in self.comparison["settings"].items())
        changes = [[peer, "<br>".join(changes)] for peer, changes in self.comparison["differences"].items()]
        measured = "\n".join(f"- {one.label}: {one.what}" for one in (*self.measures, *COSTS))
        return "\n\n".join((
            f"# {', '.join(self.peers)} compared",
            settings,
            "## Scores and costs\n\nMean ± standard deviation over the seeds.",
            markdown_table(["", *self.peers], self._value_rows()),
            f"## Differences to `{first}`\n\n"
            "In pairs of the same seed: mean ± standard deviation of the differences. *Better* and *worse*: the mean "
            "is larger than that spread, which is no test of significance.",
            markdown_table(["", *others], self._difference_rows()),
            "\n".join(f"- {self._statement(peer)}" for peer in others),
            f"## What is measured\n\n{measured}",
            f"## How the configurations differ from `{first}`'s",
            markdown_table(["", "keys"], changes),
        )) + "\n"  # fmt: skip

    def _permanence(self) -> list[Measure]:
        found = next((run["eval"]["permanence"] for runs in self.runs.values() for run in runs.values()
                      if run["eval"].get("permanence")), None)  # fmt: skip
        if found is None:
            return []
        column = len(found["false_boxes"]) // 2
        allowed = found["false_boxes"][column]
        return [
            Measure(
                f"permanence {window:g} s",
                f"recall of objects without a point now that were seen in the last {window:g} s, at {allowed:g} false "
                "boxes a frame",
                ("eval", "permanence", "recall", row, column),
            )
            for row, window in enumerate(found["windows_s"])
        ]

    def _value_rows(self) -> list[list[str]]:
        rows = [
            [one.label, *(Spread.of(self.values(peer, one)).text(one.digits) for peer in self.peers)]
            for one in (*self.measures, *COSTS)
        ]
        first = self.values(self.peers[0], TIME)
        ratios = [
            {seed: value / first[seed] for seed, value in self.values(peer, TIME).items() if seed in first}
            for peer in self.peers
        ]
        rows.append([f"time over {self.peers[0]}'s", *(Spread.of(ratio).text(2) for ratio in ratios)])
        rows.append(["seeds", *(str(len(self.runs[peer])) for peer in self.peers)])
        return rows

    def _difference_rows(self) -> list[list[str]]:
        return [[one.label, *(self._difference(peer, one) for peer in self.peers[1:])] for one in self.measures]

    def _difference(self, peer: str, measure: Measure) -> str:
        spread = Spread.of(self.differences(peer, measure))
        return f"{spread.text(measure.digits, sign=True)} ({self.verdict(peer, measure)})" if spread.n else "-"

    def _statement(self, peer: str) -> str:
        """What a peer is better and worse at than the first by more than the spread, and where there is no telling."""
        by_verdict: dict[str, list[str]] = {}
        for one in self.measures:
            by_verdict.setdefault(self.verdict(peer, one), []).append(one.label)
        sentences = {
            "better": "better by more than the spread over seeds in",
            "worse": "worse by more than the spread over seeds in",
            "within the spread": "no difference larger than the spread over seeds in",
            "one seed": "one seed alone, which says nothing of the spread, in",
            "not measured": "not measured:",
        }
        said = [f"{text} {', '.join(by_verdict[name])}" for name, text in sentences.items() if name in by_verdict]
        return f"`{peer}` against `{self.peers[0]}`: {'; '.join(said)}."


def _read_run(out: Path, seed: int, peer: str, comparison: Mapping[str, Any]) -> dict[str, Any] | None:
    folder = out / f"seed-{seed}" / peer
    result = read_result(folder, asked={key: comparison[key] for key in ("split", "tracks")})
    if result is None:
        return None
    return {"result": result, "eval": json.loads((folder / "eval" / "metrics.json").read_text(encoding="utf-8"))}


def _table(title: str, peers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for peer in peers:
        table.add_column(peer, justify="right")
    for row in rows:
        table.add_row(*row)
    return table
