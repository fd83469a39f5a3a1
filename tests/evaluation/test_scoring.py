"""A detection score in JSON and as a table."""

import json
import math

from remembev.evaluation import DetectionScore, score_table
from remembev.evaluation.scoring import ERRORS


def test_a_score_survives_json_and_fills_the_table() -> None:
    errors = dict.fromkeys(ERRORS, 0.5)
    score = DetectionScore(0.25, 0.375, errors, {"car": 0.5, "traffic_cone": 0.0}, {"car": errors})
    score.class_errors["traffic_cone"] = {**errors, "mAOE": math.nan}
    again = DetectionScore.from_json(json.loads(json.dumps(score.to_json(), allow_nan=False)))
    assert again.class_errors["car"] == errors
    assert math.isnan(again.class_errors["traffic_cone"]["mAOE"])
    assert (again.mean_ap, again.nds, again.class_ap) == (0.25, 0.375, score.class_ap)
    assert score_table(score).row_count == 4
