"""Rates, measured over the last seconds of a run."""

from __future__ import annotations

from collections import deque
from typing import Optional

from headway.runtime.stats import RunStats

__all__ = ["Meter"]

WINDOW_MS = 5_000
_TELLS_AFTER_MS = 2_000
"""How long a run must have gone on before it says how long the rest takes."""


class _Series:
    """A few recent values of one worker, with their times."""

    def __init__(self) -> None:
        self.events: deque[tuple[int, int]] = deque()
        self.commits: deque[tuple[int, float]] = deque()

    def add(self, at_ms: int, events: int, commit_ms: float) -> None:
        if self.events and events < self.events[-1][1]:
            # The worker was restarted and stands where its last durable epoch ended.
            self.events.clear()
            self.commits.clear()
        if self.events and at_ms <= self.events[-1][0]:
            return
        self.events.append((at_ms, events))
        self.commits.append((at_ms, commit_ms))
        while len(self.events) > 2 and self.events[1][0] < at_ms - WINDOW_MS:
            self.events.popleft()
            self.commits.popleft()

    @property
    def span_s(self) -> float:
        return (self.events[-1][0] - self.events[0][0]) / 1000 if len(self.events) > 1 else 0.0

    @property
    def events_per_s(self) -> float:
        return (self.events[-1][1] - self.events[0][1]) / self.span_s if self.span_s else 0.0

    @property
    def commit_ms_per_s(self) -> float:
        # The first value belongs to the time before the window.
        return sum(spent for _, spent in list(self.commits)[1:]) / self.span_s if self.span_s else 0.0


class Meter:
    """Takes the state of a run about twice a second and tells how fast it is; the clock is the workers' own."""

    def __init__(self) -> None:
        self._series: dict[int, _Series] = {}
        self._began: Optional[tuple[int, int]] = None
        self._extent: Optional[tuple[int, int]] = None
        self._at_ms = 0
        self._outputs: set[str] = set()
        self.is_whole = False
        """Whether the last observation has figures of all: workers that begin, or begin anew, open one part after the
        other, and what a part has counted is missing until it is open."""

    def observe(self, stats: RunStats) -> None:
        """Take what the workers say; what was taken before is left out."""
        self.is_whole = bool(stats.workers) and self._outputs <= stats.outputs.keys()
        self._outputs |= stats.outputs.keys()
        for worker in stats.workers:
            series = self._series.setdefault(worker.worker, _Series())
            series.add(worker.at_ms, worker.events, worker.commit_ms)
        self._extent = stats.extent
        self._at_ms = max((worker.at_ms for worker in stats.workers), default=0)
        if self._extent is not None and (self._began is None or self._extent[0] < self._began[1]):
            self._began = (self._at_ms, self._extent[0])  # Also where workers were restarted.

    @property
    def share(self) -> Optional[float]:
        """How much of the input has been read, from 0 to 1; None where its size is not known."""
        return None if self._extent is None else min(1.0, self._extent[0] / self._extent[1])

    @property
    def left_s(self) -> Optional[float]:
        """How many seconds the rest of the input takes if it goes on as it did; None while that cannot be told."""
        if self._extent is None or self._began is None:
            return None
        passed_ms, done = self._at_ms - self._began[0], self._extent[0] - self._began[1]
        if passed_ms < _TELLS_AFTER_MS or done <= 0:
            return None
        return max(0, self._extent[1] - self._extent[0]) * passed_ms / done / 1000

    @property
    def events_per_s(self) -> float:
        """Events read in each of the last seconds, by all workers."""
        return sum(series.events_per_s for series in self._series.values())

    @property
    def commit_ms_per_s(self) -> float:
        """How many milliseconds of each second the slowest worker spends on writing epochs."""
        return max((series.commit_ms_per_s for series in self._series.values()), default=0.0)

    def worker_events_per_s(self, worker: int) -> float:
        """Events read by one worker."""
        return self._series[worker].events_per_s if worker in self._series else 0.0
