"""Training with Lightning: back-propagation through time on clips, pretraining, checkpoints, exact resume."""

from remembev.training.module import ClipModule
from remembev.training.pretrain import describe_training, pretrain_config
from remembev.training.run import TrainingRun, train

__all__ = ["ClipModule", "TrainingRun", "describe_training", "pretrain_config", "train"]
