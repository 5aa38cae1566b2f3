"""How long epochs take in one process, and how much of that time its engine works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Optional

import msgspec

from headway.basics.histogram import Histogram

__all__ = ["EpochStats", "EpochWatch"]


class EpochStats(msgspec.Struct, frozen=True, kw_only=True):
    """The epochs of one process since it was started."""

    closed: int
    """How many have been closed."""
    closed_at_ms: int
    """When the last one was, in epoch milliseconds; when the process began, as long as none was."""
    duration: Histogram
    """From the end of one to the end of the next."""
    writing: Histogram
    """Time spent writing what an epoch has changed, by all participants of the process, and waiting for the disk."""
    busy_ratio: Optional[float]
    """Which part of the last epoch the engine's thread was at work, and neither slept nor waited for the disk, from 0
    to 1; None as long as no whole epoch is over."""


class EpochWatch:
    """Measures the epochs of a process by the one of its slots that closes its first: each slot closes each epoch once.

    A process without a slot of its own learns of no epoch. `clock_ms` never goes back; `thread_s` is the processor
    time of the thread that calls `closed`. Costs a microsecond for each epoch, and nothing for an event.
    """

    def __init__(
        self,
        clock_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        thread_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._clock_ms = clock_ms
        self._wall_ms = wall_ms
        self._thread_s = thread_s
        self.commit_ms = 0.0
        """Time spent writing since somebody has set this to 0, in milliseconds."""
        self._slot: Optional[str] = None
        self._last_ms: Optional[int] = None
        self._last_thread_s = 0.0
        self._writing_s = 0.0
        self._closed = 0
        self._closed_at_ms = wall_ms()
        self._duration = Histogram()
        self._writing = Histogram()
        self._busy_ratio: Optional[float] = None

    def wrote(self, seconds: float) -> None:
        """A participant has spent so long on writing its part of an epoch."""
        self._writing_s += seconds
        self.commit_ms += seconds * 1_000

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Count the time of this block as spent on writing, if it ends well."""
        started_s = time.perf_counter()
        yield
        self.wrote(time.perf_counter() - started_s)

    def closed(self, slot: str) -> None:
        """A slot has closed its epoch."""
        if self._slot is None:
            self._slot = slot
        if slot != self._slot:
            return
        now_ms, thread_s = self._clock_ms(), self._thread_s()
        if self._last_ms is not None:
            lasted_s = (now_ms - self._last_ms) / 1_000
            self._duration.observe(lasted_s)
            self._writing.observe(self._writing_s)
            if lasted_s > 0:
                self._busy_ratio = min(1.0, max(0.0, (thread_s - self._last_thread_s) / lasted_s))
        self._writing_s = 0.0
        self._last_ms, self._last_thread_s = now_ms, thread_s
        self._closed += 1
        self._closed_at_ms = self._wall_ms()

    def statistics(self) -> EpochStats:
        """What is known now."""
        return EpochStats(
            closed=self._closed,
            closed_at_ms=self._closed_at_ms,
            duration=self._duration.copy(),
            writing=self._writing.copy(),
            busy_ratio=self._busy_ratio,
        )
