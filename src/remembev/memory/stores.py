"""What a frame does to the token store: its read is counted, its tokens are written, the oldest make room for them.

A store is the long-term memory (its first ``LONG_TERM.MAX_TOKENS`` places) and behind it the working memory, whose
frames are of equal size, the newest last.
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
) -> tuple[Readout, TokenStore]:
    """What the queries [B, C_k, Q] read, and the store with the read counted in usage and life.

    positions, age  see ``read_memory``
    """
    with torch.autocast(query_key.device.type, enabled=False):
        read = read_memory(
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
        )
    record_read(store, read)
    return read, replace(store, usage=store.usage + read.usage.detach(), life=store.life + store.valid)


def write_frame(
    store: TokenStore,
    frame: TokenStore,
    num_frames: Tensor,
    cfg: MemoryConfig,
    *,
    draw: Tensor,
    sigma: Tensor | None = None,
) -> tuple[TokenStore, Tensor]:
    """The store with a frame's tokens in its working memory, and the frames [B] that this holds now.

    Of a full working memory, T_max − 1 frames, the oldest leave before the frame is written. With a long-term memory
    they leave down to T_min − 1 and are consolidated into it; without one the oldest frame is forgotten.

    num_frames  frames in the working memory before [B]
    draw, sigma  see ``consolidate``
    """
    long_term, working = store.slice(0, cfg.LONG_TERM.MAX_TOKENS), store.slice(cfg.LONG_TERM.MAX_TOKENS)
    full, stay = num_frames == cfg.max_frames - 1, cfg.max_frames - 2
    if cfg.LONG_TERM.MAX_TOKENS > 0:
        stay = cfg.min_frames - 1
        leaving = working.capacity - stay * frame.capacity
        if _may_be(full):
            prototypes = consolidate(working.slice(0, leaving), cfg.LONG_TERM, draw=draw, sigma=sigma)
            long_term = insert(long_term, prototypes).where(full, long_term)
        stays = torch.arange(working.capacity, device=full.device) >= leaving
        working = replace(working, valid=working.valid & (stays | ~full[:, None]))
    return long_term.cat(working.append(frame)), torch.where(full, stay, num_frames) + 1


def _may_be(flags: Tensor) -> bool:
    """Whether any of the flags is set, where a look costs nothing; on a GPU and in compiled programs it may be.

    What is done for nothing then is left out by ``where``.
    """
    return flags.device.type != "cpu" or torch.compiler.is_compiling() or bool(flags.any())
