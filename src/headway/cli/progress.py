"""What is shown while a flow runs: a live panel, lines, or warnings only."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Optional, Protocol

from headway.cli.deliveries import Alerts, delivery_text
from headway.cli.escapes import printable_line, printable_lines
from headway.cli.function_texts import FunctionAlerts, functions_text
from headway.cli.meter import Meter
from headway.cli.news import News
from headway.cli.questions import Questions
from headway.cli.texts import behind_text, bytes_text, count_text, lag_text, left_text, time_text
from headway.runtime.stats import RunStats

__all__ = ["Lines", "Progress", "Quiet", "progress_for", "shown"]

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
        self._write(f"headway: {printable_lines(text)}\n")

    def start(self) -> None:
        """Nothing to prepare."""

    def stop(self) -> None:
        """Nothing to end."""


class Lines(Quiet):
    """Writes a line every few seconds while something changes: for log files and pipes.

    When nothing has changed it says so, once. What workers want to be told is written with the next line.
    """

    def __init__(
        self, name: str, write: Callable[[str], object], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(write)
        self._name = name
        self._clock_s = clock_s
        self._meter = Meter()
        self._next_s: Optional[float] = None
        self._told: Optional[RunStats] = None
        self._is_idle = False
        self._news = News()
        self._alerts = Alerts()
        self._function_alerts = FunctionAlerts()

    def observe(self, stats: RunStats) -> None:
        """Write a line when the last one, or the start, is long enough ago."""
        self._meter.observe(stats)
        for alert in (*self._alerts.of(stats), *self._function_alerts.of(stats)):
            self.tell(f"note: {printable_line(alert)}")
        now_s = self._clock_s()
        if self._next_s is None:
            self._next_s = now_s + LINE_EVERY_S
        if now_s >= self._next_s and self._meter.is_whole:
            self._next_s = now_s + LINE_EVERY_S
            for notice in self._news.of(stats):
                self.tell(f"note: {printable_line(notice)}")
            self._write_changes(stats)

    def _write_changes(self, stats: RunStats) -> None:
        """Time that moves by the clock alone, and memory, are no news."""
        is_idle = self._told is not None and _counts(stats) == _counts(self._told)
        if not is_idle:
            self._write(f"{self._name}: {_line(stats, self._meter)}\n")
        elif not self._is_idle:
            self._write(f"{self._name}: nothing new; the next line comes with the next change\n")
        self._told, self._is_idle = stats, is_idle


def _counts(stats: RunStats) -> tuple[object, ...]:
    return (
        *(stats.events, stats.late, stats.dead_letters, stats.outputs),
        *((one.waiting, one.delivered, one.dead, one.breaker) for one in stats.deliveries.values()),
        *(stats.tallies, stats.keys, stats.timers, stats.waiting, [worker.pid for worker in stats.workers]),
    )


def _line(stats: RunStats, meter: Meter) -> str:
    lag = lag_text(stats)
    share = meter.share
    functions = functions_text(stats)
    behind = behind_text(stats)
    parts = [
        *([behind] if behind else []),
        *([] if share is None else [left_text(share, meter.left_s)]),
        f"{count_text(stats.events, 'event')} ({meter.events_per_s:,.0f}/s)",
        f"watermark {time_text(stats.watermark)}" + (f" ({lag})" if lag else ""),
        count_text(stats.keys, "key"),
        count_text(stats.timers, "timer"),
        f"{stats.waiting:,} waiting",
        count_text(stats.triggers, "trigger"),
        f"{stats.late:,} late",
        count_text(stats.dead_letters, "dead letter"),
        *([f"functions: {functions}"] if functions else []),
        *(f"{name}: {delivery_text(one)}" for name, one in stats.deliveries.items()),
        bytes_text(sum(worker.rss_bytes for worker in stats.workers)),
    ]
    return ", ".join(parts)


def progress_for(
    name: str,
    *,
    quiet: bool,
    stdout_is_shown: bool,
    stopping: Callable[[], bool],
    questions: Optional[Questions] = None,
) -> Progress:
    """How the run of the flow `name` is shown on stderr; `stopping` tells whether it has been asked to stop.

    `questions` are those that a server beside it answers.

    A live panel on a terminal; lines elsewhere, and where the flow itself writes to the same terminal.
    """
    if quiet:
        return Quiet(sys.stderr.write)
    if not sys.stderr.isatty() or stdout_is_shown:
        return Lines(name, sys.stderr.write)
    from rich.console import Console

    from headway.cli.live import LivePanel

    return LivePanel(name, Console(stderr=True, highlight=False), stopping, questions=questions)


class _Telling(logging.Handler):
    """Shows what the engine logs."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.tell(record.getMessage())


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
