"""What is shown while a flow runs: a live panel, lines, or warnings only."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Optional, Protocol

from headway.cli.escapes import printable_lines
from headway.cli.meter import Meter
from headway.cli.texts import bytes_text, count_text, lag_text, time_text
from headway.runtime.stats import RunStats

__all__ = ["Lines", "Progress", "Quiet", "progress_for"]

LINE_EVERY_S = 5.0


class Progress(Protocol):
    """Shows how a run goes on. Used inside `shown()`."""

    def observe(self, stats: RunStats) -> None:
        """Take the state of things, about twice a second."""

    def tell(self, text: str) -> None:
        """Show a message that must not be missed, such as that workers were restarted."""

    def start(self) -> None:
        """Called once, before the run."""

    def stop(self) -> None:
        """Called once, after the run, however it ended."""


class Quiet:
    """Shows warnings only."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def observe(self, stats: RunStats) -> None:
        """Nothing to show."""

    def tell(self, text: str) -> None:
        """Write it as a line."""
        self._write(f"headway: {text}\n")

    def start(self) -> None:
        """Nothing to prepare."""

    def stop(self) -> None:
        """Nothing to end."""


class Lines(Quiet):
    """Writes a line every few seconds: for log files and pipes."""

    def __init__(
        self, name: str, write: Callable[[str], object], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(write)
        self._name = name
        self._clock_s = clock_s
        self._meter = Meter()
        self._next_s: Optional[float] = None

    def observe(self, stats: RunStats) -> None:
        """Write a line when the last one, or the start, is long enough ago."""
        self._meter.observe(stats)
        now_s = self._clock_s()
        if self._next_s is None:
            self._next_s = now_s + LINE_EVERY_S
        if now_s >= self._next_s:
            self._next_s = now_s + LINE_EVERY_S
            self._write(f"{self._name}: {_line(stats, self._meter)}\n")


def _line(stats: RunStats, meter: Meter) -> str:
    lag = lag_text(stats)
    parts = [
        f"{count_text(stats.events, 'event')} ({meter.events_per_s:,.0f}/s)",
        f"watermark {time_text(stats.watermark)}" + (f" ({lag})" if lag else ""),
        count_text(stats.keys, "key"),
        count_text(stats.timers, "timer"),
        f"{stats.waiting:,} waiting",
        count_text(stats.triggers, "trigger"),
        f"{stats.late:,} late",
        count_text(stats.dead_letters, "dead letter"),
        bytes_text(sum(worker.rss_bytes for worker in stats.workers)),
    ]
    return ", ".join(parts)


def progress_for(name: str, *, quiet: bool, stdout_is_shown: bool, stopping: Callable[[], bool]) -> Progress:
    """How the run of the flow `name` is shown on stderr; `stopping` tells whether it has been asked to stop.

    A live panel on a terminal; lines elsewhere, and where the flow itself writes to the same terminal.
    """
    if quiet:
        return Quiet(sys.stderr.write)
    if not sys.stderr.isatty() or stdout_is_shown:
        return Lines(name, sys.stderr.write)
    from rich.console import Console

    from headway.cli.live import LivePanel

    return LivePanel(name, Console(stderr=True, highlight=False), stopping)


class _Telling(logging.Handler):
    """Shows what the engine logs."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.tell(printable_lines(record.getMessage()))


@contextmanager
def shown(progress: Progress) -> Iterator[Progress]:
    """Show a run, and what is logged meanwhile, until the end of the block."""
    log = logging.getLogger("headway")
    handler = _Telling(progress)
    log.addHandler(handler)
    progress.start()
    try:
        yield progress
    finally:
        progress.stop()
        log.removeHandler(handler)
