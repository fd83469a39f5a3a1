"""The comparison of steps as a table."""

from __future__ import annotations

import torch
from rich.table import Table

from remembev.bench.step import PLAIN, StepReport

_PARTS = {"voxelise": "pillars", "vfe": "pillars", "scatter": "pillars"}
"""What of OpenPCDet's stages another stage does in one pass."""
_NEXT_TO_NOTHING = 1e-6  # seconds


def step_table(report: StepReport, title: str) -> Table:
    """Milliseconds of each stage in each way, with the floor and how many times that it is."""
    table = Table(title=title, caption=_machine(report), caption_justify="left")
    table.add_column("ms", no_wrap=True)
    ways = [way for way, times in report.times.items() if way != PLAIN and times.stages]
    programs = [way for way, times in report.times.items() if not times.stages]
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
    """Rows of the whole step: a cell each way."""
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
    """Seconds of OpenPCDet's stages by the stages that do the same here."""
    merged: dict[str, float] = {}
    for name, seconds in stages.items():
        stage = _PARTS.get(name, name)
        merged[stage] = merged.get(stage, 0.0) + seconds
    return merged


def _machine(report: StepReport) -> str:
    rates = report.rates
    reached = [f"{rates.bandwidth / 1e9:.0f} GB/s"]
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        matmul, convolution = rates.matmul(dtype) / 1e9, rates.convolution(dtype) / 1e9
        reached.append(f"{name} {matmul:,.0f} G/s in matrix products, {convolution:,.0f} in convolutions")
    return f"reached meanwhile: {'; '.join(reached)}"
