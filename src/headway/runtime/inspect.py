"""Taking the statistics of a job."""

from __future__ import annotations

import os
import resource
import sys
import time
from typing import Optional

from headway.runtime.job import Job
from headway.runtime.losses import added_up
from headway.runtime.returning import goes_by_clock, stages_by_clock
from headway.runtime.stats import HOLDING_SHOWN, SlotStats, SourceStats, StagePart, StageStats, WorkerStats

__all__ = ["worker_stats"]


def worker_stats(job: Job, index: int, *, final: bool = False) -> WorkerStats:
    """What one process knows of itself. Costs some microseconds per key group.

    With `final`, for a settled job, also how far time must go to close the books: that reads all rows.
    """
    slots = [slot.statistics() for slot in list(job.slots.values())]
    groups: dict[str, list[StageStats]] = {}
    for (stage_name, _), task in list(job.tasks.items()):
        groups.setdefault(stage_name, []).append(task.statistics())
    stages = [stage for found in groups.values() for stage in found]
    sinks = [sink.statistics() for sink in list(job.sinks.values())]
    deliveries = {} if job.dispatcher is None else job.dispatcher.statistics()
    newest = [slot.newest for slot in slots if slot.newest is not None]
    watermarks = [stage.watermark for stage in stages] or [slot.watermark for slot in slots]
    known = [watermark for watermark in watermarks if watermark is not None]
    commit_ms, job.epochs.commit_ms = job.epochs.commit_ms, 0.0
    return WorkerStats(
        worker=index,
        pid=os.getpid(),
        at_ms=job.wall_ms(),
        beat_ms=job.clock_ms(),
        events=sum(slot.events for slot in slots),
        late=sum(slot.late for slot in slots),
        dead_letters=sum(slot.dead_letters for slot in slots) + sum(stage.failed for stage in stages),
        outputs={sink.output: sink.count for sink in sinks} | {name: one.made for name, one in deliveries.items()},
        watermark=min(known) if known and len(known) == len(watermarks) else None,
        newest=max(newest, default=None),
        keys=sum(stage.keys for stage in stages),
        rows=sum(stage.rows for stage in stages),
        timers=sum(stage.timers for stage in stages),
        waiting=sum(stage.waiting for stage in stages) + sum(sink.waiting for sink in sinks),
        commits=sum(participant.version for participant in (*slots, *stages, *sinks)),
        commit_ms=commit_ms,
        rss_bytes=_rss_bytes(),
        resumed=job.resumed_events,
        notices=list(job.notices),
        sources=_sources(slots),
        silent=[name for slot in slots for name in slot.silent][:HOLDING_SHOWN],
        horizon=_horizon_ms(job) if final else None,
        closes_at=_closes_at_ms(job, slots),
        losses=added_up(stage.losses for stage in stages),
        tallies=added_up(stage.tallies for stage in stages),
        deliveries=deliveries,
        stages={name: StagePart.of(found) for name, found in groups.items()},
        epochs=job.epochs.statistics() if slots else None,
        started_ms=job.started_ms,
        cpu_s=time.process_time(),
    )


def _sources(slots: list[SlotStats]) -> dict[str, SourceStats]:
    found: dict[str, SourceStats] = {}
    for slot in slots:
        part = slot.of_source
        found[slot.source] = found[slot.source].plus(part) if slot.source in found else part
    return found


def _horizon_ms(job: Job) -> Optional[int]:
    """The latest time that anything is armed or waits for, but for what waits for the clock."""
    left_out = set() if job.returning is None else stages_by_clock(job.plan, any)
    stores = [task.store for (stage, _), task in list(job.tasks.items()) if stage not in left_out]
    stores += [sink.store for name, sink in list(job.sinks.items()) if name not in left_out]
    times = [store.max_due_ms() for store in stores]
    times += [sink.open_until_ms for name, sink in list(job.sinks.items()) if name not in left_out]
    return max((time for time in times if time is not None), default=None)


def _closes_at_ms(job: Job, slots: list[SlotStats]) -> Optional[int]:
    """The latest event of the sources whose books can be closed."""
    left_out = set() if job.returning is None else {one.name for one in job.plan.sources if goes_by_clock(one.node)}
    times = [slot.newest for slot in slots if slot.newest is not None and slot.source not in left_out]
    return max(times, default=None)


def _rss_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
