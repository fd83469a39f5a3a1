"""Claims about a memory, held against the results.

A claim is made only between two variants whose configurations differ in nothing but what it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from remembev.config import Config, changed_keys
from remembev.experiments.measures import HARD_TO_SEE, MAP, NDS
from remembev.experiments.results import Results
from remembev.experiments.verdict import Difference, Verdict

_MEMORY = (
    "MODEL.MEMORY",
    "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.SEEN_WITHIN",
    "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.MIN_POINTS_KNOWN",
    "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.UNSEEN_WEIGHT",
)
"""A memory, and what the detector is taught to know by it."""
_SWEEPS = ("DATA_CONFIG.NUM_SWEEPS",)
_TRACKER = ("TRACKING.ENABLED",)

Kind = Callable[[Config], bool]
"""A kind of variant, by its configuration."""
_UNDECIDED = (Verdict.ONE_SEED, Verdict.OPEN)


@dataclass(frozen=True)
class Claim:
    """A variant is said to be better than a reference on some measures, and not worse on others.

    Attributes:
        title: What is claimed.
        better: Differences on the measures on which the variant is said to be better.
        not_worse: Differences on the measures on which it is said not to be worse.
    """

    title: str
    variant: str
    reference: str
    better: Sequence[Difference]
    not_worse: Sequence[Difference]

    @property
    def differences(self) -> list[Difference]:
        """All differences that it is about."""
        return [*self.better, *self.not_worse]

    def holds(self, difference: Difference) -> bool | None:
        """Return True if what is claimed of a difference is so; None if that can't be told."""
        if difference.verdict in _UNDECIDED:
            return None
        allowed = (Verdict.BETTER,) if difference in self.better else (Verdict.BETTER, Verdict.WITHIN)
        return difference.verdict in allowed

    def tally(self) -> str:
        """Return on how many measures it holds."""
        held = [holds for difference in self.differences if (holds := self.holds(difference)) is not None]
        return f"{sum(held)} of {len(held)}" if held else "open"

    def answer(self, difference: Difference) -> str:
        """Return what a difference says of the claim."""
        holds, verdict = self.holds(difference), difference.verdict
        if holds is None:
            return verdict.value
        if verdict is Verdict.WITHIN:
            return "yes: no loss beyond the spread" if holds else "no: within the spread"
        return f"{'yes' if holds else 'no'}: {verdict.value} by more than the spread"

    def sentence(self) -> str:
        """Return what the results say of it: gains, losses, and costs in the scores over all objects."""
        sentences = []
        for verdict, words in (
            (Verdict.BETTER, f"{self.variant} beats {self.reference} by more than the spread over seeds on"),
            (Verdict.WITHIN, "There is no difference beyond the spread on"),
            (Verdict.WORSE, f"{self.variant} is worse than {self.reference} by more than the spread on"),
            (Verdict.ONE_SEED, "There is only one seed, so no spread to judge by, for"),
            (Verdict.OPEN, "Not measured yet:"),
        ):
            labels = [difference.measure.label for difference in self.better if difference.verdict is verdict]
            if labels:
                sentences.append(f"{words} {enumerated(labels)}.")
        decided = [difference for difference in self.not_worse if difference.verdict not in _UNDECIDED]
        lost = [
            f"{difference.measure.label} ({difference.text().replace('-', '−')})"
            for difference in decided
            if not self.holds(difference)
        ]
        if lost:
            sentences.append(f"It costs more than the spread on {enumerated(lost)}.")
        elif decided:
            kept = enumerated([difference.measure.label for difference in decided])
            sentences.append(f"It costs nothing beyond the spread on {kept}.")
        return " ".join(sentences)


def enumerated(words: Sequence[str]) -> str:
    """Return words as a sentence has them: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# ---------------------------------------------------------------------------------------------------- which are claimed


def claims_of(results: Results, configs: Mapping[str, Config]) -> list[Claim]:
    """Return the claims that a comparison can decide.

    Args:
        results: What was measured so far.
        configs: Configurations of the variants that have begun.
    """
    kinds = (
        ("the gate over a single frame", _gates, _is_single, _MEMORY, itemgetter(0)),
        ("gate and read over a single frame", _reads, _is_single, _MEMORY, itemgetter(0)),
        ("the best memory on single frames over stacked sweeps",
         lambda cfg: _remembers(cfg) and cfg.DATA_CONFIG.NUM_SWEEPS == 0, _is_stacked, (*_MEMORY, *_SWEEPS),
         results.best),
        ("the best memory on stacked sweeps over stacked sweeps alone", _remembers, _is_stacked, _MEMORY, results.best),
        ("the best memory on single frames over a tracker", _remembers, _tracked(_is_single), (*_MEMORY, *_TRACKER),
         results.best),
        ("the best memory on single frames and a tracker over the tracker", _tracked(_remembers), _tracked(_is_single),
         _MEMORY, results.best),
        ("the best memory on stacked sweeps over a tracker", _remembers, _tracked(_is_stacked), (*_MEMORY, *_TRACKER),
         results.best),
        ("the best memory on stacked sweeps and a tracker over the tracker", _tracked(_remembers),
         _tracked(_is_stacked), _MEMORY, results.best),
    )  # fmt: skip
    claims = []
    for title, is_variant, is_reference, about, choose in kinds:
        for reference, variants in _comparable(configs, is_variant, is_reference, about):
            variant = choose(variants)
            better, not_worse = (
                [results.difference(variant, measure, reference) for measure in measures]
                for measures in ((*results.permanence, *HARD_TO_SEE), (MAP, NDS))
            )
            claims.append(Claim(title, variant, reference, better, not_worse))
            break
    return claims


def best_memory(results: Results, configs: Mapping[str, Config]) -> tuple[str, str] | None:
    """Return the best memory and what it is without one, two variants that differ in nothing else.

    On single frames if there are such, else on stacked sweeps.
    """
    for is_reference in (_is_single, _is_stacked):
        for reference, variants in _comparable(configs, _remembers, is_reference, _MEMORY):
            return results.best(variants), reference
    return None


def _comparable(
    configs: Mapping[str, Config],
    is_variant: Kind,
    is_reference: Kind,
    about: Sequence[str],
) -> Iterator[tuple[str, list[str]]]:
    """Yield references with the variants that differ from them only in the keys that a claim is about."""
    for reference, base in configs.items():
        if is_reference(base):
            variants = [name for name, cfg in configs.items() if is_variant(cfg) and _differ_only_in(about, cfg, base)]
            if variants:
                yield reference, variants


def _differ_only_in(about: Sequence[str], cfg: Config, base: Config) -> bool:
    return all(any(f"{key}.".startswith(f"{part}.") for part in about) for key in changed_keys(cfg, base))


def _is_single(cfg: Config) -> bool:
    return _forgets(cfg) and cfg.DATA_CONFIG.NUM_SWEEPS == 0


def _is_stacked(cfg: Config) -> bool:
    return _forgets(cfg) and cfg.DATA_CONFIG.NUM_SWEEPS > 0


def _forgets(cfg: Config) -> bool:
    return cfg.MODEL.MEMORY.FUSION == "none" and not cfg.TRACKING.ENABLED


def _remembers(cfg: Config) -> bool:
    memory = cfg.MODEL.MEMORY
    return memory.NAME == "XMemBEVModule" and memory.FUSION != "none" and not cfg.TRACKING.ENABLED


def _gates(cfg: Config) -> bool:
    return _remembers(cfg) and cfg.MODEL.MEMORY.FUSION in ("gate", "gate_residual")


def _reads(cfg: Config) -> bool:
    return _remembers(cfg) and cfg.MODEL.MEMORY.FUSION in ("gate_and_read", "gate_residual_and_read")


def _tracked(kind: Kind) -> Kind:
    """Return the kind of those variants with a tracker that are of a kind without it."""
    return lambda cfg: cfg.TRACKING.ENABLED and kind(cfg.with_changes({"TRACKING.ENABLED": False}))
