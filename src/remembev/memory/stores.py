"""Reads and writes of the token store.

A store is the long-term memory, its first ``LONG_TERM.MAX_TOKENS`` places, followed by the working memory, whose
frames have equal sizes, the newest last.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from remembev.config.schema import MemoryConfig
from remembev.memory.consolidation import consolidate, insert
from remembev.memory.state import TokenStore
from remembev.memory.tracing import record_read
from remembev.ops.memory_read import Positions, Readout, read_memory


def read_store(
    store: TokenStore,
    query_key: Tensor,
    selection: Tensor,
    *,
    top_k: int,
    positions: Positions | None = None,
    age: Tensor | None = None,
    nothing: Tensor | None = None,
) -> tuple[Readout, TokenStore]:
    """Read a store and count the read in its usage and life.

    Args:
        store: The tokens.
        query_key: Keys of the queries [B, C_k, Q].
        selection: Their selection [B, C_k, Q].
        top_k: See ``read_memory``, as for the rest.
        positions: Positions of queries and tokens, if the read uses distances.
        age: Ages of the tokens, if the read uses them.
        nothing: Similarity [] to nothing, if a query may read nothing.
    """
    with torch.autocast(query_key.device.type, enabled=False):
        readout = read_memory(
            query_key,
            selection,
            store.key,
            store.shrinkage,
            store.value,
            store.has_value,
            store.valid,
            top_k=top_k,
            positions=positions,
            age=age,
            nothing=nothing,
        )
    record_read(store, readout)
    return readout, replace(store, usage=store.usage + readout.usage.detach(), life=store.life + store.valid)


def write_frame(
    store: TokenStore,
    frame: TokenStore,
    num_frames: Tensor,
    cfg: MemoryConfig,
    *,
    draw: Tensor,
    sigma: Tensor | None = None,
) -> tuple[TokenStore, Tensor]:
    """Write a frame's tokens to the working memory, from which the oldest frames leave first if it is full.

    Full means T_max − 1 frames. With a long-term memory all but T_min − 1 leave and are consolidated into it; without
    one the oldest frame is dropped.

    Args:
        store: The tokens.
        frame: Tokens of the frame.
        num_frames: Frames in the working memory [B].
        cfg: Sizes of the memories.
        draw: See ``consolidate``.
        sigma: See ``consolidate``.

    Returns:
        The store, and the frames in its working memory now [B].
    """
    long_term, working = store.slice(0, cfg.LONG_TERM.MAX_TOKENS), store.slice(cfg.LONG_TERM.MAX_TOKENS)
    full, stay = num_frames == cfg.max_frames - 1, cfg.max_frames - 2
    if cfg.LONG_TERM.MAX_TOKENS > 0:
        stay = cfg.min_frames - 1
        leaving = working.capacity - stay * frame.capacity
        if _any_or_unknown(full):
            prototypes = consolidate(working.slice(0, leaving), cfg.LONG_TERM, draw=draw, sigma=sigma)
            long_term = insert(long_term, prototypes).where(full, long_term)
        stays = torch.arange(working.capacity, device=full.device) >= leaving
        working = replace(working, valid=working.valid & (stays | ~full[:, None]))
    return long_term.cat(working.append(frame)), torch.where(full, stay, num_frames) + 1


def _any_or_unknown(flags: Tensor) -> bool:
    """Return False only if no flag is set and finding out is free: on a GPU or in a compiled program, True.

    Work that is then done in vain is discarded by ``where``.
    """
    return flags.device.type != "cpu" or torch.compiler.is_compiling() or bool(flags.any())
