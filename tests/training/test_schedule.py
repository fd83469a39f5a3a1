"""Optimiser and schedule against OpenPCDet's ``adam_onecycle``, written out."""

from __future__ import annotations

import math

import pytest

from remembev.config import Config
from remembev.training.module import ClipModule

STEPS = 100


def one_cycle(step: int) -> tuple[float, float]:
    """Learning rate and momentum: cosines from 1e-4 up to 1e-3 over 40 % of the steps, then down to 1e-8."""

    def cosine(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)

    if step < 40:
        return cosine(1e-4, 1e-3, step / 40), cosine(0.95, 0.85, step / 40)
    return cosine(1e-3, 1e-8, (step - 40) / 60), cosine(0.85, 0.95, (step - 40) / 60)


def test_the_schedule_is_at_most_a_step_ahead_of_openpcdets(small_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipModule, "_total_steps", STEPS)
    configured = ClipModule(small_cfg.with_changes({"OPTIMIZATION.LR": 1e-3})).configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    for step in range(STEPS):
        group = optimizer.param_groups[0]
        bounds = zip(one_cycle(step), one_cycle(step + 1), (group["lr"], group["betas"][0]), strict=True)
        for now, next_one, ours in bounds:
            assert min(now, next_one) * (1 - 1e-6) <= ours <= max(now, next_one) * (1 + 1e-6)
        assert group["betas"][1] == 0.99
        optimizer.step()
        if step < STEPS - 1:
            schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-8)


def test_normalisation_weights_decay_too(small_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipModule, "_total_steps", STEPS)
    module = ClipModule(small_cfg)
    (group,) = module.configure_optimizers()["optimizer"].param_groups
    assert group["weight_decay"] == small_cfg.OPTIMIZATION.WEIGHT_DECAY == 0.01
    assert len(group["params"]) == len(list(module.parameters()))
