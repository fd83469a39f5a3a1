"""The official score of submissions whose score is known beforehand."""

import json
import math
import shutil
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from remembev.config.classes import DETECTION_NAMES
from remembev.data import NuScenesIndex
from remembev.errors import DataError
from remembev.evaluation import DetectionScore, score_submission, write_submission
from remembev.evaluation.accumulation import match_class
from remembev.evaluation.official import OfficialTruth
from remembev.evaluation.scoring import ERRORS

pytest.importorskip("nuscenes")
VERSION = "v1.0-sim"


@pytest.fixture(scope="session")
def data_root(sim_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated tables with ten cars near the ego car renamed, one to each class: all ten classes are there."""
    from nuscenes.eval.detection.utils import category_to_detection_name

    simulated = open_devkit(sim_root)
    categories = {category_to_detection_name(record["name"]): record["token"] for record in simulated.category}
    categories.pop(None, None)
    near = sorted({box["instance_token"] for box in simulated.sample_annotation if is_near_car(simulated, box)})
    renamed = dict(zip(near, categories.values(), strict=False))
    assert len(renamed) == 10

    root = tmp_path_factory.mktemp("ten_classes")
    shutil.copytree(sim_root / VERSION, root / VERSION)
    (root / "maps").symlink_to(sim_root / "maps")
    instances = [
        {**instance, "category_token": renamed.get(instance["token"], instance["category_token"])}
        for instance in json.loads((sim_root / VERSION / "instance.json").read_text())
    ]
    (root / VERSION / "instance.json").write_text(json.dumps(instances))
    return root


def open_devkit(root: Path) -> Any:
    from nuscenes import NuScenes

    return NuScenes(version=VERSION, dataroot=str(root), verbose=False)


def is_near_car(nusc: Any, record: dict[str, Any]) -> bool:
    sample = nusc.get("sample", record["sample_token"])
    ego = nusc.get("ego_pose", nusc.get("sample_data", sample["data"]["LIDAR_TOP"])["ego_pose_token"])
    near = math.dist(ego["translation"][:2], record["translation"][:2]) < 25
    return near and record["num_lidar_pts"] > 0 and record["category_name"] == "vehicle.car"


@pytest.fixture(scope="session")
def nusc(data_root: Path) -> Any:
    return open_devkit(data_root)


@pytest.fixture(scope="session")
def scenes(nusc: Any) -> list[str]:
    return [scene["name"] for scene in nusc.scene]


@pytest.fixture(scope="session")
def annotated(nusc: Any) -> dict[str, list[dict[str, Any]]]:
    """The ground truth of every sample as a submission, attributes and velocities as annotated."""
    from nuscenes.eval.detection.utils import category_to_detection_name

    attributes = {record["token"]: record["name"] for record in nusc.attribute}
    results: dict[str, list[dict[str, Any]]] = {}
    for sample in nusc.sample:
        results[sample["token"]] = boxes = []
        for token in sample["anns"]:
            record = nusc.get("sample_annotation", token)
            name = category_to_detection_name(record["category_name"])
            if name is None or record["num_lidar_pts"] + record["num_radar_pts"] == 0:
                continue
            velocity = nusc.box_velocity(token)[:2].tolist()
            boxes.append(
                {
                    "sample_token": sample["token"],
                    "translation": record["translation"],
                    "size": record["size"],
                    "rotation": record["rotation"],
                    "velocity": [0.0 if math.isnan(value) else value for value in velocity],
                    "detection_name": name,
                    "detection_score": 0.5,
                    "attribute_name": attributes[record["attribute_tokens"][0]] if record["attribute_tokens"] else "",
                }
            )
    return results


def test_a_perfect_submission_scores_one(
    data_root: Path, scenes: list[str], annotated: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    submission = tmp_path / "perfect.json"
    write_submission(submission, annotated)
    score = score_submission(submission, data_root, VERSION, scenes)
    assert score.mean_ap == pytest.approx(1.0)
    assert score.nds == pytest.approx(1.0, abs=1e-6)
    assert score.errors == pytest.approx(dict.fromkeys(ERRORS, 0.0), abs=1e-6)
    assert score.class_ap == pytest.approx(dict.fromkeys(score.class_ap, 1.0))
    assert len(score.class_ap) == 10


def test_an_empty_submission_scores_zero(
    data_root: Path, scenes: list[str], annotated: dict[str, object], tmp_path: Path
) -> None:
    submission = tmp_path / "empty.json"
    write_submission(submission, {token: [] for token in annotated})
    score = score_submission(submission, data_root, VERSION, scenes)
    assert score.mean_ap == 0.0
    assert score.nds == 0.0
    assert score.errors == dict.fromkeys(ERRORS, 1.0)


def test_boxes_a_metre_off_score_in_between(
    data_root: Path, scenes: list[str], annotated: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    moved = {
        token: [{**box, "translation": [box["translation"][0] + 0.9, *box["translation"][1:]]} for box in boxes]
        for token, boxes in annotated.items()
    }
    write_submission(tmp_path / "moved.json", moved)
    score = score_submission(tmp_path / "moved.json", data_root, VERSION, scenes)
    assert 0.3 < score.mean_ap < 0.95
    assert 0.5 < score.errors["mATE"] <= 0.9 + 1e-6


def test_scoring_prints_nothing_and_leaves_no_file(
    data_root: Path,
    scenes: list[str],
    annotated: dict[str, Any],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    submission = tmp_path / "some.json"
    write_submission(submission, annotated)
    before = sorted(data_root.rglob("*"))
    score_submission(submission, data_root, VERSION, scenes)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == [submission]
    assert sorted(data_root.rglob("*")) == before


def test_some_of_the_scenes_are_scored_as_if_there_were_no_others(
    data_root: Path, nusc: Any, annotated: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    chosen = {scene["token"]: scene["name"] for scene in nusc.scene[1:3]}
    tokens = [sample["token"] for sample in nusc.sample if sample["scene_token"] in chosen]
    write_submission(tmp_path / "part.json", {token: annotated[token] for token in tokens})
    score = score_submission(tmp_path / "part.json", data_root, VERSION, list(chosen.values()))
    assert all(ap == 0.0 or ap == pytest.approx(1.0) for ap in score.class_ap.values())
    assert score.mean_ap > 0.3


Boxes = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def jittered(annotated: Boxes) -> Boxes:
    """Detections of every kind: metres off, duplicate, of another class, of equal scores."""
    random = np.random.default_rng(0)
    results: Boxes = {}
    for token, boxes in annotated.items():
        results[token] = []
        for box in boxes:
            for _ in range(random.integers(0, 3)):
                moved = np.add(box["translation"], [*random.normal(0, random.choice([0.3, 3.0]), 2), 0])
                score = float(random.choice([0.2, 0.4, random.random()]))
                name = "car" if random.random() < 0.1 else box["detection_name"]
                attribute = box["attribute_name"] if name == box["detection_name"] else ""
                changed = {"translation": moved.tolist(), "detection_score": score, "detection_name": name}
                results[token].append({**box, **changed, "attribute_name": attribute})
    return results


@pytest.fixture(scope="session")
def truth(data_root: Path, scenes: list[str]) -> OfficialTruth:
    return OfficialTruth(data_root, VERSION, scenes)


def test_the_score_of_all_objects_is_that_of_the_devkits_own_evaluation(
    truth: OfficialTruth, jittered: Boxes, tmp_path: Path
) -> None:
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    write_submission(tmp_path / "some.json", jittered)
    (tmp_path / VERSION).mkdir()
    (tmp_path / VERSION / "splits.json").write_text(json.dumps({"all": [scene["name"] for scene in truth.nusc.scene]}))
    nusc = copy(truth.nusc)
    nusc.dataroot = str(tmp_path)
    config = config_factory("detection_cvpr_2019")
    official = DetectionEval(nusc, config, str(tmp_path / "some.json"), "all", str(tmp_path / "out"), verbose=False)
    metrics, curves = official.evaluate()
    matches = truth.match(jittered, "some.json")
    for score in (matches.score(), matches.score(np.ones(len(truth.objects), dtype=np.bool_))):
        assert (score.mean_ap, score.nds) == (metrics.mean_ap, metrics.nd_score)
        assert score.class_ap == metrics.mean_dist_aps
        assert list(score.errors.values()) == list(metrics.tp_errors.values())
        for name, errors in score.class_errors.items():
            theirs = [metrics.get_label_tp(name, error) for error in ERRORS.values()]
            assert list(errors.values()) == pytest.approx(theirs, nan_ok=True, abs=0)
    assert 0.1 < matches.score().mean_ap < 0.9
    for name, curve in matches.curves().items():
        assert curve.precision == curves[name, 2.0].precision.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_a_subset_is_scored_without_the_boxes_that_match_other_objects(
    truth: OfficialTruth, jittered: Boxes, seed: int
) -> None:
    counted = np.random.default_rng(seed).random(len(truth.objects)) < 0.4
    score = truth.match(jittered, "some.json").score(counted)
    for name, ap in score.class_ap.items():
        aps = [plain_ap(truth, jittered, name, distance, counted) for distance in (0.5, 1.0, 2.0, 4.0)]
        assert ap == pytest.approx(np.mean(aps), abs=1e-9)
    assert score.mean_ap == pytest.approx(np.mean(list(score.class_ap.values())))


@pytest.mark.parametrize("seed", range(3))
def test_the_curves_of_a_subset_are_what_the_devkit_accumulates_over_it(
    truth: OfficialTruth, jittered: Boxes, seed: int
) -> None:
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.common.utils import center_distance
    from nuscenes.eval.detection.algo import accumulate
    from nuscenes.eval.detection.data_classes import DetectionBox

    counted = np.random.default_rng(seed).random(len(truth.objects)) < 0.4
    in_range = truth.in_range(EvalBoxes.deserialize(jittered, DetectionBox))
    objects = EvalBoxes()
    for box in truth.boxes:
        if counted[box.number]:
            objects.add_boxes(box.sample_token, [box])
    for name in ("car", "pedestrian", "barrier", "traffic_cone"):
        of_class = [box for boxes in in_range.values() for box in boxes if box.detection_name == name]
        things = [box for box in truth.boxes if box.detection_name == name]
        for distance, matched in match_class(of_class, things, truth.cfg.dist_ths).items():
            kept = (matched.match < 0) | counted[matched.match]
            boxes, left = EvalBoxes(), {id(box) for box, keep in zip(matched.boxes, kept, strict=True) if keep}
            for box in of_class:  # in the order of the submission: of equal scores the last one is the first
                if id(box) in left:
                    boxes.add_boxes(box.sample_token, [box])
            ours = matched.curves(kept, sum(bool(counted[thing.number]) for thing in things)).serialize()
            theirs = accumulate(objects, boxes, name, center_distance, distance).serialize()
            for kind, values in theirs.items():
                np.testing.assert_array_equal(ours[kind], values, err_msg=f"{name} {distance} {kind}")


def plain_ap(truth: OfficialTruth, results: Boxes, name: str, distance: float, counted: Any) -> float:
    """AP of a class from one greedy matching with all objects, in which matches of ignored objects don't count."""
    objects = [(number, box) for number, box in enumerate(truth.boxes) if box.detection_name == name]
    boxes = [box for token in truth.samples for box in results[token] if box["detection_name"] == name]
    boxes = [box for box in boxes if ego_distance(truth, box) < truth.cfg.class_range[name]]
    taken: set[int] = set()
    hits, tried = [0], [0]
    for _, row in sorted(((box["detection_score"], row) for row, box in enumerate(boxes)), reverse=True):
        near = [
            (math.dist(thing.translation[:2], boxes[row]["translation"][:2]), number)
            for number, thing in objects
            if thing.sample_token == boxes[row]["sample_token"] and number not in taken
        ]
        closest, number = min(near, default=(math.inf, -1))
        if closest < distance:
            taken.add(number)
            if not counted[number]:
                continue
        hits.append(hits[-1] + (closest < distance))
        tried.append(tried[-1] + 1)
    if hits[-1] == 0:
        return 0.0
    recall = np.array(hits[1:]) / sum(counted[number] for number, _ in objects)
    precision = np.array(hits[1:]) / np.array(tried[1:])
    steps = np.interp(np.linspace(0, 1, 101), recall, precision, right=0)[11:]
    return float(np.clip(steps - 0.1, 0, None).mean() / 0.9)


def ego_distance(truth: OfficialTruth, box: dict[str, Any]) -> float:
    sample = truth.nusc.get("sample", box["sample_token"])
    ego = truth.nusc.get("ego_pose", truth.nusc.get("sample_data", sample["data"]["LIDAR_TOP"])["ego_pose_token"])
    return math.dist(ego["translation"][:2], box["translation"][:2])


def test_some_of_the_samples_are_scored_as_if_there_were_no_others(
    data_root: Path, truth: OfficialTruth, scenes: list[str], jittered: Boxes
) -> None:
    part = OfficialTruth(data_root, VERSION, scenes[:1])
    alone = part.match({token: jittered[token] for token in part.samples}, "some.json").score()
    among = truth.match(jittered, "some.json").score(samples=set(part.samples))
    assert among.class_ap == {name: alone.class_ap[name] for name in among.class_ap}
    assert all(ap == 0 for name, ap in alone.class_ap.items() if name not in among.class_ap)


def test_a_subset_without_objects_has_no_score(truth: OfficialTruth, jittered: Boxes) -> None:
    score = truth.match(jittered, "some.json").score(np.zeros(len(truth.objects), dtype=np.bool_))
    assert math.isnan(score.mean_ap)
    assert math.isnan(score.nds)
    assert score.class_ap == {}
    assert score.to_json()["mean_ap"] is None
    assert math.isnan(DetectionScore.from_json(score.to_json()).nds)


def test_an_official_object_is_the_annotation_of_the_index_at_its_position(
    data_root: Path, truth: OfficialTruth
) -> None:
    index = NuScenesIndex.open(data_root, VERSION)
    numbers = [number for scene in range(index.num_scenes) for number in index.scene_frames(scene)]
    frames = {frame.sample_token: frame for frame in map(index.load_annotations, numbers)}
    assert len(truth.objects) > 100
    for (token, position), box in zip(truth.objects, truth.boxes, strict=True):
        frame = frames[token]
        assert DETECTION_NAMES[frame.labels[position]] == box.detection_name
        assert int(frame.num_points[position]) == box.num_pts
        centre = frame.global_from_lidar @ torch.cat((frame.boxes[position, :3], torch.ones(1))).double()
        assert centre[:3].tolist() == pytest.approx(box.translation, abs=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not a nuScenes submission"),
        ('{"boxes": {}}', "not a nuScenes submission"),
        ('{"meta": {}, "results": []}', "expected lists of boxes by sample token"),
        ('{"meta": {}, "results": {"elsewhere": []}}', "lacks .* samples .* has 1 others"),
    ],
)
def test_a_submission_that_does_not_fit_is_named(
    data_root: Path, scenes: list[str], tmp_path: Path, content: str, message: str
) -> None:
    submission = tmp_path / "bad.json"
    submission.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        score_submission(submission, data_root, VERSION, scenes)
    assert str(submission) in str(caught.value)


def test_a_missing_submission_version_or_scene_is_named(data_root: Path, scenes: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: no such file"):
        score_submission(tmp_path / "nowhere.json", data_root, VERSION, scenes)
    submission = tmp_path / "some.json"
    write_submission(submission, {})
    with pytest.raises(DataError, match=r"v9\.9"):
        score_submission(submission, data_root, "v9.9", scenes)
    with pytest.raises(DataError, match="scene-9999"):
        score_submission(submission, data_root, VERSION, ["scene-9999"])


def test_more_than_500_boxes_per_sample_are_an_error(
    data_root: Path, scenes: list[str], annotated: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    token, boxes = next((token, boxes) for token, boxes in annotated.items() if boxes)
    write_submission(tmp_path / "many.json", {**annotated, token: boxes[:1] * 501})
    with pytest.raises(DataError, match="500 boxes per sample"):
        score_submission(tmp_path / "many.json", data_root, VERSION, scenes)
