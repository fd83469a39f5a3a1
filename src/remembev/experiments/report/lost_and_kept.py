"""Objects that go out of sight: how often the best memory keeps what is lost without it, and what that looks like."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch

from remembev.config import Config
from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.experiments.claims import best_memory
from remembev.experiments.report.episodes import (
    FOUND_WITHIN_S,
    HIDDEN_FROM_S,
    HIDDEN_UP_TO_S,
    KEPT_SHARE,
    DetectionsByToken,
    Episode,
    EpisodeSearch,
    find_episodes,
    read_detections,
)
from remembev.experiments.report.runs import ComparisonRuns
from remembev.experiments.report.strip import StripRow, draw_strip
from remembev.experiments.results import EVAL_FOLDER
from remembev.experiments.tables import Cell, Table, colour, name_cell
from remembev.viewing.page import captioned, embedded

_STRIPS = 3
_FALSE_BOXES = 5.0
"""False boxes a frame if permanence was not measured."""


@dataclass(frozen=True)
class _SeedSearch:
    """The episodes of one seed, and the boxes that they are told from."""

    seed: int
    detections: tuple[DetectionsByToken, DetectionsByToken]
    search: EpisodeSearch


@dataclass(frozen=True)
class _Pair:
    """The two variants that are compared, and what their episodes are told from."""

    runs: ComparisonRuns
    reference: str
    memory: str
    index: NuScenesIndex

    @property
    def names(self) -> tuple[str, str]:
        """The variant without a memory, and the one with."""
        return self.reference, self.memory

    @property
    def cfg(self) -> Config:
        """The configuration of the variant with the memory."""
        return self.runs.parsed[self.memory]

    @property
    def false_boxes(self) -> float:
        """The middle of the numbers of false boxes that permanence is measured at."""
        allowed = (self.runs.example("permanence") or {}).get("false_boxes")
        return float(allowed[len(allowed) // 2]) if allowed else _FALSE_BOXES


def lost_and_kept(runs: ComparisonRuns) -> str:
    """Return counts of the objects that the best memory keeps and its counterpart without one doesn't, and the reverse.

    Below them strips of the objects for which the memory leads by most key frames, over all seeds.
    """
    names = best_memory(runs.results, runs.parsed)
    if names is None:
        return _note("This needs two variants that differ in their memory alone: one with a memory, one without.")
    memory, reference = names
    comparison = runs.results.comparison
    try:
        index = NuScenesIndex.open(Path(comparison["data"]), comparison["version"])
    except DataError as error:
        return _note(f"This needs the data set: {error}")
    pair = _Pair(runs, reference, memory, index)
    seeds = list(_search_seeds(pair, index.split_scenes(comparison["split"])))
    if not seeds:
        return _note("No seed has the boxes of both variants yet.")
    return _rule(pair) + _counts(pair, seeds) + "".join(_strips(pair, seeds))


def _search_seeds(pair: _Pair, scenes: Sequence[int]) -> Iterator[_SeedSearch]:
    names, limits = pair.cfg.CLASS_NAMES, pair.cfg.DATA_CONFIG.POINT_CLOUD_RANGE
    for seed in pair.runs.seeds:
        first, second = (pair.runs.runs(name)[seed].out / EVAL_FOLDER / "detections.jsonl" for name in pair.names)
        if first.is_file() and second.is_file():
            detections = read_detections(first, names), read_detections(second, names)
            search = find_episodes(pair.index, scenes, names, limits, detections, pair.false_boxes)
            yield _SeedSearch(seed, detections, search)


def _rule(pair: _Pair) -> str:
    first, second = (name_cell(pair.runs.results, name).html for name in pair.names)
    return (
        f"<p>Objects that {first} and {second} both find while they are seen (within {FOUND_WITHIN_S:g} s before), "
        f"and that then have no LiDAR point for {HIDDEN_FROM_S:g} s or longer. A model keeps such an object if it has "
        f"a box on it in at least {KEPT_SHARE:.0%} of the key frames without a point, in the first "
        f"{HIDDEN_UP_TO_S:g} s. The boxes of both models are cut off where {pair.false_boxes:g} false boxes a frame "
        "are left.</p>"
    )


def _counts(pair: _Pair, seeds: Sequence[_SeedSearch]) -> str:
    """Return how often which of the two keeps the object."""
    reference, memory = (name_cell(pair.runs.results, name) for name in pair.names)
    kinds = {
        "kept by both": (True, True),
        f"only by {memory.text}": (False, True),
        f"only by {reference.text}": (True, False),
        "by neither": (False, False),
    }
    rows = [
        [
            Cell(f"seed {seed.seed}"),
            Cell(str(len(seed.search.episodes))),
            *(Cell(str(seed.search.count(*kept))) for kept in kinds.values()),
        ]
        for seed in seeds
    ]
    table = Table([Cell(""), Cell("objects"), *map(Cell, kinds)], rows)
    by_memory, by_reference = (
        sum(seed.search.count(*kept) for seed in seeds) for kept in ((False, True), (True, False))
    )
    objects = sum(len(seed.search.episodes) for seed in seeds)
    none = "" if by_memory else " There is no object that only the memory keeps, so there is no strip."
    return (
        f"<p><strong>Of {objects} such objects ({len(seeds)} seed{'s' * (len(seeds) > 1)}), only {escape(pair.memory)} "
        f"keeps {by_memory}, only {escape(pair.reference)} keeps {by_reference}.{none}</strong></p>{table.to_html()}"
    )


def _strips(pair: _Pair, seeds: Sequence[_SeedSearch]) -> Iterator[str]:
    """Yield strips of the objects for which the memory leads by most key frames, each object once."""
    cases = [(seed, episode) for seed in seeds for episode in seed.search.only_second()]
    objects: dict[tuple[int, int], tuple[_SeedSearch, Episode]] = {}
    for seed, episode in sorted(cases, key=lambda case: case[1].lead, reverse=True):
        objects.setdefault((episode.scene, episode.track), (seed, episode))
    for seed, episode in list(objects.values())[:_STRIPS]:
        yield _strip(pair, seed, episode)


def _strip(pair: _Pair, seed: _SeedSearch, episode: Episode) -> str:
    first, second = (
        StripRow(name, colour(pair.runs.results, name), detections, matched)
        for name, detections, matched in zip(pair.names, seed.detections, seed.search.matched, strict=True)
    )
    picture = io.BytesIO()
    draw_strip(pair.index, episode, pair.cfg.CLASS_NAMES, (first, second)).savefig(picture, format="png")
    scene_start = pair.index.scene_frames(episode.scene).start
    start, last_seen = pair.index.timestamps(torch.tensor([scene_start, episode.last_seen]))
    kind = pair.cfg.CLASS_NAMES[episode.label].replace("_", " ")
    caption = (
        f"{pair.index.scene_name(episode.scene)}, seed {seed.seed}: a {kind} that both have found goes out of sight "
        f"{last_seen - start:.1f} s into the scene. In the {len(episode.frames)} key frames without a point that "
        f"follow, {pair.memory} (below) has a box on it in {sum(episode.found[1])}, {pair.reference} (above) in "
        f"{sum(episode.found[0])}. White: ground truth, dashed without a point. Boxes: solid if observed, dashed if "
        "remembered. Dotted: line of sight. In the corner: score of the box on the object."
    )
    return captioned(embedded("image/png", picture.getvalue(), caption), caption)


def _note(text: str) -> str:
    return f'<p class="quiet">{escape(text)}</p>'
