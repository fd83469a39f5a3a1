"""A comparison's folder as its report sees it: what was measured, what else the runs left, and who is who.

Which peer is the single frame, which the stacked sweeps and which remember, their configurations tell, not their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from remembev.config import Config, config_from_yaml
from remembev.errors import DataError
from remembev.experiments.standings import COMPARISON_FILE, Measure, Standings
from remembev.training import TrainingRun
from remembev.viewing.curves import Curve, Curves, read_curves
from remembev.viewing.style import PEER_COLOURS


@dataclass(frozen=True)
class Contest:
    """A comparison's folder: what was measured so far, and what else the runs left."""

    out: Path
    standings: Standings

    @classmethod
    def read(cls, out: Path) -> Contest:
        """What a folder holds. Raises DataError if it is no comparison's."""
        if not (out / COMPARISON_FILE).is_file():
            raise DataError(f"{out} holds no {COMPARISON_FILE}: it is no folder of a comparison")
        return cls(out, Standings.read(out))

    @property
    def peers(self) -> list[str]:
        """Names of the peers, in order."""
        return self.standings.peers

    @property
    def measured(self) -> list[str]:
        """Those of which something was measured."""
        return [peer for peer in self.peers if self.standings.runs[peer]]

    @property
    def seeds(self) -> list[int]:
        """The seeds that were asked for."""
        return list(self.standings.comparison["seeds"])

    def colour(self, peer: str) -> str:
        """A peer's colour throughout the page."""
        return PEER_COLOURS[self.peers.index(peer) % len(PEER_COLOURS)]

    def folders(self, peer: str) -> dict[int, Path]:
        """Folders of a peer's runs by seed, whether there is anything in them or not."""
        return {seed: self.out / f"seed-{seed}" / peer for seed in self.seeds}

    def metrics(self, peer: str) -> dict[int, Mapping[str, Any]]:
        """What ``remembev eval`` has left of a peer, by seed."""
        return {seed: run["eval"] for seed, run in self.standings.runs[peer].items()}

    @property
    def settings(self) -> dict[str, str]:
        """How the peers were trained and scored."""
        return dict(self.standings.comparison["settings"])

    @property
    def done(self) -> set[tuple[str, int]]:
        """Peers and seeds that were scored."""
        return {(peer, seed) for peer in self.peers for seed in self.standings.runs[peer]}

    @cached_property
    def curves(self) -> dict[str, list[Curves]]:
        """Training curves of every peer, of the seeds that have begun."""
        return {
            peer: [
                read_curves(run.curves)
                for folder in self.folders(peer).values()
                if (run := TrainingRun(folder)).curves.is_file()
            ]
            for peer in self.peers
        }

    def curve(self, peer: str, logged: str) -> list[Curve]:
        """One logged quantity of a peer, of the seeds that have it."""
        return [curves[logged] for curves in self.curves[peer] if logged in curves]

    @cached_property
    def configs(self) -> dict[str, str]:
        """Configurations of the peers that have begun, as text."""
        files = {peer: [run / "config.yaml" for run in self.folders(peer).values()] for peer in self.peers}
        return {
            peer: file.read_text(encoding="utf-8")
            for peer, candidates in files.items()
            if (file := next((file for file in candidates if file.is_file()), None))
        }

    @cached_property
    def parsed(self) -> dict[str, Config]:
        """The same, read."""
        return {peer: config_from_yaml(text, name=peer) for peer, text in self.configs.items()}

    def first(self, wanted: Callable[[Config], bool]) -> str | None:
        """The first peer whose configuration is as wanted."""
        return next((peer for peer, cfg in self.parsed.items() if wanted(cfg)), None)

    @property
    def single(self) -> str | None:
        """The peer that sees single frames."""
        return self.first(lambda cfg: cfg.MODEL.MEMORY.FUSION == "none" and cfg.DATA_CONFIG.NUM_SWEEPS == 0)

    @property
    def stacked(self) -> str | None:
        """The peer that sees several sweeps stacked into one cloud."""
        return self.first(lambda cfg: cfg.MODEL.MEMORY.FUSION == "none" and cfg.DATA_CONFIG.NUM_SWEEPS > 0)

    @property
    def gate(self) -> str | None:
        """The peer whose memory gates and does nothing else."""
        return self.first(lambda cfg: _remembers(cfg) and cfg.MODEL.MEMORY.FUSION == "gate")

    @property
    def reading(self) -> str | None:
        """The peer whose memory gates, and adds what it reads, on the points that the single frame has."""
        return self.first(
            lambda cfg: (
                _remembers(cfg) and cfg.MODEL.MEMORY.FUSION == "gate_and_read" and cfg.DATA_CONFIG.NUM_SWEEPS == 0
            )
        )

    @property
    def best_memory(self) -> str | None:
        """The memory with the highest mean permanence, or the highest NDS where there is none to tell by."""
        memories = [peer for peer, cfg in self.parsed.items() if _remembers(cfg)]
        for measure in (*reversed(self.permanence), NDS):
            means = {
                peer: mean(values.values()) for peer in memories if (values := self.standings.values(peer, measure))
            }
            if means:
                return max(means, key=lambda peer: means[peer])
        return memories[0] if memories else None

    @property
    def permanence(self) -> list[Measure]:
        """Permanence at each window, for the number of false boxes in the middle."""
        return [measure for measure in self.standings.measures if "permanence" in measure.path]

    def example(self, key: str) -> Any:
        """One run's metrics under a key, to tell what there is; None where no run has it."""
        found = (metrics.get(key) for peer in self.peers for metrics in self.metrics(peer).values())
        return next((one for one in found if one), None)


def _remembers(cfg: Config) -> bool:
    return cfg.MODEL.MEMORY.NAME == "XMemBEVModule" and cfg.MODEL.MEMORY.FUSION != "none"


def scored(
    label: str, *path: str | int, better: Literal["higher", "lower"] | None = "higher", digits: int = 3
) -> Measure:
    """What stands under a path in a run's ``metrics.json``."""
    return Measure(label, label, ("eval", *path), better, digits)


MAP, NDS = scored("mAP", "mean_ap"), scored("NDS", "nds")
