from __future__ import annotations

from importlib import import_module

import pytest

FORMER = {
    "remembev.geometry": {"nms_bev", "pick_best_first"},
    "remembev.memory": {"SceneMemories", "WatchedRead", "watch_reads"},
    "remembev.models": {"start_from"},
    "remembev.streaming": {"Seen"},
    "remembev.training": {"start_of"},
    "remembev.viewing": {"Watcher", "watch_keyframe", "watch_scene"},
}


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package, names in FORMER.items() for name in sorted(names)]
)
def test_a_former_name_gives_the_present_object_and_names_it(package: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"{package}\.{name} is deprecated: use remembev\.") as warned:
        former = getattr(import_module(package), name)
    module, _, present = str(warned[0].message).rpartition(" use ")[2].rpartition(".")
    assert former is getattr(import_module(module), present)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'remembev\.memory' has no attribute 'nothing'"):
        import_module("remembev.memory").nothing  # noqa: B018
