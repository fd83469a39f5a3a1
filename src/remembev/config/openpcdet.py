"""OpenPCDet's configuration files: read unchanged, checked key by key, translated to RememBEV's keys.

The sections below are OpenPCDet's. A ``Literal`` is a key of which only one value is supported; ``Any`` with a reason
is a key that is ignored, and why. Any other key is an error that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from remembev.config.base import BASE, merge_bases, read_mapping
from remembev.config.load import load_config, validate_config
from remembev.config.schema import Config, Interval, NoBackbone3D, Section, ShuffleConfig
from remembev.config.validation import explain
from remembev.errors import ConfigError


def load_openpcdet_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Load the configuration in an OpenPCDet file.

    Keys that OpenPCDet doesn't have (clips, memory, streaming) are those of the shipped ``nuscenes``.

    Args:
        path: OpenPCDet's YAML file, where its base files are found.
        overrides: New values as ``SECTION.KEY=value``, in RememBEV's keys.

    Raises:
        ConfigError: Naming every key that is unknown or has an unsupported value.
    """
    tree = read_openpcdet_yaml(Path(path))
    try:
        file = _File.model_validate(tree)
    except ValidationError as error:
        lines = explain(error, _File, unknown="not supported")
        raise ConfigError("\n".join(f"{path}: {line}" for line in lines)) from error
    return validate_config(_translate(file), str(path), overrides)


def read_openpcdet_yaml(path: Path) -> dict[str, Any]:
    """Read the keys of an OpenPCDet file and its base files, merged by OpenPCDet's rules.

    Sections are merged key by key, lists are replaced; a base has no base of its own.
    """
    return merge_bases(read_mapping(path), path, _read_base)


def _read_base(name: str, path: Path) -> dict[str, Any]:
    base_path = _find_base(name, path)
    base = read_mapping(base_path)
    if BASE in base:
        raise ConfigError(f"{path}: its base {base_path} has a {BASE} of its own, which OpenPCDet does not resolve")
    return base


def _find_base(name: str, path: Path) -> Path:
    """Find a base file. Its name is relative to OpenPCDet's folder ``tools``, which the configuration may lie in."""
    folders = [*path.resolve().parents, Path.cwd()]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    searched = ", ".join(str(folder) for folder in folders)
    raise ConfigError(f"{path}: {BASE} {name} not found in {searched}; run from OpenPCDet's tools/ folder")


# ---------------------------------------------------------------------------------------------------- OpenPCDet's keys

OnlyEvaluation = Annotated[Any, "only read by OpenPCDet's evaluation; the nuScenes devkit scores here"]
OwnFiles = Annotated[
    Any, "files that OpenPCDet derives from the data set; replaced by the index and the track database"
]
OtherOptimizers = Annotated[Any, "not read by adam_onecycle"]
NoSampling = Annotated[Any, "only read with POS_FRACTION ≥ 0"]
NoEffect = Annotated[Any, "has no effect on a multi-head model"]


def _steps(*order: str) -> BeforeValidator:
    """Key a list of steps by their NAMEs, where known ones occur once each and in this order."""

    def by_name(steps: object) -> object:
        if not isinstance(steps, list) or not all(isinstance(step, dict) and "NAME" in step for step in steps):
            raise ValueError("expected a list of steps with a NAME each")
        names = [step["NAME"] for step in steps]
        known = [order.index(name) for name in names if name in order]
        if len(set(names)) != len(names) or known != sorted(known):
            raise ValueError(f"steps {names}: supported once each, in the order {list(order)}")
        return {step["NAME"]: {key: value for key, value in step.items() if key != "NAME"} for step in steps}

    return BeforeValidator(by_name)


def _by_class(entries: object) -> object:
    """Return OpenPCDet's list of ``class:count`` as a dictionary."""
    if not isinstance(entries, list) or not all(isinstance(entry, str) and entry.count(":") == 1 for entry in entries):
        raise ValueError("expected a list such as ['car:2', 'bus:4']")
    return dict(entry.split(":") for entry in entries)


def _symmetric(value: object) -> object:
    """Expand OpenPCDet's short form of an interval around 0."""
    return [-value, value] if isinstance(value, int | float) else value


_Counts = Annotated[dict[str, int], BeforeValidator(_by_class)]


class _PerMode(Section):
    train: int
    test: int

    @model_validator(mode="after")
    def _one_number(self) -> _PerMode:
        if self.train != self.test:
            raise ValueError(f"{self.train} in training but {self.test} in testing; only one value is supported")
        return self


class _Prepare(Section):
    filter_by_min_points: _Counts = Field(default_factory=dict)


class _GTSampling(Section):
    DB_INFO_PATH: OwnFiles = None
    USE_SHARED_MEMORY: OwnFiles = None
    PREPARE: _Prepare = _Prepare()
    SAMPLE_GROUPS: _Counts
    NUM_POINT_FEATURES: Literal[5] = 5
    DATABASE_WITH_FAKELIDAR: Literal[False] = False
    USE_ROAD_PLANE: Literal[False] = False
    REMOVE_EXTRA_WIDTH: tuple[float, float, float]
    LIMIT_WHOLE_SCENE: bool = False


class _Flip(Section):
    ALONG_AXIS_LIST: tuple[Literal["x", "y"], ...]


class _Rotation(Section):
    WORLD_ROT_ANGLE: Annotated[Interval, BeforeValidator(_symmetric)]


class _Scaling(Section):
    WORLD_SCALE_RANGE: Interval


class _Augmentations(Section):
    gt_sampling: _GTSampling | None = None
    random_world_flip: _Flip = _Flip(ALONG_AXIS_LIST=())
    random_world_rotation: _Rotation = _Rotation(WORLD_ROT_ANGLE=(0.0, 0.0))
    random_world_scaling: _Scaling = _Scaling(WORLD_SCALE_RANGE=(1.0, 1.0))


class _Augmentor(Section):
    DISABLE_AUG_LIST: tuple[str, ...] = ()
    AUG_CONFIG_LIST: Annotated[_Augmentations, _steps(*_Augmentations.model_fields)]

    @model_validator(mode="before")
    @classmethod
    def _without_disabled(cls, tree: Any) -> Any:
        """Drop disabled steps, which OpenPCDet ignores; its first files have the list alone."""
        tree = {"AUG_CONFIG_LIST": tree} if isinstance(tree, list) else tree
        if not isinstance(tree, dict) or not isinstance(tree.get("AUG_CONFIG_LIST"), list):
            return tree
        disabled = tree.get("DISABLE_AUG_LIST") or ()
        enabled = [
            step for step in tree["AUG_CONFIG_LIST"] if not (isinstance(step, dict) and step.get("NAME") in disabled)
        ]
        return {**tree, "AUG_CONFIG_LIST": enabled}


class _MaskOutside(Section):
    REMOVE_OUTSIDE_BOXES: Literal[True]
    USE_CENTER_TO_FILTER: Literal[True] = True


class _Shuffle(Section):
    SHUFFLE_ENABLED: ShuffleConfig


class _Voxels(Section):
    VOXEL_SIZE: tuple[float, float, float]
    MAX_POINTS_PER_VOXEL: int
    MAX_NUMBER_OF_VOXELS: _PerMode


class _Processor(Section):
    mask_points_and_boxes_outside_range: _MaskOutside
    shuffle_points: _Shuffle = _Shuffle(SHUFFLE_ENABLED=ShuffleConfig())
    transform_points_to_voxels: _Voxels


_Features = tuple[Literal["x"], Literal["y"], Literal["z"], Literal["intensity"], Literal["timestamp"]]


class _Encoding(Section):
    encoding_type: Literal["absolute_coordinates_encoding"]
    used_feature_list: _Features
    src_feature_list: _Features


class _Split(Section):
    train: str
    test: str


class _Data(Section):
    DATASET: Literal["NuScenesDataset"]
    DATA_PATH: str
    VERSION: str
    MAX_SWEEPS: Annotated[int, Field(ge=1)]
    PRED_VELOCITY: Literal[True]
    SET_NAN_VELOCITY_TO_ZEROS: Literal[True] = True
    FILTER_MIN_POINTS_IN_GT: Annotated[int, Field(ge=0)] = 0
    DATA_SPLIT: _Split
    INFO_PATH: OwnFiles = None
    POINT_CLOUD_RANGE: tuple[float, float, float, float, float, float]
    BALANCED_RESAMPLING: bool = False
    DATA_AUGMENTOR: _Augmentor
    POINT_FEATURE_ENCODING: _Encoding
    DATA_PROCESSOR: Annotated[_Processor, _steps(*_Processor.model_fields)]


class _VFE(Section):
    NAME: Literal["PillarVFE"]
    WITH_DISTANCE: bool
    USE_ABSLOTE_XYZ: bool
    USE_NORM: Literal[True]
    NUM_FILTERS: Annotated[tuple[int, ...], Field(min_length=1)]


class _Scatter(Section):
    NAME: Literal["PointPillarScatter"]
    NUM_BEV_FEATURES: int


class _Backbone(Section):
    NAME: Literal["BaseBEVBackbone"]
    LAYER_NUMS: tuple[int, ...]
    LAYER_STRIDES: tuple[int, ...]
    NUM_FILTERS: tuple[int, ...]
    UPSAMPLE_STRIDES: tuple[float, ...]
    NUM_UPSAMPLE_FILTERS: tuple[int, ...]
    USE_CONV_FOR_NO_STRIDE: Literal[False] = False


class _Anchors(Section):
    class_name: str
    anchor_sizes: tuple[tuple[float, float, float], ...]
    anchor_rotations: tuple[float, ...]
    anchor_bottom_heights: tuple[float, ...]
    align_center: bool = False
    feature_map_stride: int
    matched_threshold: float
    unmatched_threshold: float


class _Head(Section):
    HEAD_CLS_NAME: tuple[str, ...]


class _SeparateReg(Section):
    NUM_MIDDLE_CONV: int
    NUM_MIDDLE_FILTER: int
    REG_LIST: tuple[str, ...]


class _CoderConfig(Section):
    code_size: Literal[9]
    encode_angle_by_sincos: bool = False


class _Assigner(Section):
    NAME: Literal["AxisAlignedTargetAssigner"]
    POS_FRACTION: Annotated[float, Field(lt=0)]
    SAMPLE_SIZE: NoSampling = None
    NORM_BY_NUM_EXAMPLES: NoEffect = None
    MATCH_HEIGHT: Literal[False]
    BOX_CODER: Literal["ResidualCoder"]
    BOX_CODER_CONFIG: _CoderConfig


class _LossWeights(Section):
    pos_cls_weight: float = 1.0
    neg_cls_weight: float = 1.0
    cls_weight: float
    loc_weight: float
    dir_weight: float = 1.0
    code_weights: tuple[float, ...]


class _Loss(Section):
    REG_LOSS_TYPE: Literal["WeightedL1Loss"]
    LOSS_WEIGHTS: _LossWeights


class _DenseHead(Section):
    NAME: Literal["AnchorHeadMulti"]
    CLASS_AGNOSTIC: Literal[False]
    USE_MULTIHEAD: Literal[True]
    SEPARATE_MULTIHEAD: Literal[True]
    USE_DIRECTION_CLASSIFIER: bool = False
    DIR_OFFSET: float = 0.0
    DIR_LIMIT_OFFSET: float = 0.0
    NUM_DIR_BINS: int = 2
    ANCHOR_GENERATOR_CONFIG: tuple[_Anchors, ...]
    SHARED_CONV_NUM_FILTER: int
    RPN_HEAD_CFGS: tuple[_Head, ...]
    SEPARATE_REG_CONFIG: _SeparateReg
    TARGET_ASSIGNER_CONFIG: _Assigner
    LOSS_CONFIG: _Loss


class _NMS(Section):
    MULTI_CLASSES_NMS: Literal[True]
    NMS_TYPE: Literal["nms_gpu"]
    NMS_THRESH: float
    NMS_PRE_MAXSIZE: int
    NMS_POST_MAXSIZE: int


class _PostProcessing(Section):
    RECALL_THRESH_LIST: OnlyEvaluation = None
    EVAL_METRIC: OnlyEvaluation = None
    OUTPUT_RAW_SCORE: NoEffect = None
    SCORE_THRESH: float
    NMS_CONFIG: _NMS


class _Model(Section):
    NAME: Literal["PointPillar"]
    VFE: _VFE
    BACKBONE_3D: NoBackbone3D = None
    MAP_TO_BEV: _Scatter
    BACKBONE_2D: _Backbone
    DENSE_HEAD: _DenseHead
    POST_PROCESSING: _PostProcessing


class _Optimization(Section):
    BATCH_SIZE_PER_GPU: Annotated[int, Field(ge=1)]
    NUM_EPOCHS: int
    OPTIMIZER: Literal["adam_onecycle"]
    LR: float
    WEIGHT_DECAY: float
    MOMS: Interval
    PCT_START: float
    DIV_FACTOR: float
    GRAD_NORM_CLIP: float
    MOMENTUM: OtherOptimizers = None
    DECAY_STEP_LIST: OtherOptimizers = None
    LR_DECAY: OtherOptimizers = None
    LR_CLIP: OtherOptimizers = None
    LR_WARMUP: OtherOptimizers = None
    WARMUP_EPOCH: OtherOptimizers = None


class _File(Section):
    CLASS_NAMES: tuple[str, ...]
    DATA_CONFIG: _Data
    MODEL: _Model
    OPTIMIZATION: _Optimization

    @model_validator(mode="after")
    def _classes_in_one_order(self) -> _File:
        """OpenPCDet identifies classes by their order, not by their names."""
        head = self.MODEL.DENSE_HEAD
        orders = {
            "RPN_HEAD_CFGS": tuple(name for entry in head.RPN_HEAD_CFGS for name in entry.HEAD_CLS_NAME),
            "ANCHOR_GENERATOR_CONFIG": tuple(entry.class_name for entry in head.ANCHOR_GENERATOR_CONFIG),
        }
        for key, names in orders.items():
            if names != self.CLASS_NAMES:
                raise ValueError(
                    f"MODEL.DENSE_HEAD.{key} has the classes {', '.join(names)}; expected CLASS_NAMES in their order"
                )
        return self

    @model_validator(mode="after")
    def _maps_agree(self) -> _File:
        model = self.MODEL
        if model.MAP_TO_BEV.NUM_BEV_FEATURES != model.VFE.NUM_FILTERS[-1]:
            raise ValueError("MODEL.MAP_TO_BEV.NUM_BEV_FEATURES has to be the last of MODEL.VFE.NUM_FILTERS")
        stride = model.BACKBONE_2D.LAYER_STRIDES[0] / model.BACKBONE_2D.UPSAMPLE_STRIDES[0]
        if any(entry.feature_map_stride != stride for entry in model.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG):
            raise ValueError(f"feature_map_stride has to be {stride:g}, the stride of MODEL.BACKBONE_2D's map")
        return self


# ------------------------------------------------------------------------------------------------------- translation


def _translate(file: _File) -> dict[str, Any]:
    """Return a file's configuration in RememBEV's keys, on top of the shipped one."""
    shipped = load_config("nuscenes")
    tree = shipped.model_dump(mode="json")
    tree["CLASS_NAMES"] = list(file.CLASS_NAMES)
    tree["DATA_CONFIG"].update(_data(file))
    tree["MODEL"].update(_model(file))
    schedule = file.OPTIMIZATION.model_dump(mode="json", include=set(tree["OPTIMIZATION"]))
    pretrain = {"EPOCHS": file.OPTIMIZATION.NUM_EPOCHS, "LR": file.OPTIMIZATION.LR}
    clips = max(1, round(file.OPTIMIZATION.BATCH_SIZE_PER_GPU / shipped.DATA_CONFIG.SEQ_LEN))
    tree["OPTIMIZATION"].update(schedule, PRETRAIN=pretrain, BATCH_SIZE_PER_GPU=clips)
    return tree


def _data(file: _File) -> dict[str, Any]:
    data = file.DATA_CONFIG
    voxels = data.DATA_PROCESSOR.transform_points_to_voxels
    return {
        "DATA_PATH": str(PurePosixPath(data.DATA_PATH) / data.VERSION),
        "VERSION": data.VERSION,
        "DATA_SPLIT": data.DATA_SPLIT.model_dump(),
        "POINT_CLOUD_RANGE": list(data.POINT_CLOUD_RANGE),
        "NUM_SWEEPS": data.MAX_SWEEPS - 1,
        "BALANCED_RESAMPLING": data.BALANCED_RESAMPLING,
        "DATA_AUGMENTOR": _augmentor(data.DATA_AUGMENTOR.AUG_CONFIG_LIST, file.CLASS_NAMES),
        "DATA_PROCESSOR": {
            "VOXEL_SIZE": list(voxels.VOXEL_SIZE),
            "MAX_POINTS_PER_VOXEL": voxels.MAX_POINTS_PER_VOXEL,
            "MAX_NUMBER_OF_VOXELS": voxels.MAX_NUMBER_OF_VOXELS.train,
            "SHUFFLE_POINTS": data.DATA_PROCESSOR.shuffle_points.SHUFFLE_ENABLED.model_dump(),
        },
    }


def _augmentor(steps: _Augmentations, class_names: Sequence[str]) -> dict[str, Any]:
    def of_classes(counts: dict[str, int]) -> dict[str, int]:
        return {name: count for name, count in counts.items() if name in class_names and count > 0}

    paste = steps.gt_sampling
    return {
        "GT_SAMPLING": None
        if paste is None
        else {
            "SAMPLE_GROUPS": of_classes(paste.SAMPLE_GROUPS),
            "MIN_POINTS": of_classes(paste.PREPARE.filter_by_min_points),
            "LIMIT_WHOLE_SCENE": paste.LIMIT_WHOLE_SCENE,
            "REMOVE_EXTRA_WIDTH": list(paste.REMOVE_EXTRA_WIDTH),
        },
        "FLIP": list(steps.random_world_flip.ALONG_AXIS_LIST),
        "ROTATION": list(steps.random_world_rotation.WORLD_ROT_ANGLE),
        "SCALING": list(steps.random_world_scaling.WORLD_SCALE_RANGE),
    }


_DIRECTION_KEYS = ("USE_DIRECTION_CLASSIFIER", "DIR_OFFSET", "DIR_LIMIT_OFFSET", "NUM_DIR_BINS")


def _model(file: _File) -> dict[str, Any]:
    model, head = file.MODEL, file.MODEL.DENSE_HEAD
    weights = head.LOSS_CONFIG.LOSS_WEIGHTS.model_dump(mode="json")
    sincos = head.TARGET_ASSIGNER_CONFIG.BOX_CODER_CONFIG.encode_angle_by_sincos
    return {
        "VFE": model.VFE.model_dump(mode="json", exclude={"USE_NORM"}),
        "BACKBONE_3D": model.BACKBONE_3D,
        "BACKBONE_2D": model.BACKBONE_2D.model_dump(mode="json", exclude={"USE_CONV_FOR_NO_STRIDE"}),
        "DENSE_HEAD": {
            "NAME": head.NAME,
            "SHARED_CONV_NUM_FILTER": head.SHARED_CONV_NUM_FILTER,
            "RPN_HEAD_CFGS": [entry.model_dump(mode="json") for entry in head.RPN_HEAD_CFGS],
            "SEPARATE_REG_CONFIG": head.SEPARATE_REG_CONFIG.model_dump(mode="json"),
            "HEADING_CODE": "sincos" if sincos else "residual",
            **{key: getattr(head, key) for key in _DIRECTION_KEYS},
            "ANCHOR_GENERATOR_CONFIG": [
                entry.model_dump(mode="json", exclude={"feature_map_stride"}) for entry in head.ANCHOR_GENERATOR_CONFIG
            ],
            "TARGET_ASSIGNER_CONFIG": {"MIN_POINTS_IN_GT": file.DATA_CONFIG.FILTER_MIN_POINTS_IN_GT},
            "LOSS_CONFIG": {"REG_LOSS_TYPE": head.LOSS_CONFIG.REG_LOSS_TYPE, "LOSS_WEIGHTS": weights},
        },
        "POST_PROCESSING": {
            "SCORE_THRESH": model.POST_PROCESSING.SCORE_THRESH,
            "NMS_CONFIG": model.POST_PROCESSING.NMS_CONFIG.model_dump(
                mode="json", exclude={"MULTI_CLASSES_NMS", "NMS_TYPE"}
            ),
            "FACE_MOTION": None,
        },
    }
