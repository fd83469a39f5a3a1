"""Read, write, consolidation and eviction, step by step against a slow and obvious implementation of the formulas."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.random import Generator
from torch import Tensor

from remembev.config.schema import MemoryConfig
from remembev.memory import TokenStore
from remembev.memory.stores import read_store, write_frame

from .reference import ReferenceMemory, Token, frame_similarity, similarity

CHANNELS = 64


@dataclass
class Frame:
    """The tokens of one frame of a stream, in float64; their keys and selections are also its queries."""

    key: np.ndarray  # [n, C_k]
    shrinkage: np.ndarray  # [n]
    selection: np.ndarray  # [n, C_k]
    values: dict[int, np.ndarray]  # [n, C_v] an agent

    def reference(self) -> list[Token]:
        return [
            Token(self.key[i], self.shrinkage[i], self.selection[i], {a: v[i] for a, v in self.values.items()})
            for i in range(len(self.key))
        ]

    def store(self, agents: int, dtype: torch.dtype) -> TokenStore:
        count = len(self.key)
        empty = TokenStore.empty(1, agents, self.key.shape[1], CHANNELS, count, torch.device("cpu"))
        value, has_value = torch.zeros(1, agents, CHANNELS, count), torch.zeros(1, agents, count, dtype=torch.bool)
        value = value.to(dtype)
        for agent, values in self.values.items():
            value[0, agent], has_value[0, agent] = torch.from_numpy(values.T), True
        return replace(
            in_precision(empty, dtype),
            key=torch.from_numpy(self.key.T)[None].to(dtype),
            shrinkage=torch.from_numpy(self.shrinkage)[None, None].to(dtype),
            selection=torch.from_numpy(self.selection.T)[None].to(dtype),
            value=value,
            has_value=has_value,
            valid=torch.ones(1, count, dtype=torch.bool),
        )


class Stream:
    """Frames that see the same places again: keys scatter around those of the places, all else is random."""

    def __init__(self, tokens: int, seed: int) -> None:
        self.random: Generator = np.random.default_rng(seed)
        self.places = self.random.normal(scale=1.5, size=(tokens // 4, CHANNELS))

    def frame(self, agents: tuple[int, ...] = (0,)) -> Frame:
        shape = (4 * len(self.places), CHANNELS)
        place = self.random.permutation(shape[0]) // 4
        return Frame(
            key=self.places[place] + self.random.normal(scale=0.2, size=shape),
            shrinkage=self.random.normal(size=shape[0]) ** 2 + 1,
            selection=1 / (1 + np.exp(-self.random.normal(size=shape))),
            values={agent: self.random.normal(size=shape) for agent in agents},
        )


@dataclass
class Ours:
    """The package's stores, driven without the networks."""

    cfg: MemoryConfig
    store: TokenStore
    frames_held: Tensor
    frames: int = 0

    @classmethod
    def empty(cls, cfg: MemoryConfig, tokens: int, dtype: torch.dtype, agents: int = 1) -> Ours:
        capacity = cfg.LONG_TERM.MAX_TOKENS + (cfg.max_frames - 1) * tokens
        store = TokenStore.empty(1, agents, CHANNELS, CHANNELS, capacity, torch.device("cpu"))
        return cls(cfg, in_precision(store, dtype), torch.zeros(1, dtype=torch.int64))

    def step(self, frame: Frame) -> Tensor:
        """Read, forget the agents that are gone, write; what was read [A, Q, C_v], NaN where there was nothing."""
        agents = self.store.value.shape[1]
        tokens = frame.store(agents, self.store.key.dtype)
        read, store = read_store(self.store, tokens.key, tokens.selection, top_k=self.cfg.TOP_K)
        store = store.keep_agents(torch.tensor([[agent in frame.values for agent in range(agents)]]))
        self.store, self.frames_held = write_frame(
            store, tokens, self.frames_held, self.cfg, draw=torch.tensor([self.frames])
        )
        self.frames += 1
        return torch.where(read.nothing[:, :, None] < 1, read.value, torch.nan)[0].transpose(1, 2)


def in_precision(store: TokenStore, dtype: torch.dtype) -> TokenStore:
    return store.map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)


def memories(side: int, **changes: int) -> tuple[MemoryConfig, ReferenceMemory]:
    """T_min 1, T_max 3, and room for eight consolidations: full after 17 frames."""
    sizes = {"prototypes": 2 * side, "max_tokens": 16 * side, "top_k": 30, **changes}
    cfg = MemoryConfig.model_validate(
        {
            "TOP_K": sizes["top_k"],
            "WORKING": {"MIN_FRAMES": 1, "MAX_FRAMES": 3},
            "LONG_TERM": {"MAX_TOKENS": sizes["max_tokens"], "PROTOTYPES": sizes["prototypes"]},
        }
    )
    return cfg, ReferenceMemory(min_frames=1, max_frames=3, **sizes)


def as_tensors(memory: ReferenceMemory, agents: int = 1) -> dict[str, Tensor]:
    """All that the tokens of a reference hold, named and shaped as in a store [..., N]."""
    tokens, nothing = memory.tokens(), np.zeros(CHANNELS)
    arrays = {
        "usage": np.array([token.usage for token in tokens]),
        "life": np.array([float(token.life) for token in tokens]),
        "shrinkage": np.array([[token.shrinkage for token in tokens]]),
        "key": np.array([token.key for token in tokens]).T,
        "selection": np.array([token.selection for token in tokens]).T,
        "value": np.array([[token.values.get(a, nothing) for token in tokens] for a in range(agents)]).swapaxes(1, 2),
        "has_value": np.array([[a in token.values for token in tokens] for a in range(agents)]),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def assert_equal(ours: Ours, memory: ReferenceMemory, expected: dict[str, Tensor], tolerance: float) -> None:
    """Sizes, usage, life and all that the tokens hold are the same, in the same order."""
    split = ours.cfg.LONG_TERM.MAX_TOKENS
    assert ours.store.slice(0, split).count().item() == len(memory.long_term)
    assert ours.store.slice(split).count().item() == sum(map(len, memory.working))
    for name, tensor in expected.items():
        found = getattr(ours.store, name)[0][..., ours.store.valid[0]]
        torch.testing.assert_close(found.to(tensor.dtype), tensor, rtol=tolerance, atol=tolerance, msg=name)


def readout_of(read: dict[int, list[np.ndarray | None]]) -> Tensor:
    """What was read as [A, Q, C_v], NaN where there was nothing."""
    nothing = np.full(CHANNELS, np.nan)
    return torch.from_numpy(np.array([[nothing if one is None else one for one in of] for of in read.values()]))


@pytest.mark.parametrize(
    ("side", "precisions"), [(8, {torch.float32: 1e-4, torch.float64: 1e-9}), (20, {torch.float32: 1e-4})]
)
def test_a_stream_of_60_frames_equals_the_reference_at_every_step(
    side: int, precisions: dict[torch.dtype, float]
) -> None:
    cfg, reference = memories(side)
    stores = {dtype: Ours.empty(cfg, side * side, dtype) for dtype in precisions}
    stream = Stream(side * side, seed=5)
    for _ in range(60):
        frame = stream.frame()
        readout = readout_of(reference.read(frame.key, frame.selection))
        reference.write(frame.reference())
        expected = as_tensors(reference)
        for dtype, tolerance in precisions.items():
            found = stores[dtype].step(frame).double()
            torch.testing.assert_close(found, readout, rtol=0, atol=tolerance, equal_nan=True)
            assert_equal(stores[dtype], reference, expected, tolerance)
    assert reference.consolidations == 29
    assert reference.evictions == 21 * cfg.LONG_TERM.PROTOTYPES
    assert reference.closest_choice > 1e-5, "with this seed, what is kept hangs on the last bits of float32"


def test_agents_that_come_and_go_equal_the_reference_at_every_step() -> None:
    present = [(0,)] * 5 + [(0, 1)] * 9 + [(0, 1, 2)] * 6 + [(0, 2)] * 8 + [(0, 1)] * 4
    cfg, reference = memories(4, top_k=12)
    ours, stream = Ours.empty(cfg, 16, torch.float64, agents=3), Stream(16, seed=1)
    for agents in present:
        frame = stream.frame(agents)
        readout = readout_of(reference.read(frame.key, frame.selection, (0, 1, 2)))
        for agent in {0, 1, 2} - set(agents):
            reference.leave(agent)
        reference.write(frame.reference())
        found = ours.step(frame)
        torch.testing.assert_close(found, readout, rtol=0, atol=1e-9, equal_nan=True)
        assert_equal(ours, reference, as_tensors(reference, agents=3), 1e-9)
    assert reference.evictions > 0


def test_the_reference_expands_the_square_correctly() -> None:
    frame = Stream(8, seed=0).frame()
    tokens = frame.reference()
    expected = [
        [similarity(token, *query) for token in tokens] for query in zip(frame.key, frame.selection, strict=True)
    ]
    np.testing.assert_allclose(frame_similarity(tokens, frame.key, frame.selection), expected, rtol=1e-9, atol=1e-9)
