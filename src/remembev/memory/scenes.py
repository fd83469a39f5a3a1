"""Memory states by scene."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
State = TypeVar("State")


class SceneStates(Generic[Key, State]):
    """LRU store of states by scene.

    Storing a state counts as a use, looking one up doesn't. Iterating gives the keys, the least recently used first.
    """

    def __init__(self, limit: int) -> None:
        """Create an empty store.

        Args:
            limit: Scenes that are kept; beyond it the least recently used are dropped.
        """
        self.limit = limit
        self._states: OrderedDict[Key, State] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._states)

    def __contains__(self, key: object) -> bool:
        return key in self._states

    def get(self, key: Key) -> State | None:
        """Return the state of a scene, None if the store has none."""
        return self._states.get(key)

    def put(self, key: Key, state: State) -> None:
        """Store the state of a scene."""
        self.update({key: state})

    def update(self, states: Mapping[Key, State]) -> None:
        """Store the states of a batch of scenes; a batch larger than the limit is kept whole."""
        for key, state in states.items():
            self._states[key] = state
            self._states.move_to_end(key)
        while len(self._states) > max(self.limit, len(states)):
            self._states.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Drop the state of a scene, if the store has one."""
        self._states.pop(key, None)

    def clear(self) -> None:
        """Drop all states."""
        self._states.clear()
