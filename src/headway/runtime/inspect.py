"""Taking the statistics of a job."""

from __future__ import annotations

import os
import resource
import sys
from typing import Optional

from headway.runtime.job import Job
from headway.runtime.losses import added_up
from headway.runtime.slot import Slot
from headway.runtime.stats import SourceStats, WorkerStats, known_time

_SILENT_SHOWN = 5

__all__ = ["worker_stats"]


def worker_stats(job: Job, index: int, *, final: bool = False) -> WorkerStats:
    """What one process knows of itself. Costs some microseconds per key group.

    With `final`, for a settled job, also how far time must go to close the books: that reads all rows.
    """
    slots = list(job.slots.values())
    tasks = list(job.tasks.values())
    newest = [slot.newest for slot in slots if slot.newest is not None]
    watermarks = [known_time(task.watermark) for task in tasks] or [known_time(slot.watermark) for slot in slots]
    known = [watermark for watermark in watermarks if watermark is not None]
    commit_ms, job.commit_ms = job.commit_ms, 0.0
    return WorkerStats(
        worker=index,
        pid=os.getpid(),
        at_ms=job.wall_ms(),
        beat_ms=job.clock_ms(),
        events=sum(slot.events for slot in slots),
        late=sum(slot.late for slot in slots),
        dead_letters=sum(slot.dead for slot in slots) + sum(task.failed for task in tasks),
        outputs={name: sink.count for name, sink in job.sinks.items()},
        watermark=min(known) if known and len(known) == len(watermarks) else None,
        newest=max(newest, default=None),
        keys=sum(task.store.key_count for task in tasks),
        rows=sum(task.store.row_count for task in tasks),
        timers=sum(task.store.timer_count for task in tasks),
        waiting=sum(len(store.waiting) for store in job.stores()),
        commits=sum(store.version for store in job.stores()),
        commit_ms=commit_ms,
        rss_bytes=_rss_bytes(),
        resumed=job.resumed_events,
        notices=list(job.notices),
        sources=_sources(slots),
        silent=[name for slot in slots for name in slot.silent][:_SILENT_SHOWN],
        horizon=_horizon_ms(job) if final else None,
        losses=added_up(task.losses for task in tasks),
    )


def _sources(slots: list[Slot]) -> dict[str, SourceStats]:
    found: dict[str, SourceStats] = {}
    for slot in slots:
        name, extent = slot.source.name, slot.extent
        part = SourceStats(
            events=slot.events,
            dead_letters=slot.dead,
            first=slot.first_letter,
            bytes_read=None if extent is None else extent.read,
            bytes_total=None if extent is None else extent.total,
        )
        found[name] = found[name].plus(part) if name in found else part
    return found


def _horizon_ms(job: Job) -> Optional[int]:
    """The latest time that anything is armed or waits for."""
    times = [store.max_due_ms() for store in job.stores()]
    return max((time for time in times if time is not None), default=None)


def _rss_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
