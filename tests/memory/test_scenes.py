"""States by scene: what is kept, what is dropped first."""

from __future__ import annotations

from remembev.memory import SceneStates


def store(*scenes: str, limit: int = 2) -> SceneStates[str, int]:
    states: SceneStates[str, int] = SceneStates(limit)
    for number, scene in enumerate(scenes):
        states.put(scene, number)
    return states


def test_the_least_recently_stored_scene_is_dropped_first() -> None:
    states = store("a", "b", "a", "c")
    assert list(states) == ["a", "c"]
    assert len(states) == 2
    assert "b" not in states
    assert states.get("a") == 2
    assert states.get("b") is None


def test_getting_a_state_does_not_count_as_a_use() -> None:
    states = store("a", "b")
    assert states.get("a") == 0
    states.put("c", 2)
    assert list(states) == ["b", "c"]


def test_a_batch_larger_than_the_limit_is_kept_whole() -> None:
    states = store("a")
    states.update({"b": 1, "c": 2, "d": 3})
    assert list(states) == ["b", "c", "d"]
    states.put("e", 4)
    assert list(states) == ["d", "e"]


def test_forgetting_one_scene_leaves_the_others() -> None:
    states = store("a", "b")
    states.forget("a")
    states.forget("never stored")
    assert list(states) == ["b"]
    states.clear()
    assert len(states) == 0
