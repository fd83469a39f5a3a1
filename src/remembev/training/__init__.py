"""Training: clips through Lightning, back-propagated through time; checkpoints, resuming, curves."""

from remembev.training.module import ClipModule
from remembev.training.pretrain import describe_training, pretrain_config
from remembev.training.run import TrainingRun, train

__all__ = ["ClipModule", "TrainingRun", "describe_training", "pretrain_config", "train"]
