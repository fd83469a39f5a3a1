"""Progress of long work on stderr: a bar on a terminal, elsewhere a line every half minute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")

EVERY_SECONDS = 30.0
"""Interval between lines."""


def with_progress(
    items: Iterable[T], what: str, total: int, *, size: Callable[[T], int] = lambda _: 1, disable: bool = False
) -> Iterator[T]:
    """Yield items, and show how many of them have come.

    Args:
        items: The items.
        what: What is being done, such as ``Simulating scenes``.
        total: Number of items, or the sum of their sizes.
        size: Returns what an item counts.
        disable: Show nothing.
    """
    console = Console(stderr=True)
    if disable:
        yield from items
    elif console.is_terminal:
        with Progress(console=console, transient=True, refresh_per_second=2) as bar:
            task = bar.add_task(what, total=total)
            for item in items:
                yield item
                bar.advance(task, size(item))
    else:
        lines = ProgressLines(what, total, console)
        for item in items:
            yield item
            lines.advance(size(item))


class ProgressLines:
    """Lines on the progress of some work, at most one every ``EVERY_SECONDS``."""

    def __init__(
        self, what: str, total: int, console: Console, done: int = 0, clock: Callable[[], float] = monotonic
    ) -> None:
        """Start with ``done`` of ``total`` steps done."""
        self._what, self._total, self._console, self._clock = what, total, console, clock
        self._first = self._done = done
        self._start = self._last = clock()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count steps that are done; write a line if the last one is old enough."""
        self._done += count
        now = self._clock()
        if now - self._last < EVERY_SECONDS:
            return
        self._last = now
        gone = now - self._start
        left = gone * (self._total - self._done) / max(self._done - self._first, 1)
        self._console.print(
            f"{self._what}: {self._done} of {self._total}{note}; {_as_clock(gone)} gone, about {_as_clock(left)} left",
            highlight=False,
            soft_wrap=True,
        )


def _as_clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds, such as 1:02:03 or 4:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
