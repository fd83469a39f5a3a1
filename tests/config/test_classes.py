"""Every key that names classes takes nuScenes' ten alone."""

from __future__ import annotations

import pytest

from remembev.config import load_config
from remembev.errors import ConfigError

MISSPELT = {
    "CLASS_NAMES": ["car", "pedestrain"],
    "DATA_CONFIG.DATA_AUGMENTOR.GT_SAMPLING": {"SAMPLE_GROUPS": {"pedestrain": 3}},
    "OPTIMIZATION.PRETRAIN.GT_SAMPLING": {"SAMPLE_GROUPS": {"car": 3}, "MIN_POINTS": {"pedestrain": 3}},
    "MODEL.MEMORY.OBJECTS": {"CLASS_MOTION": {"pedestrain": {}}},
    "TRACKING.CLASS_MOTION": {"pedestrain": {}},
}


@pytest.mark.parametrize("key", MISSPELT)
def test_a_misspelt_class_is_an_error_that_names_key_and_class(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}.*'pedestrain' is not a class of nuScenes: did you mean pedestrian"):
        load_config("small").with_changes({key: MISSPELT[key]})


@pytest.mark.parametrize("section", ["DENSE_HEAD.RPN_HEAD_CFGS", "DENSE_HEAD.ANCHOR_GENERATOR_CONFIG"])
def test_so_is_one_of_a_head_or_an_anchor(section: str) -> None:
    cfg = load_config("small")
    entries = [entry.model_dump() for entry in getattr(cfg.MODEL.DENSE_HEAD, section.split(".")[1])]
    key = "HEAD_CLS_NAME" if "RPN" in section else "class_name"
    entries[0][key] = ["dog"] if key == "HEAD_CLS_NAME" else "dog"
    with pytest.raises(ConfigError, match=rf"{section}\.0\.{key}.*'dog' is not a class of nuScenes: there are car"):
        cfg.with_changes({f"MODEL.{section}": entries})
