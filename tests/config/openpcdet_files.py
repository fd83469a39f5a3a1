"""OpenPCDet's two files of its multi-head PointPillars on nuScenes, in its own keys, for tests to change."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

ANCHORS = {
    # class: (l, w, h), bottom, matched, unmatched
    "car": ([4.63, 1.97, 1.74], -0.95, 0.6, 0.45),
    "truck": ([6.93, 2.51, 2.84], -0.6, 0.55, 0.4),
    "construction_vehicle": ([6.37, 2.85, 3.19], -0.225, 0.5, 0.35),
    "bus": ([10.5, 2.94, 3.47], -0.085, 0.55, 0.4),
    "trailer": ([12.29, 2.9, 3.87], 0.115, 0.5, 0.35),
    "barrier": ([0.5, 2.53, 0.98], -1.33, 0.55, 0.4),
    "motorcycle": ([2.11, 0.77, 1.47], -1.085, 0.5, 0.3),
    "bicycle": ([1.7, 0.6, 1.28], -1.18, 0.5, 0.35),
    "pedestrian": ([0.73, 0.67, 1.77], -0.935, 0.6, 0.4),
    "traffic_cone": ([0.41, 0.41, 1.07], -1.285, 0.6, 0.4),
}
CLASSES = list(ANCHORS)
HEADS = [CLASSES[:1], CLASSES[1:3], CLASSES[3:5], CLASSES[5:6], CLASSES[6:8], CLASSES[8:]]
PASTED = [2, 3, 7, 4, 6, 2, 6, 6, 2, 2]
RANGE = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
FEATURES = ["x", "y", "z", "intensity", "timestamp"]

MASK = {"NAME": "mask_points_and_boxes_outside_range", "REMOVE_OUTSIDE_BOXES": True}
SHUFFLE = {"NAME": "shuffle_points", "SHUFFLE_ENABLED": {"train": True, "test": True}}


def voxels(size: list[float], points: int, pillars: int) -> dict[str, Any]:
    return {
        "NAME": "transform_points_to_voxels",
        "VOXEL_SIZE": size,
        "MAX_POINTS_PER_VOXEL": points,
        "MAX_NUMBER_OF_VOXELS": {"train": pillars, "test": pillars},
    }


BASE: dict[str, Any] = {
    "DATASET": "NuScenesDataset",
    "DATA_PATH": "../data/nuscenes",
    "VERSION": "v1.0-trainval",
    "MAX_SWEEPS": 10,
    "PRED_VELOCITY": True,
    "SET_NAN_VELOCITY_TO_ZEROS": True,
    "FILTER_MIN_POINTS_IN_GT": 1,
    "DATA_SPLIT": {"train": "train", "test": "val"},
    "INFO_PATH": {"train": ["infos_train.pkl"], "test": ["infos_val.pkl"]},
    "POINT_CLOUD_RANGE": RANGE,
    "BALANCED_RESAMPLING": True,
    "DATA_AUGMENTOR": {
        "DISABLE_AUG_LIST": ["placeholder"],
        "AUG_CONFIG_LIST": [
            {
                "NAME": "gt_sampling",
                "DB_INFO_PATH": ["dbinfos.pkl"],
                "PREPARE": {"filter_by_min_points": [f"{name}:5" for name in CLASSES]},
                "SAMPLE_GROUPS": [f"{name}:{count}" for name, count in zip(CLASSES, PASTED, strict=True)],
                "NUM_POINT_FEATURES": 5,
                "DATABASE_WITH_FAKELIDAR": False,
                "REMOVE_EXTRA_WIDTH": [0.0, 0.0, 0.0],
                "LIMIT_WHOLE_SCENE": True,
            },
            {"NAME": "random_world_flip", "ALONG_AXIS_LIST": ["x", "y"]},
            {"NAME": "random_world_rotation", "WORLD_ROT_ANGLE": [-0.3925, 0.3925]},
            {"NAME": "random_world_scaling", "WORLD_SCALE_RANGE": [0.95, 1.05]},
        ],
    },
    "POINT_FEATURE_ENCODING": {
        "encoding_type": "absolute_coordinates_encoding",
        "used_feature_list": FEATURES,
        "src_feature_list": FEATURES,
    },
    "DATA_PROCESSOR": [MASK, SHUFFLE, voxels([0.1, 0.1, 0.2], 10, 60000)],
}

MODEL: dict[str, Any] = {
    "CLASS_NAMES": CLASSES,
    "DATA_CONFIG": {
        "_BASE_CONFIG_": "cfgs/dataset_configs/nuscenes_dataset.yaml",
        "POINT_CLOUD_RANGE": RANGE,
        "DATA_PROCESSOR": [MASK, SHUFFLE, voxels([0.2, 0.2, 8.0], 20, 30000)],
    },
    "MODEL": {
        "NAME": "PointPillar",
        "VFE": {
            "NAME": "PillarVFE",
            "WITH_DISTANCE": False,
            "USE_ABSLOTE_XYZ": True,
            "USE_NORM": True,
            "NUM_FILTERS": [64],
        },
        "MAP_TO_BEV": {"NAME": "PointPillarScatter", "NUM_BEV_FEATURES": 64},
        "BACKBONE_2D": {
            "NAME": "BaseBEVBackbone",
            "LAYER_NUMS": [3, 5, 5],
            "LAYER_STRIDES": [2, 2, 2],
            "NUM_FILTERS": [64, 128, 256],
            "UPSAMPLE_STRIDES": [0.5, 1, 2],
            "NUM_UPSAMPLE_FILTERS": [128, 128, 128],
        },
        "DENSE_HEAD": {
            "NAME": "AnchorHeadMulti",
            "CLASS_AGNOSTIC": False,
            "DIR_OFFSET": 0.78539,
            "DIR_LIMIT_OFFSET": 0.0,
            "NUM_DIR_BINS": 2,
            "USE_MULTIHEAD": True,
            "SEPARATE_MULTIHEAD": True,
            "ANCHOR_GENERATOR_CONFIG": [
                {
                    "class_name": name,
                    "anchor_sizes": [size],
                    "anchor_rotations": [0, 1.57],
                    "anchor_bottom_heights": [bottom],
                    "align_center": False,
                    "feature_map_stride": 4,
                    "matched_threshold": matched,
                    "unmatched_threshold": unmatched,
                }
                for name, (size, bottom, matched, unmatched) in ANCHORS.items()
            ],
            "SHARED_CONV_NUM_FILTER": 64,
            "RPN_HEAD_CFGS": [{"HEAD_CLS_NAME": names} for names in HEADS],
            "SEPARATE_REG_CONFIG": {
                "NUM_MIDDLE_CONV": 1,
                "NUM_MIDDLE_FILTER": 64,
                "REG_LIST": ["reg:2", "height:1", "size:3", "angle:2", "velo:2"],
            },
            "TARGET_ASSIGNER_CONFIG": {
                "NAME": "AxisAlignedTargetAssigner",
                "POS_FRACTION": -1.0,
                "SAMPLE_SIZE": 512,
                "NORM_BY_NUM_EXAMPLES": False,
                "MATCH_HEIGHT": False,
                "BOX_CODER": "ResidualCoder",
                "BOX_CODER_CONFIG": {"code_size": 9, "encode_angle_by_sincos": True},
            },
            "LOSS_CONFIG": {
                "REG_LOSS_TYPE": "WeightedL1Loss",
                "LOSS_WEIGHTS": {
                    "pos_cls_weight": 1.0,
                    "neg_cls_weight": 2.0,
                    "cls_weight": 1.0,
                    "loc_weight": 0.25,
                    "dir_weight": 0.2,
                    "code_weights": [1.0] * 8 + [0.2] * 2,
                },
            },
        },
        "POST_PROCESSING": {
            "RECALL_THRESH_LIST": [0.3, 0.5, 0.7],
            "SCORE_THRESH": 0.1,
            "OUTPUT_RAW_SCORE": False,
            "EVAL_METRIC": "kitti",
            "NMS_CONFIG": {
                "MULTI_CLASSES_NMS": True,
                "NMS_TYPE": "nms_gpu",
                "NMS_THRESH": 0.2,
                "NMS_PRE_MAXSIZE": 1000,
                "NMS_POST_MAXSIZE": 83,
            },
        },
    },
    "OPTIMIZATION": {
        "BATCH_SIZE_PER_GPU": 4,
        "NUM_EPOCHS": 20,
        "OPTIMIZER": "adam_onecycle",
        "LR": 0.001,
        "WEIGHT_DECAY": 0.01,
        "MOMENTUM": 0.9,
        "MOMS": [0.95, 0.85],
        "PCT_START": 0.4,
        "DIV_FACTOR": 10,
        "DECAY_STEP_LIST": [35, 45],
        "LR_DECAY": 0.1,
        "LR_CLIP": 1.0e-07,
        "LR_WARMUP": False,
        "WARMUP_EPOCH": 1,
        "GRAD_NORM_CLIP": 10,
    },
}


def write_openpcdet(tools: Path, model: dict[str, Any] = MODEL, base: dict[str, Any] = BASE) -> Path:
    """The files under OpenPCDet's folder ``tools``; returns the model's."""
    path = tools / "cfgs" / "nuscenes_models" / "cbgs_pp_multihead.yaml"
    base_path = tools / "cfgs" / "dataset_configs" / "nuscenes_dataset.yaml"
    for file, tree in ((path, model), (base_path, base)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(deepcopy(tree), sort_keys=False))
    return path


def changed(tree: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of ``tree`` with one key, ``A.B.0.C``, set to another value; ``...`` takes it out."""
    tree = deepcopy(tree)
    *parents, last = (int(part) if part.isdigit() else part for part in key.split("."))
    node: Any = tree
    for parent in parents:
        node = node[parent]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return tree
