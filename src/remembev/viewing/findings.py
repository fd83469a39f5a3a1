"""What scores say beside one another, in sentences made from the numbers: also when memory loses.

Two models over several seeds are held against the spread: the standard deviation of their differences in pairs of the
same seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from remembev.evaluation.scoring import DetectionScore
from remembev.experiments.seeds import Spread, paired

_NOTICEABLE = 0.0005
"""Differences below this vanish in the decimals shown (0.05 points)."""


def learning_sentence(untrained: DetectionScore, trained: DetectionScore) -> str:
    """By how much training has moved the score."""
    return (
        f"Trained, the model reaches mAP {trained.mean_ap:.3f} and NDS {trained.nds:.3f}; untrained it has "
        f"{untrained.mean_ap:.3f} and {untrained.nds:.3f}. That is {_signed(trained.mean_ap - untrained.mean_ap)} "
        f"points of mAP and {_signed(trained.nds - untrained.nds)} of NDS."
    )


def memory_sentence(with_memory: DetectionScore, without: DetectionScore) -> str:
    """What the memory brings or costs: the same weights with it and with it emptied before every frame."""
    gains = {"mAP": with_memory.mean_ap - without.mean_ap, "NDS": with_memory.nds - without.nds}
    brought = [f"{_points(gain)} points of {name}" for name, gain in gains.items() if gain > _NOTICEABLE]
    cost = [f"{_points(gain)} points of {name}" for name, gain in gains.items() if gain < -_NOTICEABLE]
    claims = [f"brings {' and '.join(brought)}"] * bool(brought) + [f"costs {' and '.join(cost)}"] * bool(cost)
    verdict = f"The memory {' but '.join(claims)}" if claims else "The memory makes no difference to mAP or NDS"
    return (
        f"{verdict}: {with_memory.mean_ap:.3f} / {with_memory.nds:.3f} (mAP / NDS) with it, {without.mean_ap:.3f} / "
        f"{without.nds:.3f} with the same weights and the memory emptied before every frame."
    )


def class_sentence(with_memory: DetectionScore, without: DetectionScore) -> str:
    """The classes that gain and lose most by the memory, and what it does to the velocities."""
    gains = {name: ap - without.class_ap[name] for name, ap in with_memory.class_ap.items()}
    most, least = max(gains, key=lambda name: gains[name]), min(gains, key=lambda name: gains[name])
    said = []
    if gains[most] > _NOTICEABLE:
        said.append(f"it helps {_plain(most)} most ({_signed(gains[most])} points of AP)")
    if gains[least] < -_NOTICEABLE:
        said.append(f"it hurts {_plain(least)} most ({_signed(gains[least])})")
    old, new = without.errors["mAVE"], with_memory.errors["mAVE"]
    if abs(new - old) > _NOTICEABLE:
        said.append(f"the velocity error {'falls' if new < old else 'rises'} from {old:.2f} to {new:.2f} m/s")
    sentence = "; ".join(said) or "no class and no velocity is any different"
    return sentence[0].upper() + sentence[1:] + "."


class Verdict(Enum):
    """How a mean difference stands to the spread of the differences over the seeds."""

    BETTER = "better by more than the spread"
    WITHIN = "within the spread"
    WORSE = "worse by more than the spread"
    ONE_SEED = "one seed, no spread to judge by"
    OPEN = "not measured yet"


@dataclass(frozen=True)
class Finding:
    """A measure of two models by seed, more is better.

    claimed  whether the first is said to be better; if not, only that it is not worse
    """

    label: str
    first: Mapping[int, float]
    second: Mapping[int, float]
    claimed: bool = True
    digits: int = 3

    @cached_property
    def differences(self) -> dict[int, float]:
        """The first less the second, by seed."""
        return paired(self.first, self.second)

    @property
    def spread(self) -> Spread:
        """Mean and spread of the differences."""
        return Spread.of(self.differences)

    @property
    def verdict(self) -> Verdict:
        """What the differences say."""
        mean, sd = self.spread.mean, self.spread.sd
        if mean is None:
            return Verdict.OPEN
        if sd is None:
            return Verdict.ONE_SEED
        return Verdict.BETTER if mean > sd else Verdict.WORSE if mean < -sd else Verdict.WITHIN

    @property
    def holds(self) -> bool | None:
        """Whether what is said of the first is so; None where it can't be told."""
        if self.verdict in (Verdict.OPEN, Verdict.ONE_SEED):
            return None
        return self.verdict is Verdict.BETTER or (not self.claimed and self.verdict is Verdict.WITHIN)

    @property
    def answer(self) -> str:
        """The verdict in plain words."""
        if self.holds is None:
            return self.verdict.value
        if self.verdict is Verdict.WITHIN and not self.claimed:
            return "yes: costs nothing beyond the spread"
        return f"{'yes' if self.holds else 'no'}: {self.verdict.value}"


def claim_sentence(first: str, second: str, findings: Sequence[Finding]) -> str:
    """On what the first model beats the second by more than the spread, on what it doesn't, and what it costs."""
    claimed = [finding for finding in findings if finding.claimed]
    said = []
    for verdict, words in (
        (Verdict.BETTER, f"{first} beats {second} by more than the spread over seeds on"),
        (Verdict.WITHIN, "No difference beyond the spread on"),
        (Verdict.WORSE, f"{first} is worse than {second} by more than the spread on"),
        (Verdict.ONE_SEED, "One seed only, so no spread to judge by, on"),
        (Verdict.OPEN, "Not measured yet:"),
    ):
        labels = [finding.label for finding in claimed if finding.verdict is verdict]
        if labels:
            said.append(f"{words} {listed(labels)}.")
    costs = [finding for finding in findings if not finding.claimed and finding.holds is not None]
    lost = [f"{finding.label} ({_change(finding)})" for finding in costs if not finding.holds]
    if lost:
        said.append(f"It costs more than the spread on {listed(lost)}.")
    elif costs:
        said.append(f"It costs nothing beyond the spread on {listed([finding.label for finding in costs])}.")
    return " ".join(said)


def _change(finding: Finding) -> str:
    return finding.spread.text(finding.digits, sign=True).replace("-", "−")


def listed(words: Sequence[str]) -> str:
    """Words as a sentence has them: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _points(difference: float) -> str:
    return f"{abs(difference) * 100:.1f}"


def _signed(difference: float) -> str:
    return f"{'−' if difference < 0 else '+'}{_points(difference)}"


def _plain(class_name: str) -> str:
    return class_name.replace("_", " ")
