"""Training: clips through Lightning, back-propagated through time; checkpoints, resuming, curves."""

from remembev.training.module import ClipModule
from remembev.training.run import TrainingRun, train
from remembev.training.start import describe_training, start_of

__all__ = ["ClipModule", "TrainingRun", "describe_training", "start_of", "train"]
