"""When a bounded run may end whose own deliveries come back to it through a log, as those of durable functions do.

Such a log has no end of its own: each record may lead to calls, each call to a record. So the slots that read it follow
it, and all are done once nothing is under way: all other inputs are at their ends, every task has handled what was sent
to it, nothing is being delivered in any worker, and no slot has read anything. Deliveries that come back leave early:
what a task has emitted is being delivered at once.

What others say on the board may be some milliseconds old. But a slot that is called in an epoch knows that all that was
sent in the epochs before has been handled, in all workers. So two looks, at the beginnings of two epochs with nothing
read in between, are enough: what one look has missed, the other one sees.

Calls that are to be tried again later than `RETRY_WITHIN_MS` from now are left for the next run, as are timers: a run
waits for work, and not for time.

**Closing the books** of such a flow moves the time of its other inputs alone. What goes by the clock is followed as in
any bounded run: functions that are started by it work, and those that sleep go on sleeping, since their calls would
else be made before their time. So such books are never closed for good: the next run that closes them goes on with what
is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Optional

from headway.connectors.base import Input
from headway.graph import INGESTION_TIME, SourceNode
from headway.plan.stages import Plan

if TYPE_CHECKING:
    from headway.runtime.job import Job

__all__ = ["Ending", "Returning", "goes_by_clock", "has_returning", "returning_of", "stages_by_clock"]

RETRY_WITHIN_MS: Final = 10_000
"""A call that is tried again so soon is waited for."""


class Returning:
    """What the slots of one process share that read such logs."""

    def __init__(self, job: Job, by_clock: Collection[str], bounded: Sequence[str], followed: Sequence[str]) -> None:
        self._job = job
        self._by_clock = by_clock
        self._bounded = bounded
        self._followed = followed

    def report(self) -> None:
        """Say on the board whether this worker delivers what comes back, or has some of it wait for its time."""
        job = self._job
        now_ms = job.wall_ms()
        is_busy = any(task.waits(now_ms) for (stage, _), task in list(job.tasks.items()) if stage in self._by_clock)
        if not is_busy and job.dispatcher is not None:
            is_busy = job.dispatcher.has_under_way(RETRY_WITHIN_MS)
        job.board.report_returning(job.options.worker, is_busy=is_busy)

    def events_at_rest(self) -> Optional[int]:
        """How many events have been read, if nothing is under way as far as one can see; else None."""
        self.report()
        board = self._job.board
        if self._job.is_behind() or board.is_returning():
            return None
        if not all(map(board.is_done, self._bounded)) or not all(map(board.has_begun, self._followed)):
            return None
        return board.events()


class Ending:
    """Whether one slot may end: one that follows such a log, or one that has read all there is."""

    def __init__(self, returning: Returning) -> None:
        self._returning = returning
        self._events: Optional[int] = None
        self.is_over = False

    def epoch_began(self) -> None:
        """An epoch has begun, and the one before is durable in all workers."""
        before, self._events = self._events, self._returning.events_at_rest()
        self.is_over = self.is_over or (before is not None and before == self._events)


def returning_of(job: Job) -> Optional[Returning]:
    """For a bounded run with such logs; None for others."""
    if job.options.follow or not has_returning(job.plan):
        return None
    assert job.options.sees_all  # A cluster takes no flow with such logs.
    nodes = [source.node for source in job.plan.sources]
    bounded = [name for node in nodes if not goes_by_clock(node) for name in job.slot_names(node.name)]
    followed = [name for node in nodes if goes_by_clock(node) for name in job.slot_names(node.name)]
    return Returning(job, stages_by_clock(job.plan), bounded, followed)


def has_returning(plan: Plan) -> bool:
    """Whether a flow reads such a log."""
    return any(source.node.input.comes_back for source in plan.sources)


def stages_by_clock(plan: Plan, judge: Callable[[Iterable[bool]], bool] = all) -> set[str]:
    """The stages and outputs that only such sources reach; with `any`, those that one of them reaches.

    What waits there waits for the clock.
    """
    nodes = {source.name: goes_by_clock(source.node) for source in plan.sources}
    for stage in plan.stages:  # Those that feed others come first.
        feeds = judge(nodes[edge.producer.node] for edge in stage.inputs)
        nodes |= {node.name: feeds for node in stage.operators}
    stages = {stage.name for stage in plan.stages if nodes[stage.operators[0].name]}
    return stages | {
        sink.name for sink in plan.written_sinks if judge(nodes[edge.producer.node] for edge in sink.inputs)
    }


def goes_by_clock(node: SourceNode) -> bool:
    """Whether it is a log of Headway's own whose time is that of the clock: it must be followed, or time stands."""
    reads: Input = node.input
    return reads.own_log is not None and node.time is INGESTION_TIME
