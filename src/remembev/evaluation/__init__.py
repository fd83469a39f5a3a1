"""Evaluation of a detector that streams each scene: official nuScenes scores, and what they can't see.

``run.py`` streams and writes the files; ``official.py`` and ``official_tracking.py`` have the official scores;
``observability.py`` defines hidden objects, which ``permanence.py``, ``occupancy.py`` and ``dataset_stats.py`` measure;
``frames.py`` scores a few frames without a full data set; ``publish.py`` writes model cards.
"""

from remembev.evaluation.detecting import TRACKS
from remembev.evaluation.frames import FramesEvaluation, evaluate_frames
from remembev.evaluation.frames_table import frames_table
from remembev.evaluation.official import score_submission
from remembev.evaluation.official_tracking import TrackingScore, score_tracking, tracking_table
from remembev.evaluation.result import Evaluation
from remembev.evaluation.run import evaluate, evaluate_checkpoint
from remembev.evaluation.scoring import DetectionScore, score_table
from remembev.evaluation.submission import submission_boxes, write_submission
from remembev.evaluation.table import evaluation_table

__all__ = [
    "TRACKS",
    "DetectionScore",
    "Evaluation",
    "FramesEvaluation",
    "TrackingScore",
    "evaluate",
    "evaluate_checkpoint",
    "evaluate_frames",
    "evaluation_table",
    "frames_table",
    "score_submission",
    "score_table",
    "score_tracking",
    "submission_boxes",
    "tracking_table",
    "write_submission",
]
