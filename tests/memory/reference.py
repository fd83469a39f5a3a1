"""XMem's stores the slow way: one record a token, plain lists, float64, straight from the paper's formulas.

Nothing here is shared with the package, and nothing is clever: a list grows when a token is added and shrinks when one
goes. Only sums over channels, or over the tokens of a list, are left to numpy, and the search for the largest to torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass
class Token:
    """A place of a past frame, or a prototype of several; with a value for each agent that it knows."""

    key: Vector
    shrinkage: float
    selection: Vector
    values: dict[int, Vector]
    usage: float = 0.0
    life: int = 0

    @property
    def usage_per_read(self) -> float:
        return self.usage / self.life if self.life > 0 else 0.0


@dataclass
class ReferenceMemory:
    """Working and long-term memory of one scene."""

    min_frames: int
    max_frames: int
    prototypes: int
    max_tokens: int
    top_k: int
    working: list[list[Token]] = field(default_factory=list)
    long_term: list[Token] = field(default_factory=list)
    consolidations: int = 0
    evictions: int = 0
    closest_choice: float = math.inf
    """How far apart in usage the last token chosen and the first one not chosen ever were, where they weren't equal."""

    def tokens(self) -> list[Token]:
        """Oldest first."""
        return self.long_term + [token for frame in self.working for token in frame]

    def read(self, keys: Vector, selections: Vector, agents: tuple[int, ...] = (0,)) -> dict[int, list[Vector | None]]:
        """For each agent what queries with keys and selections [Q, C_k] read, None if no token knows it.

        The first agent's affinities are the tokens' usage.
        """
        tokens = self.tokens()
        readout: dict[int, list[Vector | None]] = {agent: [None] * len(keys) for agent in agents}
        if not tokens:
            return readout
        similarity = frame_similarity(tokens, keys, selections)
        for agent in agents:
            knowing = [place for place, token in enumerate(tokens) if agent in token.values]
            known = torch.from_numpy(similarity[:, knowing])
            nearest = known.topk(min(self.top_k, len(knowing)), dim=1).indices.tolist() if knowing else []
            for query, ranks in enumerate(nearest):
                places = [knowing[rank] for rank in ranks]
                affinities = softmax(similarity[query, places])
                readout[agent][query] = affinities @ np.array([tokens[place].values[agent] for place in places])
                if agent == agents[0]:
                    for place, affinity in zip(places, affinities.tolist(), strict=True):
                        tokens[place].usage += affinity
        for token in tokens:
            token.life += 1
        return readout

    def write(self, frame: list[Token]) -> None:
        """Add a memory frame; when there are T_max of them, all but the latest T_min are consolidated."""
        self.working.append(frame)
        if len(self.working) < self.max_frames:
            return
        stay = self.min_frames if self.max_tokens > 0 else self.max_frames - 1
        leaving, self.working = self.working[:-stay], self.working[-stay:]
        if self.max_tokens > 0:
            self.consolidate([token for old in leaving for token in old])

    def consolidate(self, candidates: list[Token]) -> None:
        """The most used candidates become prototypes; of a store that is too full the least used go."""
        most_used = sorted(candidates, key=lambda token: token.usage_per_read, reverse=True)
        chosen = {id(token) for token in most_used[: self.prototypes]}
        fresh = potentiated([token for token in candidates if id(token) in chosen], candidates)
        too_many = max(0, len(self.long_term) + len(fresh) - self.max_tokens)
        least_used = sorted(self.long_term, key=lambda token: token.usage_per_read)
        going = {id(token) for token in least_used[:too_many]}
        self.long_term = [token for token in self.long_term if id(token) not in going] + fresh
        self.consolidations += 1
        self.evictions += too_many
        self._note_choice(most_used, self.prototypes)
        self._note_choice(least_used, too_many)

    def leave(self, agent: int) -> None:
        """Forget all values of an agent."""
        for token in self.tokens():
            token.values.pop(agent, None)

    def _note_choice(self, ordered: list[Token], chosen: int) -> None:
        if 0 < chosen < len(ordered):
            difference = abs(ordered[chosen - 1].usage_per_read - ordered[chosen].usage_per_read)
            self.closest_choice = min(self.closest_choice, difference or math.inf)


def softmax(scores: Vector) -> Vector:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def similarity(token: Token, key: Vector, selection: Vector) -> float:
    """S = − s Σ_c e_c (k_c − q_c)² / √C_k."""
    return -token.shrinkage * float(np.sum(selection * (token.key - key) ** 2)) / math.sqrt(len(key))


def frame_similarity(tokens: list[Token], keys: Vector, selections: Vector) -> Vector:
    """That of every query to every token [Q, N], with the square multiplied out: Σ e k² − 2 Σ e q k + Σ e q²."""
    token_keys = np.array([token.key for token in tokens])
    shrinkages = np.array([token.shrinkage for token in tokens])
    squares = selections @ (token_keys**2).T - 2 * (selections * keys) @ token_keys.T
    squares += np.sum(selections * keys**2, axis=1)[:, None]
    return -squares * shrinkages / math.sqrt(keys.shape[1])


def potentiated(prototypes: list[Token], candidates: list[Token]) -> list[Token]:
    """The prototypes with shrinkage and values read from all candidates, by their own keys and selections."""
    keys = np.array([prototype.key for prototype in prototypes])
    selections = np.array([prototype.selection for prototype in prototypes])
    shrinkages = np.array([token.shrinkage for token in candidates])
    agents = sorted({agent for token in candidates for agent in token.values})
    knowing = {agent: [place for place, token in enumerate(candidates) if agent in token.values] for agent in agents}
    values = {agent: np.array([candidates[place].values[agent] for place in knowing[agent]]) for agent in agents}
    fresh = []
    for prototype, scores in zip(prototypes, frame_similarity(candidates, keys, selections), strict=True):
        read = {agent: softmax(scores[knowing[agent]]) @ values[agent] for agent in prototype.values}
        fresh.append(Token(prototype.key, float(softmax(scores) @ shrinkages), prototype.selection, read))
    return fresh
