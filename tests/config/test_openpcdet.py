"""OpenPCDet's configuration files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from tests.config.openpcdet_files import BASE, CLASSES, MODEL, PASTED, changed, write_openpcdet

from remembev.config import load_config
from remembev.config.openpcdet import _File, load_openpcdet_config
from remembev.config.schema import ShuffleConfig
from remembev.errors import ConfigError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "guides" / "openpcdet.md"


def message(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        load_openpcdet_config(path)
    return str(raised.value)


def test_the_multi_head_pointpillars_is_the_shipped_configuration(tmp_path: Path) -> None:
    cfg = load_openpcdet_config(write_openpcdet(tmp_path))
    sampling = cfg.DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING
    assert sampling is not None
    assert sampling.SAMPLE_GROUPS == dict(zip(CLASSES, PASTED, strict=True))
    assert sampling.MIN_POINTS == dict.fromkeys(CLASSES, 5)
    assert sampling.LIMIT_WHOLE_SCENE
    assert cfg.DATA_CONFIG.BALANCED_RESAMPLING
    assert cfg.DATA_CONFIG.DATA_PATH == "../data/nuscenes/v1.0-trainval"

    # But for what is ours in the head's headings
    shipped = load_config(
        "nuscenes",
        [
            "MODEL.DENSE_HEAD.HEADING_CODE=sincos",
            "MODEL.DENSE_HEAD.USE_DIRECTION_CLASSIFIER=false",
            "MODEL.POST_PROCESSING.FACE_MOTION=null",
        ],
    )
    for section in ("CLASS_NAMES", "MODEL", "OPTIMIZATION", "STREAMING"):
        assert getattr(cfg, section) == getattr(shipped, section)
    processor = cfg.DATA_CONFIG.DATA_PROCESSOR
    assert (processor.SHUFFLE_POINTS.train, processor.SHUFFLE_POINTS.test) == (True, True)
    assert processor.model_copy(update={"SHUFFLE_POINTS": ShuffleConfig()}) == shipped.DATA_CONFIG.DATA_PROCESSOR
    for key in ("POINT_CLOUD_RANGE", "NUM_SWEEPS", "VERSION", "DATA_SPLIT", "SEQ_LEN"):
        assert getattr(cfg.DATA_CONFIG, key) == getattr(shipped.DATA_CONFIG, key)
    for key in ("FLIP", "ROTATION", "SCALING"):
        assert getattr(cfg.DATA_CONFIG.DATA_AUGMENTOR, key) == getattr(shipped.DATA_CONFIG.DATA_AUGMENTOR, key)
    assert cfg.DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION is None


def test_a_residual_heading_with_a_direction_classifier_is_read(tmp_path: Path) -> None:
    head = changed(MODEL, "MODEL.DENSE_HEAD.USE_DIRECTION_CLASSIFIER", True)
    head = changed(head, "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.BOX_CODER_CONFIG", {"code_size": 9})
    head = changed(
        head, "MODEL.DENSE_HEAD.SEPARATE_REG_CONFIG.REG_LIST", ["reg:2", "height:1", "size:3", "angle:1", "velo:2"]
    )
    head = changed(head, "MODEL.DENSE_HEAD.LOSS_CONFIG.LOSS_WEIGHTS.code_weights", [1.0] * 7 + [0.2] * 2)
    read = load_openpcdet_config(write_openpcdet(tmp_path, model=head, base=BASE)).MODEL.DENSE_HEAD
    assert (read.HEADING_CODE, read.USE_DIRECTION_CLASSIFIER) == ("residual", True)
    assert (read.DIR_OFFSET, read.DIR_LIMIT_OFFSET, read.NUM_DIR_BINS) == (0.78539, 0.0, 2)


@pytest.mark.parametrize(
    ("file", "key", "given", "ours", "becomes"),
    [
        ("base", "MAX_SWEEPS", 5, "DATA_CONFIG.NUM_SWEEPS", 4),
        ("base", "VERSION", "v1.0-mini", "DATA_CONFIG.VERSION", "v1.0-mini"),
        ("base", "DATA_SPLIT.test", "mini_val", "DATA_CONFIG.DATA_SPLIT.test", "mini_val"),
        ("base", "BALANCED_RESAMPLING", ..., "DATA_CONFIG.BALANCED_RESAMPLING", False),
        ("base", "FILTER_MIN_POINTS_IN_GT", 3, "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.MIN_POINTS_IN_GT", 3),
        ("base", "FILTER_MIN_POINTS_IN_GT", False, "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.MIN_POINTS_IN_GT", 0),
        ("base", "DATA_AUGMENTOR.DISABLE_AUG_LIST", ["gt_sampling"], "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING", None),
        ("base", "DATA_AUGMENTOR.AUG_CONFIG_LIST.1", ..., "DATA_CONFIG.DATA_AUGMENTOR.FLIP", ()),
        (
            "base",
            "DATA_AUGMENTOR.AUG_CONFIG_LIST.2.WORLD_ROT_ANGLE",
            0.1,
            "DATA_CONFIG.DATA_AUGMENTOR.ROTATION",
            (-0.1, 0.1),
        ),
        ("base", "DATA_AUGMENTOR", BASE["DATA_AUGMENTOR"]["AUG_CONFIG_LIST"], "DATA_CONFIG.NUM_SWEEPS", 9),
        ("model", "OPTIMIZATION.LR", 0.003, "OPTIMIZATION.LR", 0.003),
        ("model", "OPTIMIZATION.BATCH_SIZE_PER_GPU", 8, "OPTIMIZATION.BATCH_SIZE_PER_GPU", 2),
        ("model", "OPTIMIZATION.BATCH_SIZE_PER_GPU", 1, "OPTIMIZATION.BATCH_SIZE_PER_GPU", 1),
        ("model", "MODEL.POST_PROCESSING.SCORE_THRESH", 0.3, "MODEL.POST_PROCESSING.SCORE_THRESH", 0.3),
        (
            "model",
            "MODEL.DENSE_HEAD.LOSS_CONFIG.LOSS_WEIGHTS.neg_cls_weight",
            ...,
            "MODEL.DENSE_HEAD.LOSS_CONFIG.LOSS_WEIGHTS.neg_cls_weight",
            1.0,
        ),
        (
            "model",
            "DATA_CONFIG.DATA_PROCESSOR.2.MAX_POINTS_PER_VOXEL",
            32,
            "DATA_CONFIG.DATA_PROCESSOR.MAX_POINTS_PER_VOXEL",
            32,
        ),
        ("model", "MODEL.BACKBONE_3D", None, "MODEL.BACKBONE_3D", None),
    ],
)
def test_a_key_is_translated(file: str, key: str, given: Any, ours: str, becomes: Any, tmp_path: Path) -> None:
    trees = {"model": MODEL, "base": BASE}
    trees[file] = changed(trees[file], key, given)
    value: Any = load_openpcdet_config(write_openpcdet(tmp_path, **trees))
    for part in ours.split("."):
        value = getattr(value, part)
    assert value == becomes


@pytest.mark.parametrize(
    ("file", "key", "given", "said"),
    [
        ("model", "MODEL.NAME", "CenterPoint", "MODEL.NAME: Input should be 'PointPillar' (given: 'CenterPoint')"),
        ("model", "MODEL.BACKBONE_3D", {"NAME": "VoxelBackBone8x"}, "MODEL.BACKBONE_3D: VoxelBackBone8x is not"),
        ("model", "MODEL.VFE.NUM_FILTER", 3, "MODEL.VFE.NUM_FILTER: not supported; did you mean NUM_FILTERS?"),
        ("model", "MODEL.VFE.USE_NORM", False, "MODEL.VFE.USE_NORM: Input should be True (given: False)"),
        ("model", "MODEL.MAP_TO_BEV.NUM_BEV_FEATURES", 32, "MODEL.MAP_TO_BEV.NUM_BEV_FEATURES"),
        (
            "model",
            "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.BOX_CODER_CONFIG.encode_angle_by_sincos",
            False,
            "REG_LIST has to be",
        ),
        ("model", "MODEL.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG.3.feature_map_stride", 8, "feature_map_stride has to be 4"),
        ("model", "MODEL.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG.3.sizes", 8, "ANCHOR_GENERATOR_CONFIG.3.sizes: not"),
        ("model", "MODEL.DENSE_HEAD.RPN_HEAD_CFGS.1.HEAD_CLS_NAME", CLASSES[2:0:-1], "MODEL.DENSE_HEAD.RPN_HEAD_CFGS"),
        ("model", "MODEL.DENSE_HEAD.RPN_HEAD_CFGS.1.LAYER_NUMS", [1], "RPN_HEAD_CFGS.1.LAYER_NUMS: not supported"),
        ("model", "MODEL.DENSE_HEAD.SEPARATE_REG_CONFIG.REG_LIST", ["all:10"], "REG_LIST has to be"),
        ("model", "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.POS_FRACTION", 0.5, "TARGET_ASSIGNER_CONFIG.POS_FRACTION"),
        (
            "model",
            "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.BOX_CODER_CONFIG.code_size",
            7,
            "BOX_CODER_CONFIG.code_size",
        ),
        ("model", "MODEL.POST_PROCESSING.NMS_CONFIG.NMS_TYPE", "nms_normal_gpu", "NMS_CONFIG.NMS_TYPE"),
        ("model", "OPTIMIZATION.OPTIMIZER", "sgd", "OPTIMIZATION.OPTIMIZER: Input should be 'adam_onecycle'"),
        ("model", "OPTIMIZATION.LR", ..., "OPTIMIZATION.LR: this key is missing"),
        ("model", "HOOK", {}, "HOOK: not supported"),
        ("model", "DATA_CONFIG.DATA_PROCESSOR.2.MAX_NUMBER_OF_VOXELS.test", 60000, "30000 in training but 60000 in"),
        ("model", "DATA_CONFIG.DATA_PROCESSOR.0.REMOVE_OUTSIDE_BOXES", False, "outside_range.REMOVE_OUTSIDE_BOXES"),
        ("model", "DATA_CONFIG.DATA_PROCESSOR", [], "transform_points_to_voxels: this key is missing"),
        ("base", "DATA_AUGMENTOR.AUG_CONFIG_LIST.1.NAME", "random_local_noise", "AUG_CONFIG_LIST.random_local_noise"),
        (
            "base",
            "DATA_AUGMENTOR.AUG_CONFIG_LIST.0.SAMPLE_GROUPS",
            ["car"],
            "expected a list such as ['car:2', 'bus:4']",
        ),
        (
            "base",
            "DATA_AUGMENTOR.AUG_CONFIG_LIST",
            BASE["DATA_AUGMENTOR"]["AUG_CONFIG_LIST"][::-1],
            "AUG_CONFIG_LIST: steps [",
        ),
        (
            "base",
            "POINT_FEATURE_ENCODING.used_feature_list",
            ["x", "y", "z"],
            "POINT_FEATURE_ENCODING.used_feature_list",
        ),
        ("base", "PRED_VELOCITY", False, "DATA_CONFIG.PRED_VELOCITY"),
    ],
)
def test_an_unsupported_value_is_named_with_its_key(file: str, key: str, given: Any, said: str, tmp_path: Path) -> None:
    trees = {"model": MODEL, "base": BASE}
    trees[file] = changed(trees[file], key, given)
    path = write_openpcdet(tmp_path, **trees)
    assert said in message(path)
    assert str(path) in message(path)


def test_all_unsupported_keys_are_named_at_once(tmp_path: Path) -> None:
    model = changed(MODEL, "MODEL.VFE.NAME", "MeanVFE")
    model = changed(model, "OPTIMIZATION.OPTIMISER", "sgd")
    said = message(write_openpcdet(tmp_path, model, changed(BASE, "CAMERA_CONFIG", {})))
    assert "MODEL.VFE.NAME" in said
    assert "OPTIMIZATION.OPTIMISER: not supported; did you mean OPTIMIZER?" in said
    assert "DATA_CONFIG.CAMERA_CONFIG" in said


def test_overrides_are_in_remembevs_keys(tmp_path: Path) -> None:
    cfg = load_openpcdet_config(write_openpcdet(tmp_path), ["MODEL.MEMORY.FUSION=none", "DATA_CONFIG.VERSION=v1.0-sim"])
    assert (cfg.MODEL.MEMORY.FUSION, cfg.DATA_CONFIG.VERSION) == ("none", "v1.0-sim")


def test_sections_are_merged_with_their_base_and_lists_replaced(tmp_path: Path) -> None:
    model = changed(MODEL, "DATA_CONFIG.DATA_SPLIT", {"test": "mini_val"})
    model = changed(model, "DATA_CONFIG.DATA_AUGMENTOR", {"AUG_CONFIG_LIST": []})
    data = load_openpcdet_config(write_openpcdet(tmp_path, model)).DATA_CONFIG
    assert (data.DATA_SPLIT.train, data.DATA_SPLIT.test) == ("train", "mini_val")
    assert data.DATA_AUGMENTOR.FLIP == ()


def test_a_nested_section_may_have_a_base(tmp_path: Path) -> None:
    model = changed(MODEL, "MODEL.VFE", {"_BASE_CONFIG_": "vfe.yaml", "NUM_FILTERS": [64]})
    (tmp_path / "vfe.yaml").write_text(yaml.safe_dump({**MODEL["MODEL"]["VFE"], "NUM_FILTERS": [32]}))
    assert load_openpcdet_config(write_openpcdet(tmp_path, model)).MODEL.VFE == load_config("nuscenes").MODEL.VFE


def test_a_base_is_found_in_parent_folders_and_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_openpcdet(tmp_path / "tools")
    alone = tmp_path / "elsewhere" / "model.yaml"
    alone.parent.mkdir()
    alone.write_text(path.read_text())
    said = message(alone)
    assert "cfgs/dataset_configs/nuscenes_dataset.yaml" in said
    assert str(alone.parent) in said
    assert str(Path.cwd()) in said
    monkeypatch.chdir(tmp_path / "tools")
    assert load_openpcdet_config(alone) == load_openpcdet_config(path)


def test_a_base_of_a_base_and_a_section_over_a_list_are_named(tmp_path: Path) -> None:
    assert "has a _BASE_CONFIG_ of its own" in message(
        write_openpcdet(tmp_path, MODEL, {**BASE, "_BASE_CONFIG_": "x.yaml"})
    )
    model = changed(MODEL, "DATA_CONFIG.INFO_PATH", {"train": []})
    assert "INFO_PATH is a section here but a list" in message(
        write_openpcdet(tmp_path, model, {**BASE, "INFO_PATH": []})
    )


def test_a_file_without_keys_is_named(tmp_path: Path) -> None:
    for name, text in {"list.yaml": "[1, 2]", "broken.yaml": "{a: ["}.items():
        (tmp_path / name).write_text(text)
        assert name in message(tmp_path / name)
    assert "absent.yaml" in message(tmp_path / "absent.yaml")


def ignored_keys(section: type[BaseModel]) -> set[str]:
    """Keys that are ignored, each with a reason."""
    keys = set()
    for key, field in section.model_fields.items():
        if field.annotation is Any:
            assert isinstance(field.metadata[0], str)
            keys.add(key)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys |= ignored_keys(part)
    return keys


def test_every_ignored_key_is_documented() -> None:
    keys = ignored_keys(_File)
    assert {"INFO_PATH", "MOMENTUM", "SAMPLE_SIZE"} <= keys
    text = DOCS.read_text()
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []
