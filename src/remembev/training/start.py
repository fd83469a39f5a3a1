"""The start of a training: its detector without a memory, on single frames.

A memory is learnt on clips, whose frames are much alike and normalised one by one; a detector learns far faster from
frames that have nothing to do with each other.
"""

from __future__ import annotations

from remembev.config import Config, config_from_yaml, config_to_yaml
from remembev.config.schema import StartConfig


def start_of(cfg: Config) -> Config | None:
    """What the start of a configuration is trained with; None if it has none (``OPTIMIZATION.START``).

    What only a memory, a clip or a history has to do with is as it
    is by default, so that the starts of configurations that differ in nothing else are the same.
    """
    plan = cfg.OPTIMIZATION
    if plan.START is None:
        return None
    size, batches = _start_batches(cfg, plan.START)
    changes = {
        "DATA_CONFIG.SEQ_LEN": 1,
        "DATA_CONFIG.STRIDE": 1,
        "DATA_CONFIG.ALIGNMENT": "implicit",
        "DATA_CONFIG.AGENT_SLOTS": 1,
        "MODEL.MEMORY": "{FUSION: none, STRIDE: 1}",
        "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.SEEN_WITHIN": "null",
        "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.UNSEEN_WEIGHT": 1,
        "OPTIMIZATION.START": "null",
        "OPTIMIZATION.NORM_EVAL": "false",
        "OPTIMIZATION.BATCH_SIZE_PER_GPU": size,
        "OPTIMIZATION.BATCHES_PER_EPOCH": batches or "null",
        "OPTIMIZATION.NUM_EPOCHS": plan.START.EPOCHS,
        "OPTIMIZATION.LR": plan.START.LR,
        "OPTIMIZATION.CHUNK": "null",
        "OPTIMIZATION.CHECKPOINT": "false",
    }
    overrides = [f"{key}={value}" for key, value in changes.items()]
    return config_from_yaml(config_to_yaml(cfg), name="its start", overrides=overrides)


def describe_training(cfg: Config) -> str:
    """How long a configuration is trained, in words."""
    plan, frames = cfg.OPTIMIZATION, cfg.DATA_CONFIG.SEQ_LEN
    clips = _described(plan.NUM_EPOCHS, plan.BATCHES_PER_EPOCH, plan.BATCH_SIZE_PER_GPU, f"clips of {frames} frames")
    if plan.START is None:
        return clips
    size, batches = _start_batches(cfg, plan.START)
    single = _described(plan.START.EPOCHS, batches, size, "single frames")
    return f"{single}, without a memory; then {clips}"


def _start_batches(cfg: Config, start: StartConfig) -> tuple[int, int | None]:
    """Single frames a step of the start, and steps an epoch."""
    plan = cfg.OPTIMIZATION
    size = start.BATCH_SIZE_PER_GPU or cfg.DATA_CONFIG.SEQ_LEN * plan.BATCH_SIZE_PER_GPU
    return size, start.BATCHES_PER_EPOCH or plan.BATCHES_PER_EPOCH


def _described(epochs: int, batches: int | None, size: int, what: str) -> str:
    return f"{epochs} epochs of {batches or 'all'} batches of {size} {what}"
