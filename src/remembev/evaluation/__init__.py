"""The official nuScenes score of a detector that goes through each scene as a stream."""

from remembev.evaluation.run import Evaluation, detect_scenes, evaluate, evaluate_checkpoint
from remembev.evaluation.scoring import DetectionScore, score_submission, score_table
from remembev.evaluation.submission import submission_boxes, write_submission

__all__ = [
    "DetectionScore",
    "Evaluation",
    "detect_scenes",
    "evaluate",
    "evaluate_checkpoint",
    "score_submission",
    "score_table",
    "submission_boxes",
    "write_submission",
]
