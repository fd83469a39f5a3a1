"""Training with Lightning: back-propagation through time on clips, pretraining, checkpoints, exact resume."""

from typing import TYPE_CHECKING

from remembev.deprecation import former_names
from remembev.training.module import ClipModule
from remembev.training.pretrain import describe_training, pretrain_config
from remembev.training.run import TrainingRun, train

__all__ = ["ClipModule", "TrainingRun", "describe_training", "pretrain_config", "train"]

if not TYPE_CHECKING:
    __getattr__ = former_names(
        __name__,
        {
            "start_of": "remembev.training.pretrain_config",
        },
    )
