"""Operations and bytes of a stage: counted as one can by hand."""

from __future__ import annotations

import torch

from remembev.bench import Work, count_work
from remembev.ops import stage


class Rates:
    bandwidth = 100.0

    def peak(self, dtype: torch.dtype) -> float:
        return {torch.float32: 10.0, torch.bfloat16: 20.0}[dtype]


def test_a_product_has_its_operations_and_the_bytes_of_its_three_matrices() -> None:
    kept = {"a": torch.rand(4, 5)}
    weight = torch.rand(5, 6)

    def step() -> None:
        with stage("product"):
            kept["b"] = torch.relu(kept["a"] @ weight) * 2
        with stage("sum"):
            kept["c"] = kept["b"].sum(dim=0)

    def following() -> None:
        kept["c"] + 1

    work = count_work(step, following)
    assert list(work) == ["product", "sum"]
    assert work["product"] == Work(operations=2 * 4 * 5 * 6, nbytes=4 * (4 * 5 + 5 * 6 + 4 * 6))
    assert work["sum"] == Work(operations=0, nbytes=4 * (4 * 6 + 6))


def test_what_nobody_reads_later_costs_nothing() -> None:
    source = torch.rand(100)

    def step() -> None:
        with stage("copy"):
            source.clone()

    assert count_work(step, lambda: None)["copy"].nbytes == 4 * 100


def test_of_a_view_only_what_is_seen_counts() -> None:
    source = torch.rand(100, 10)

    def step() -> None:
        with stage("corner"):
            source[:3, :2].sum()

    assert count_work(step, lambda: None)["corner"].nbytes == 4 * 6


def test_the_floor_is_the_longer_of_computing_and_moving() -> None:
    assert Work(operations=30.0, nbytes=100.0).floor(Rates(), torch.float32) == 3.0
    assert Work(operations=30.0, nbytes=100.0).floor(Rates(), torch.bfloat16) == 1.5
    assert Work(operations=5.0, nbytes=100.0).floor(Rates(), torch.float32) == 1.0
