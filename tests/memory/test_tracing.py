from __future__ import annotations

import pytest
import torch

from remembev.memory import trace_reads

from .small import features, planar, run_step, small_memory, stream


def test_a_trace_has_the_tokens_and_weights_of_the_read() -> None:
    memory = small_memory().eval()
    before = stream(memory, 6)[-1]
    decoded: list[torch.Tensor] = []
    memory.decode.register_forward_pre_hook(lambda _, inputs: decoded.append(inputs[1]))
    with trace_reads() as reads:
        run_step(memory, 6, features(6), state=before.state)
    (read,) = reads
    value = before.state.tokens.value[0, 0].T
    expected = (read.affinity[0, :, :, None] * value[read.token[0]]).sum(dim=1)
    torch.testing.assert_close(decoded[0][0, 0].T, expected)
    torch.testing.assert_close(read.affinity.sum(dim=2), torch.ones(1, 16))
    used = torch.zeros(before.state.tokens.capacity).scatter_add(0, read.token.flatten(), read.affinity.flatten())
    assert used.count_nonzero() > 16
    assert not used[~read.valid[0]].any()


def test_a_trace_has_positions_and_ages_at_the_time_of_the_read() -> None:
    memory = small_memory().eval()
    first = run_step(memory, 0, features(0), timestamp=torch.tensor([1.0], dtype=torch.float64))
    with trace_reads() as reads:
        run_step(
            memory,
            1,
            features(1),
            state=first.state,
            prev_from_frame=planar(3.0, 0.0),
            timestamp=torch.tensor([1.5], dtype=torch.float64),
        )
    stored, read = first.state.tokens, reads[0]
    moved = read.position[:, :2] - stored.position[:, :2]
    assert torch.equal(read.valid, stored.valid)
    torch.testing.assert_close(moved[0, :, stored.valid[0]].T, torch.tensor([[-3.0, 0.0]]).expand(16, 2).double())
    assert read.age[stored.valid].tolist() == pytest.approx([0.5] * 16)


def test_reads_are_traced_inside_the_block_only() -> None:
    memory = small_memory().eval()
    with trace_reads() as reads:
        state = run_step(memory, 0, features(0)).state
        with trace_reads() as inner:
            run_step(memory, 1, features(1), state=state)
    run_step(memory, 1, features(1), state=state)
    assert (len(reads), len(inner)) == (1, 1)
