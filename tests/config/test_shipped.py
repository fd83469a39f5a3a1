"""The shipped configurations say what a reader must see of a model, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from remembev.config import Config, config_to_yaml, load_config, shipped_configs
from remembev.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SHOWN = {
    "MODEL.NAME": "the parts of the model, as OpenPCDet's files name them",
    "MODEL.VFE.NAME": "",
    "MODEL.BACKBONE_3D": "",
    "MODEL.BACKBONE_2D.NAME": "",
    "MODEL.MEMORY.NAME": "",
    "MODEL.DENSE_HEAD.NAME": "",
    "MODEL.VFE.NUM_FILTERS": "the sizes that models differ in",
    "MODEL.MEMORY.STRIDE": "",
    "MODEL.MEMORY.FEATURE_DIM": "",
    "MODEL.MEMORY.KEY_DIM": "",
    "MODEL.MEMORY.VALUE_DIM": "",
    "MODEL.MEMORY.HIDDEN_DIM": "",
    "MODEL.MEMORY.TOP_K": "",
    "MODEL.MEMORY.WORKING.MIN_FRAMES": "",
    "MODEL.MEMORY.WORKING.MAX_FRAMES": "",
    "MODEL.DENSE_HEAD.SHARED_CONV_NUM_FILTER": "",
    "MODEL.DENSE_HEAD.SEPARATE_REG_CONFIG.NUM_MIDDLE_FILTER": "",
    "MODEL.POST_PROCESSING.SCORE_THRESH": "which boxes a model gives",
    "MODEL.POST_PROCESSING.NMS_CONFIG.NMS_THRESH": "",
}
"""Keys that a file may state although they are the default, and why; an empty reason is that of the key before."""
DEFAULTS = {
    "DATA_CONFIG.DATASET": "NuScenesSeqDataset",
    "DATA_CONFIG.DATA_SPLIT": {"train": "train", "test": "val"},
    "DATA_CONFIG.SEQ_LEN": 4,
    "DATA_CONFIG.STRIDE": 1,
    "DATA_CONFIG.ALIGNMENT": "implicit",
    "DATA_CONFIG.AGENT_SLOTS": 1,
    "DATA_CONFIG.DATA_PROCESSOR.MAX_POINTS_PER_VOXEL": 20,
    "MODEL.VFE.WITH_DISTANCE": False,
    "MODEL.VFE.USE_ABSLOTE_XYZ": True,
    "MODEL.MEMORY.MEM_EVERY": 1,
    "MODEL.MEMORY.DEEP_UPDATE_EVERY": None,
    "MODEL.MEMORY.LONG_TERM.CHOOSE": "usage",
    "MODEL.MEMORY.TEACHER_FORCING": {"START": 0.5, "END": 0.5, "DURING": [0.0, 1.0]},
    "MODEL.MEMORY.GATE_BIAS": 3.0,
    "MODEL.DENSE_HEAD.SEPARATE_REG_CONFIG.NUM_MIDDLE_CONV": 1,
    "MODEL.DENSE_HEAD.SEPARATE_REG_CONFIG.REG_LIST": ["reg:2", "height:1", "size:3", "angle:2", "velo:2"],
    "MODEL.DENSE_HEAD.DIR_OFFSET": 0.78539,
    "MODEL.DENSE_HEAD.DIR_LIMIT_OFFSET": 0.0,
    "MODEL.DENSE_HEAD.NUM_DIR_BINS": 2,
    "MODEL.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG.0.anchor_rotations": [0.0, 1.57],
    "MODEL.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG.0.align_center": False,
    "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.MIN_POINTS_IN_GT": 1,
    "MODEL.DENSE_HEAD.LOSS_CONFIG.LOSS_WEIGHTS.pos_cls_weight": 1.0,
    "MODEL.DENSE_HEAD.LOSS_CONFIG.LOSS_WEIGHTS.neg_cls_weight": 2.0,
    "MODEL.DENSE_HEAD.LOSS_CONFIG.LOSS_WEIGHTS.cls_weight": 1.0,
    "MODEL.DENSE_HEAD.LOSS_CONFIG.LOSS_WEIGHTS.loc_weight": 0.25,
    "MODEL.DENSE_HEAD.LOSS_CONFIG.LOSS_WEIGHTS.code_weights": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2],
    "MODEL.POST_PROCESSING.NMS_CONFIG.NMS_PRE_MAXSIZE": 1000,
    "MODEL.POST_PROCESSING.NMS_CONFIG.NMS_POST_MAXSIZE": 83,
    "OPTIMIZATION.WEIGHT_DECAY": 0.01,
    "OPTIMIZATION.MOMS": [0.95, 0.85],
    "OPTIMIZATION.PCT_START": 0.4,
    "OPTIMIZATION.DIV_FACTOR": 10.0,
    "OPTIMIZATION.GRAD_NORM_CLIP": 10.0,
    "OPTIMIZATION.SAVE_EVERY": "600 s",
    "STREAMING": {"MAX_GAP": "3 s", "MAX_SPEED": "50 m/s", "MAX_TURN_RATE": "3 rad/s", "ON_BREAK": "reset"},
}
"""What all shipped models have of the schema's defaults: a default that changes would change them."""
OF_NUSCENES = {
    "MODEL.DENSE_HEAD.LOSS_CONFIG.LOSS_WEIGHTS.dir_weight": 0.2,
    "DATA_CONFIG.DATA_PATH": "data/nuscenes",
    "DATA_CONFIG.VERSION": "v1.0-trainval",
    "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING.LIMIT_WHOLE_SCENE": True,
    "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING.REMOVE_EXTRA_WIDTH": [0.0, 0.0, 0.0],
    "DATA_CONFIG.DATA_PROCESSOR.MAX_NUMBER_OF_VOXELS": 30000,
    "OPTIMIZATION.BATCH_SIZE_PER_GPU": 1,
    "OPTIMIZATION.NUM_EPOCHS": 20,
    "OPTIMIZATION.NUM_WORKERS": 4,
    "OPTIMIZATION.LR": 0.001,
    "OPTIMIZATION.PRECISION": "auto",
}
OF_TINY = {
    "DATA_CONFIG.NUM_SWEEPS": 0,
    "OPTIMIZATION.BATCH_SIZE_PER_GPU": 1,
    "OPTIMIZATION.LR": 0.001,
    "OPTIMIZATION.EMA": None,
    "OPTIMIZATION.PRECISION": "auto",
}
"""And what each of the two that stand alone has of them by itself."""

Path_ = tuple[str | int, ...]


def leaves(tree: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Paths of the values of a tree; a list of values is a value."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list) and tree and isinstance(tree[0], dict):
        for place, value in enumerate(tree):
            yield from leaves(value, (*path, place))
    else:
        yield path


def at(tree: Any, path: Path_) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def loaded(tree: Any, folder: Path) -> Config | None:
    """The configuration of a tree; None if it is not valid."""
    file = folder / "changed.yaml"
    file.write_text(yaml.safe_dump(tree))
    try:
        return load_config(file)
    except ConfigError:
        return None


@pytest.mark.parametrize("name", shipped_configs())
def test_no_key_of_a_shipped_file_repeats_what_holds_without_it(name: str, tmp_path: Path) -> None:
    text, cfg = (CONFIGS / f"{name}.yaml").read_text(), load_config(name)
    repeated = []
    for path in leaves(yaml.safe_load(text)):
        tree = yaml.safe_load(text)
        del at(tree, path[:-1])[path[-1]]
        if loaded(tree, tmp_path) == cfg:
            repeated.append(".".join(map(str, path)))
    assert [key for key in repeated if key not in SHOWN] == []


@pytest.mark.parametrize(("name", "own"), [("nuscenes", OF_NUSCENES), ("tiny", OF_TINY)])
def test_what_a_shipped_file_leaves_out_has_the_value_that_it_was_trained_with(
    name: str, own: dict[str, object]
) -> None:
    tree = yaml.safe_load(config_to_yaml(load_config(name)))
    for key, value in {**DEFAULTS, **own}.items():
        assert at(tree, tuple(int(part) if part.isdigit() else part for part in key.split("."))) == value, key


def test_the_benchmark_is_the_full_detector_and_its_recipe_on_simulated_data_for_other_sensors() -> None:
    changes = ["DATA_PATH=data/benchmark", "VERSION=v1.0-sim", "DATA_AUGMENTOR.SENSOR_AUGMENTATION={}"]
    batches = ["BATCH_SIZE_PER_GPU=4", "NUM_WORKERS=8"]
    wanted = [*(f"DATA_CONFIG.{change}" for change in changes), *(f"OPTIMIZATION.{change}" for change in batches)]
    assert load_config("benchmark") == load_config("nuscenes", wanted)


def test_all_but_nuscenes_are_trained_for_other_sensors() -> None:
    augmented = {name for name in shipped_configs() if load_config(name).DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION}
    assert augmented == {"tiny", "small", "benchmark"}


def test_no_pillar_of_ten_sweeps_is_one_too_many_for_the_small_models() -> None:
    data = load_config("small").DATA_CONFIG
    assert data.DATA_PROCESSOR.MAX_NUMBER_OF_VOXELS >= data.pillar_grid.height * data.pillar_grid.width
