"""What a run says about itself: one record per worker, and their sum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

import msgspec

from headway.times import MAX_TIME_MS, MIN_TIME_MS

__all__ = ["RunStats", "WorkerStats", "total"]


class WorkerStats(msgspec.Struct, frozen=True):
    """One worker, as of one moment. Counts are those of the state directory's whole life."""

    worker: int
    """Index of the worker, from 0."""
    pid: int
    """Its process."""
    at_ms: int
    """When this was taken, in epoch milliseconds."""
    beat_ms: int
    """When something last moved in the worker, in epoch milliseconds."""
    events: int
    """Records read from sources, undecodable ones included."""
    late: int
    """Events behind their partition's watermark."""
    dead_letters: int
    """Records that could not be used."""
    outputs: dict[str, int]
    """Records written, by output."""
    watermark: Optional[int]
    """Least watermark of the stages, in epoch milliseconds; None while unknown."""
    newest: Optional[int]
    """Latest event time that a source has seen."""
    keys: int
    """Rows stored: keys with state, over all operators."""
    timers: int
    """Timers armed."""
    waiting: int
    """Records that wait for the watermark."""
    commit_ms: float
    """Time spent writing epochs since the record before, in milliseconds."""
    rss_bytes: int
    """Memory of the process."""
    resumed: int = 0
    """Of the records read, those that were read before the worker was started."""
    silent: list[str] = []
    """Partitions that hold time back because none of their records has told a time yet; some of them."""
    horizon: Optional[int] = None
    """In the last record of a run whose books are to be closed: the latest time that anything is armed or waits for."""


class RunStats(msgspec.Struct, frozen=True):
    """A whole run, as of one moment."""

    events: int
    late: int
    dead_letters: int
    outputs: dict[str, int]
    watermark: Optional[int]
    newest: Optional[int]
    keys: int
    timers: int
    waiting: int
    commit_ms: float
    """The slowest worker's."""
    workers: list[WorkerStats]

    @property
    def horizon(self) -> Optional[int]:
        """The latest time that anything is armed or waits for, once all workers have ended."""
        return max((worker.horizon for worker in self.workers if worker.horizon is not None), default=None)

    @property
    def resumed(self) -> int:
        """Of the records read, those that were read before the workers were started."""
        return sum(worker.resumed for worker in self.workers)

    @property
    def triggers(self) -> int:
        """Records written to all outputs but the dead letters."""
        return sum(count for name, count in self.outputs.items() if name != "dead-letters")


def total(workers: Iterable[WorkerStats]) -> RunStats:
    """The sum over workers."""
    known = sorted(workers, key=lambda worker: worker.worker)
    outputs: dict[str, int] = {}
    for worker in known:
        for name, count in worker.outputs.items():
            outputs[name] = outputs.get(name, 0) + count
    watermarks = [worker.watermark for worker in known if worker.watermark is not None]
    newest = [worker.newest for worker in known if worker.newest is not None]
    return RunStats(
        events=sum(worker.events for worker in known),
        late=sum(worker.late for worker in known),
        dead_letters=sum(worker.dead_letters for worker in known),
        outputs=outputs,
        watermark=min(watermarks, default=None),
        newest=max(newest, default=None),
        keys=sum(worker.keys for worker in known),
        timers=sum(worker.timers for worker in known),
        waiting=sum(worker.waiting for worker in known),
        commit_ms=max((worker.commit_ms for worker in known), default=0.0),
        workers=known,
    )


def known_time(time_ms: int) -> Optional[int]:
    """A watermark for people: None where it says that nothing, or everything, is known."""
    return None if time_ms in (MIN_TIME_MS, MAX_TIME_MS) else time_ms
