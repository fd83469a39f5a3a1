"""Pretraining: the detector without its memory, on single frames.

A memory is trained on clips, whose frames are much alike; a detector learns faster from unrelated frames.
"""

from __future__ import annotations

from remembev.config import Config
from remembev.config.schema import PretrainConfig


def pretrain_config(cfg: Config) -> Config | None:
    """Return the configuration of a configuration's pretraining (``OPTIMIZATION.PRETRAIN``), None if it has none.

    Keys that only matter to a memory, a clip or a history take their defaults, so that configurations that differ in
    nothing else share their pretraining.
    """
    plan = cfg.OPTIMIZATION
    if plan.PRETRAIN is None:
        return None
    size, batches = _batches(cfg, plan.PRETRAIN)
    sampling = plan.PRETRAIN.GT_SAMPLING or cfg.DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING
    return cfg.with_changes(
        {
            "DATA_CONFIG.SEQ_LEN": 1,
            "DATA_CONFIG.STRIDE": 1,
            "DATA_CONFIG.ALIGNMENT": "implicit",
            "DATA_CONFIG.AGENT_SLOTS": 1,
            "DATA_CONFIG.MIN_POINTS_SEEN": 1,
            "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING": sampling,
            "MODEL.MEMORY": {"FUSION": "none", "STRIDE": 1},
            "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.SEEN_WITHIN": None,
            "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.MIN_POINTS_KNOWN": 0,
            "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.UNSEEN_WEIGHT": 1,
            "OPTIMIZATION.PRETRAIN": None,
            "OPTIMIZATION.NORM_EVAL": plan.PRETRAIN.NORM_EVAL,
            "OPTIMIZATION.BATCH_SIZE_PER_GPU": size,
            "OPTIMIZATION.BATCHES_PER_EPOCH": batches,
            "OPTIMIZATION.NUM_EPOCHS": plan.PRETRAIN.EPOCHS,
            "OPTIMIZATION.LR": plan.PRETRAIN.LR,
            "OPTIMIZATION.TBPTT_FRAMES": None,
            "OPTIMIZATION.ACTIVATION_CHECKPOINTING": False,
        }
    )


def describe_training(cfg: Config) -> str:
    """Return the length of a training in words."""
    plan, frames = cfg.OPTIMIZATION, cfg.DATA_CONFIG.SEQ_LEN
    clips = _describe(plan.NUM_EPOCHS, plan.BATCHES_PER_EPOCH, plan.BATCH_SIZE_PER_GPU, f"clips of {frames} frames")
    if plan.PRETRAIN is None:
        return clips
    size, batches = _batches(cfg, plan.PRETRAIN)
    single = _describe(plan.PRETRAIN.EPOCHS, batches, size, "single frames")
    return f"{single}, without a memory; then {clips}"


def _batches(cfg: Config, pretrain: PretrainConfig) -> tuple[int, int | None]:
    """Return frames per step and steps per epoch of pretraining."""
    plan = cfg.OPTIMIZATION
    size = pretrain.BATCH_SIZE_PER_GPU or cfg.DATA_CONFIG.SEQ_LEN * plan.BATCH_SIZE_PER_GPU
    return size, pretrain.BATCHES_PER_EPOCH or plan.BATCHES_PER_EPOCH


def _describe(epochs: int, batches: int | None, size: int, what: str) -> str:
    return f"{epochs} epochs of {batches or 'all'} batches of {size} {what}"
