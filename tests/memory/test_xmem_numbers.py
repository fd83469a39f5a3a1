"""Two objects, the second in the last tokens only, against numbers that XMem's own code gave.

They are of ``MemoryManager.match_memory`` without long-term memory and of ``MemoryManager.consolidation``, at commit
30bc6d9 of hkchengrex/XMem, in float64, for the waves below and two object groups.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from remembev.config.schema import LongTermMemoryConfig
from remembev.memory import TokenStore
from remembev.memory.consolidation import consolidate
from remembev.memory.stores import read_store

TOKENS, LATER = 24, 6
VALUES = [
    [[-0.67658849, 0.32196488, 2.44952102], [-0.95576672, -0.39090210, 0.35968325]],
    [[-0.70534777, -1.70630239, -1.66394697], [0.06581094, -2.15616474, -2.39385195]],
]
USAGE = {1: 0.63188481, 2: 0.20429148, 7: 0.48397026, 8: 0.25227403, 13: 0.57000860, 19: 0.85757082}
PROTOTYPES = {
    1: [-1.69022905, -1.14837623],
    7: [-0.88491821, -1.46487277],
    8: [1.43535661, 1.15518232],
    13: [0.99622296, -0.75513927],
    19: [1.67608158, 0.21745903],
}
"""Values of the first object by the token that became the prototype."""
SECOND_OBJECT = [-1.51557796, -2.35408076]
"""Value of the second object, which only token 19 has."""
SHRINKAGE = [1.35765093, 1.48994899, 1.35279353, 1.59039597, 1.50418806]


def wave(step: float, *shape: int) -> Tensor:
    """sin(step), sin(2 step), … as float64 of a shape."""
    return torch.sin(step * torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)).view(shape)


def two_objects() -> TokenStore:
    """Tokens of which only the last six have a value of the second object."""
    has_value = torch.ones(1, 2, TOKENS, dtype=torch.bool)
    has_value[:, 1, :-LATER] = False
    empty = TokenStore.empty(1, 2, 4, 2, TOKENS, torch.device("cpu"))
    return replace(
        empty.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor),
        key=2 * wave(1.1, 1, 4, TOKENS),
        shrinkage=wave(1.7, 1, 1, TOKENS).square() + 1,
        selection=wave(0.9, 1, 4, TOKENS).sigmoid(),
        value=3 * wave(2.3, 1, 2, 2, TOKENS) * has_value[:, :, None],
        has_value=has_value,
        valid=torch.ones(1, TOKENS, dtype=torch.bool),
    )


def read() -> tuple[Tensor, TokenStore]:
    readout, store = read_store(two_objects(), 2 * wave(0.7, 1, 4, 3), wave(1.3, 1, 4, 3).sigmoid(), top_k=4)
    return readout.value, store


def test_each_object_reads_what_xmem_reads() -> None:
    value, store = read()
    torch.testing.assert_close(value[0], torch.tensor(VALUES).double(), rtol=0, atol=1e-7)
    expected = torch.tensor([[USAGE.get(token, 0.0) for token in range(TOKENS)]]).double()
    torch.testing.assert_close(store.usage, expected, rtol=0, atol=1e-7)


def test_the_prototypes_of_two_objects_are_those_of_xmem() -> None:
    _, store = read()
    found = consolidate(store, LongTermMemoryConfig(PROTOTYPES=5), draw=torch.zeros(1, dtype=torch.int64))
    places = sorted(PROTOTYPES)
    assert torch.equal(found.key, store.key[..., places])
    expected = torch.tensor([PROTOTYPES[place] for place in places]).double().T
    torch.testing.assert_close(found.value[0, 0], expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(found.shrinkage[0, 0], torch.tensor(SHRINKAGE).double(), rtol=0, atol=1e-7)
    assert found.has_value[0].tolist() == [[True] * 5, [False] * 4 + [True]]
    torch.testing.assert_close(found.value[0, 1, :, -1], torch.tensor(SECOND_OBJECT).double(), rtol=0, atol=1e-7)
