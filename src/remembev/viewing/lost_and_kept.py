"""Objects that go out of sight, in a comparison's report: which of two peers keeps them, and how that looks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

import torch

from remembev.config import Config
from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.viewing.contest import Contest
from remembev.viewing.episodes import (
    FOUND_WITHIN_S,
    HIDDEN_FROM_S,
    HIDDEN_UP_TO_S,
    KEPT_SHARE,
    Episode,
    Found,
    Search,
    read_detections,
    search,
)
from remembev.viewing.page import captioned, embedded, table
from remembev.viewing.sections import name
from remembev.viewing.strip import Rival, draw_strip

_STRIPS = 3
_FALSE_BOXES = 5.0
"""False boxes a frame where permanence says nothing of it."""


class _Searched(NamedTuple):
    seed: int
    detections: tuple[Found, Found]
    found: Search


def lost_and_kept(contest: Contest) -> str:
    """How often the best memory keeps what the single frame loses, how often it is the other way round, and strips.

    The strips are of the objects for which the memory leads by most key frames, over all seeds.
    """
    single, memory = contest.single, contest.best_memory
    if single is None or memory is None:
        return _note("It takes a peer that sees single frames and one with a memory, told by their configurations.")
    try:
        index = NuScenesIndex.open(Path(contest.standings.comparison["data"]), contest.standings.comparison["version"])
    except DataError as error:
        return _note(f"Without the data set there is no telling: {error}")
    cfg, false_boxes = contest.parsed[memory], _false_boxes(contest)
    searched = list(_search_seeds(contest, index, cfg, (single, memory), false_boxes))
    if not searched:
        return _note("No seed has the boxes of both peers yet.")
    cases = sorted(
        ((one, episode) for one in searched for episode in one.found.only_second()),
        key=lambda case: case[1].lead,
        reverse=True,
    )
    shown: list[str] = []
    told: set[tuple[int, int]] = set()
    for one, episode in cases:
        if (episode.scene, episode.track) not in told and len(shown) < _STRIPS:
            told.add((episode.scene, episode.track))
            shown.append(_strip(contest, index, cfg, (single, memory), one, episode))
    return _rule(contest, (single, memory), false_boxes) + _counts(contest, (single, memory), searched) + "".join(shown)


def _search_seeds(
    contest: Contest, index: NuScenesIndex, cfg: Config, peers: tuple[str, str], false_boxes: float
) -> Iterator[_Searched]:
    scenes = index.split_scenes(contest.standings.comparison["split"])
    for seed in contest.seeds:
        first, second = (contest.folders(peer)[seed] / "eval" / "detections.jsonl" for peer in peers)
        if first.is_file() and second.is_file():
            found = read_detections(first, cfg.CLASS_NAMES), read_detections(second, cfg.CLASS_NAMES)
            limits = cfg.DATA_CONFIG.POINT_CLOUD_RANGE
            yield _Searched(seed, found, search(index, scenes, cfg.CLASS_NAMES, limits, found, false_boxes))


def _false_boxes(contest: Contest) -> float:
    """The number in the middle of those that permanence is measured at."""
    allowed = (contest.example("permanence") or {}).get("false_boxes")
    return float(allowed[len(allowed) // 2]) if allowed else _FALSE_BOXES


def _rule(contest: Contest, peers: tuple[str, str], false_boxes: float) -> str:
    first, second = (name(contest, peer) for peer in peers)
    return (
        f"<p>Objects that {first} and {second} both find while they are seen (within {FOUND_WITHIN_S:g} s before), and "
        f"that then have no LiDAR point for {HIDDEN_FROM_S:g} s or longer. A model keeps such an object if it has a "
        f"box on it in at least {KEPT_SHARE:.0%} of the key frames without a point, of the first {HIDDEN_UP_TO_S:g} s. "
        f"Both models’ boxes are cut off where {false_boxes:g} false boxes a frame are left.</p>"
    )


def _counts(contest: Contest, peers: tuple[str, str], searched: list[_Searched]) -> str:
    """How often which of the two keeps the object."""
    kinds = {
        "kept by both": (True, True),
        f"only by {name(contest, peers[1])}": (False, True),
        f"only by {name(contest, peers[0])}": (True, False),
        "by neither": (False, False),
    }
    rows = [
        f"<tr><td>seed {one.seed}</td><td>{len(one.found.episodes)}</td>"
        + "".join(f"<td>{one.found.count(*kept)}</td>" for kept in kinds.values())
        + "</tr>"
        for one in searched
    ]
    memory, single = (sum(one.found.count(*kept) for one in searched) for kept in ((False, True), (True, False)))
    seeds = f"{len(searched)} seed{'s' * (len(searched) > 1)}"
    objects = sum(len(one.found.episodes) for one in searched)
    none = "" if memory else " There is no case of the memory alone keeping an object, so there is no strip to show."
    return (
        f"<p><strong>Of {objects} such objects ({seeds}), {escape(peers[1])} alone keeps {memory}, {escape(peers[0])} "
        f"alone {single}.{none}</strong></p>"
        f"{table(('', 'objects that go<br>out of sight', *kinds), rows)}"
    )


def _strip(
    contest: Contest, index: NuScenesIndex, cfg: Config, peers: tuple[str, str], one: _Searched, episode: Episode
) -> str:
    first, second = (
        Rival(peer, contest.colour(peer), found, matched)
        for peer, found, matched in zip(peers, one.detections, one.found.matched, strict=True)
    )
    picture = io.BytesIO()
    draw_strip(index, episode, cfg.CLASS_NAMES, (first, second)).savefig(picture, format="png")
    start, last_seen = index.timestamps(torch.tensor([index.scene_frames(episode.scene).start, episode.last_seen]))
    kind = cfg.CLASS_NAMES[episode.label].replace("_", " ")
    frames = len(episode.frames)
    caption = (
        f"{index.scene_name(episode.scene)}, seed {one.seed}: a {kind} that both have found goes out of sight "
        f"{last_seen - start:.1f} s into the scene. Of the {frames} key frames without a point on it that follow, "
        f"{peers[1]} (below) has a box on it in {sum(episode.found[1])}, {peers[0]} (above) in "
        f"{sum(episode.found[0])}. "
        "White: ground truth, dashed where no point is on it; boxes solid where they are observed, dashed where "
        "they are remembered; dotted: the line of sight. In the corner: the score of the box on the object."
    )
    return captioned(embedded("image/png", picture.getvalue(), caption), caption)


def _note(text: str) -> str:
    return f'<p class="quiet">{escape(text)}</p>'
