"""Training: clips through Lightning, back-propagated through time; checkpoints, resuming, curves."""

from remembev.training.module import ClipModule
from remembev.training.run import TrainingRun, train

__all__ = ["ClipModule", "TrainingRun", "train"]
