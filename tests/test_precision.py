"""Precision: bfloat16 where a machine is fast at it, and one warning where it isn't."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch

from remembev import precision
from remembev.precision import bf16_slowdown, has_fast_bf16, resolve_precision, warn_of_slow_bf16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    precision._warn_once.cache_clear()
    bf16_slowdown.cache_clear()


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_follows_the_machine(fast: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: fast)
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_precision_that_is_asked_for_stays(name: str) -> None:
    assert resolve_precision(name, CPU) == name


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_an_x86_cpu_is_asked_for_its_instructions(
    avx512: bool, amx: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
    assert has_fast_bf16(CPU) is expected


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, True), (3.0, False)])
def test_another_cpu_is_measured(ratio: float, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(precision, "bf16_slowdown", lambda device: ratio)
    assert has_fast_bf16(CPU) is expected


def test_the_slowdown_is_measured_once() -> None:
    first = bf16_slowdown(CPU)
    assert 0 < first < 1000
    assert bf16_slowdown(CPU) == first


def test_slow_bfloat16_warns_once_with_the_figure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: False)
    monkeypatch.setattr(precision, "bf16_slowdown", lambda device: 12.04)
    with caplog.at_level(logging.WARNING):
        warn_of_slow_bf16(CPU)
        warn_of_slow_bf16(CPU)
    (record,) = caplog.records
    assert "12.0 times as long as in fp32" in record.getMessage()


def test_fast_bfloat16_does_not_warn(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: True)
    warn_of_slow_bf16(CPU)
    assert not caplog.records
