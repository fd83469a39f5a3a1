"""Loading configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from remembev.config import config_from_yaml, config_to_yaml, load_config, shipped_configs
from remembev.errors import ConfigError


@pytest.mark.parametrize("name", shipped_configs())
def test_a_shipped_configuration_is_loaded_by_name_and_by_path(name: str) -> None:
    path = Path(__file__).resolve().parents[2] / "configs" / f"{name}.yaml"
    assert load_config(name) == load_config(path)


@pytest.mark.parametrize("name", shipped_configs())
def test_a_configuration_survives_being_written_and_read(name: str) -> None:
    cfg = load_config(name)
    assert config_from_yaml(config_to_yaml(cfg), name=name) == cfg


def test_the_full_configuration_is_the_published_detector() -> None:
    cfg = load_config("nuscenes")
    assert (cfg.DATA_CONFIG.pillar_grid.height, cfg.DATA_CONFIG.pillar_grid.width) == (512, 512)
    assert (cfg.feature_grid.height, cfg.MODEL.BACKBONE_2D.num_bev_features) == (128, 384)
    assert len(cfg.MODEL.DENSE_HEAD.RPN_HEAD_CFGS) == 6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("MODEL.MEMORI.TOP_K=3", "MODEL.MEMORI: no such key; did you mean MEMORY?"),
        ("DATA_CONFIG.MAX_SWEEPS=10", "did you mean NUM_SWEEPS?"),
        ("MODEL.DENSE_HEAD.RPN_HEAD_CFGS=[{HEAD_NAME: [car]}]", "RPN_HEAD_CFGS.0.HEAD_CLS_NAME: this key is missing"),
        ("MODEL.MEMORY.TOP_K=many", "MODEL.MEMORY.TOP_K"),
        ("MODEL.MEMORY.TOP_K=0", "MODEL.MEMORY.TOP_K"),
        ("DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE=[0.3, 0.4, 8.0]", "whole number"),
        (
            "DATA_CONFIG.DATA_PROCESSOR.VOXEL_SIZE=[0.4, 0.4, 4.0]",
            "VOXEL_SIZE's z has to equal the height of POINT_CLOUD_RANGE",
        ),
        ("MODEL.MEMORY.STRIDE=7", "MEMORY.STRIDE"),
        ("CLASS_NAMES=[car]", "each class has to be in exactly one head"),
        ("OPTIMIZATION.LR", "KEY.PATH=value"),
        ("CLASS_NAMES=[car", "CLASS_NAMES=[car: the value is not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_its_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config("tiny", [override])
    assert message in str(raised.value)


def test_a_missing_file_is_named_with_the_shipped_configurations() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml.*nuscenes, .*tiny"):
        load_config("nowhere.yaml")


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("CLASS_NAMES: [car")
    with pytest.raises(ConfigError, match=r"broken\.yaml: not valid YAML"):
        load_config(broken)
