"""Measurements as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.table import Table

from remembev.bench.loader import LoaderSpeed
from remembev.bench.read import ReadBench
from remembev.bench.step import PLAIN, StepReport
from remembev.bench.stream import StreamCurve
from remembev.bench.train import StepCost

_PARTS = {"voxelise": "pillars", "vfe": "pillars", "scatter": "pillars"}
"""Stage here that includes each of these stages of OpenPCDet."""
_NEXT_TO_NOTHING = 1e-6  # seconds


def step_table(report: StepReport, title: str) -> Table:
    """Return the milliseconds of each stage by implementation, with its floor and the ratio of the two."""
    table = Table(title=title, caption=_machine(report), caption_justify="left")
    table.add_column("ms", no_wrap=True)
    ways = [way for way in report.work if way != PLAIN]
    programs = [way for way in report.times if way not in report.work]
    table.add_column(PLAIN, justify="right")
    for way in ways:
        for heading in (way, "floor", "×"):
            table.add_column(heading, justify="right")
    for way in programs:
        table.add_column(way, justify="right")
    plain = _merged(report.times[PLAIN].stages)
    stages = list(report.times[ways[0]].stages)
    for name in stages:
        cells = [f"{1e3 * plain[name]:.2f}" if name in plain else ""]
        for way in ways:
            seconds, floor = report.times[way].stages[name], report.floor(way, name)
            times = f"{seconds / floor:.1f}" if floor > _NEXT_TO_NOTHING else ""
            cells += [f"{1e3 * seconds:.2f}", f"{1e3 * floor:.2f}", times]
        table.add_row(name, *cells, end_section=name == stages[-1])
    for name, of_way in _summary(report).items():
        spaced = (cell for way in ways for cell in (of_way[way], "", ""))
        table.add_row(name, of_way[PLAIN], *spaced, *(of_way[way] for way in programs))
    return table


def _summary(report: StepReport) -> dict[str, dict[str, str]]:
    """Return the rows of the whole step, a cell per implementation."""
    steps, baseline = report.times, report.times[PLAIN].step
    return {
        "step": {way: f"{1e3 * times.step:.2f}" for way, times in steps.items()},
        "99th perc.": {way: f"{1e3 * times.slowest:.2f}" for way, times in steps.items()},
        "times as fast": {way: f"{baseline / times.step:.2f}" for way, times in steps.items()},
        "dense, % of conv.": {way: _percent(report.dense_share(way)) for way in steps},
    }


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f}"


def _merged(stages: dict[str, float]) -> dict[str, float]:
    """Sum the seconds of OpenPCDet's stages by the stage here that includes them."""
    merged: dict[str, float] = {}
    for name, seconds in stages.items():
        stage = _PARTS.get(name, name)
        merged[stage] = merged.get(stage, 0.0) + seconds
    return merged


def _machine(report: StepReport) -> str:
    rates = report.rates
    reached = [f"{rates.bandwidth / 1e9:.0f} GB/s"]
    for dtype in rates.dtypes:
        name = {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
        matmul, convolution = rates.matmul(dtype) / 1e9, rates.convolution(dtype) / 1e9
        reached.append(f"{name} {matmul:,.0f} G/s in matrix products, {convolution:,.0f} in convolutions")
    return f"reached meanwhile: {'; '.join(reached)}"


_STREAM_ROWS = {
    "wall_s": ("step, ms", 1e3),
    "cpu_s": ("CPU time of a step, ms", 1e3),
    "control_s": ("control step, ms", 1e3),
    "step_to_control": ("step over control step", 1.0),
    "tokens": ("tokens", 1.0),
}
"""Label and scale of the quantities of a stream; sizes in bytes are shown in MiB."""


def stream_table(curve: StreamCurve, title: str) -> Table:
    """Return the medians early and late in a stream."""
    early, late = curve.windows
    windows = (f"frames {early.start:,}-{early.stop:,}", f"{late.start:,}-{late.stop:,}")
    table = _table(title, "", *windows, "ratio", "within 5 %")
    for quantity, medians in curve.compare().items():
        label, scale = _STREAM_ROWS.get(quantity, (quantity.replace("_bytes", ", MiB"), 2**-20))
        values = (f"{scale * value:,.2f}" for value in (medians.early, medians.late))
        table.add_row(label, *values, f"{medians.ratio:.3f}", "yes" if medians.level else "no")
    return table


def training_table(costs: Sequence[StepCost], title: str) -> Table:
    """Return peak memory and time of a training step, a row per clip length and way to train."""
    table = _table(title, "way", "frames", "peak MiB", "s")
    for cost in costs:
        peak = "out of memory" if cost.peak_bytes is None else f"{cost.peak_bytes / 2**20:,.0f}"
        table.add_row(cost.way, str(cost.length), peak, "" if cost.seconds is None else f"{cost.seconds:.2f}")
    return table


def loader_table(speeds: Sequence[LoaderSpeed], title: str) -> Table:
    """Return frames per second by number of workers."""
    table = _table(title, "workers", "frames per second", "points per frame")
    for speed in speeds:
        table.add_row(str(speed.workers), f"{speed.frames_per_second:.1f}", f"{speed.points_per_frame:,.0f}")
    return table


def read_table(result: ReadBench) -> Table:
    """Return time and peak memory of a memory read: dense, of all tokens, and of those nearby first."""
    size, ways = result.size, (result.dense, result.kernel, result.nearby)
    title = f"a read of {size.tokens:,} tokens by {size.queries:,} queries, top {size.top_k}, on the CPU"
    table = _table(title, "", "dense", "all tokens", f"nearby first, σ = {size.distance:g} m")
    table.add_row("ms", *(f"{1e3 * way.seconds:.0f}" for way in ways))
    table.add_row("times as fast as dense", *(f"{result.dense.seconds / way.seconds:.1f}" for way in ways))
    table.add_row("peak MiB", *(f"{way.peak_bytes / 2**20:.0f}" for way in ways))
    return table


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
