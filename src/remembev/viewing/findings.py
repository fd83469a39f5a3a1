"""What scores say beside one another, in sentences made from the numbers: also when memory loses."""

from __future__ import annotations

from remembev.evaluation.scoring import DetectionScore

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


def _points(difference: float) -> str:
    return f"{abs(difference) * 100:.1f}"


def _signed(difference: float) -> str:
    return f"{'−' if difference < 0 else '+'}{_points(difference)}"


def _plain(class_name: str) -> str:
    return class_name.replace("_", " ")
