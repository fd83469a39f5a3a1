"""Evaluation of a detector that streams each scene: official nuScenes scores, and what they can't see.

``run.py`` streams and writes the files; ``official.py`` has the official score; ``observability.py`` defines hidden
objects, which ``permanence.py``, ``occupancy.py`` and ``dataset_stats.py`` measure; ``publish.py`` writes model cards.
"""

from remembev.evaluation.detecting import TRACKS
from remembev.evaluation.official import score_submission
from remembev.evaluation.result import Evaluation
from remembev.evaluation.run import evaluate, evaluate_checkpoint
from remembev.evaluation.scoring import DetectionScore, score_table
from remembev.evaluation.submission import submission_boxes, write_submission
from remembev.evaluation.table import evaluation_table

__all__ = [
    "TRACKS",
    "DetectionScore",
    "Evaluation",
    "evaluate",
    "evaluate_checkpoint",
    "evaluation_table",
    "score_submission",
    "score_table",
    "submission_boxes",
    "write_submission",
]
