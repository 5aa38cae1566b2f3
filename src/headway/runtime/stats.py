"""What a run says about itself: one record per worker, and their sum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Optional

import msgspec

from headway.basics.times import MAX_TIME_MS, MIN_TIME_MS
from headway.delivery.stats import DeliveryStats
from headway.runtime.epochs import EpochStats
from headway.runtime.losses import Losses, added_up

__all__ = [
    "FirstLetter",
    "ParticipantStats",
    "RunStats",
    "SinkStats",
    "SlotStats",
    "SourceStats",
    "StagePart",
    "StageStats",
    "WorkerStats",
    "total",
]


HOLDING_SHOWN: Final = 5
"""How many partitions that hold time back are told of a source, and of a process."""
LAGS_SHOWN: Final = 100
"""Of how many partitions of a source, those that are furthest behind, it is told how far."""


class FirstLetter(msgspec.Struct, frozen=True, order=True):
    """The first dead letter of a source: that of its first partition, by name, that has any."""

    partition: str
    """Name of the partition, such as the file."""
    ordinal: int
    """Number of the record in its partition, from 0."""
    position: str
    """Where it stands, for a person."""
    reason: str
    """Why it could not be used."""

    @staticmethod
    def restored(values: Optional[Sequence[Any]]) -> Optional[FirstLetter]:
        """That of which a slot has kept the values, if any."""
        return None if values is None else FirstLetter(*values)

    def earlier(self, other: Optional[FirstLetter]) -> FirstLetter:
        """The first of two."""
        return self if other is None else min(self, other)


class SourceStats(msgspec.Struct, frozen=True):
    """What has been read of one source."""

    events: int = 0
    """Records read, undecodable ones included."""
    dead_letters: int = 0
    """Records that could not be used."""
    first: Optional[FirstLetter] = None
    """The first of these; None where there is none."""
    bytes_read: Optional[int] = None
    """How far its input has been read, in bytes as they are stored; None where that is not known."""
    bytes_total: Optional[int] = None
    """How large its input is, in bytes as they are stored; None where that is not known."""
    late: int = 0
    """Events behind their partition's watermark."""
    partitions: int = 0
    """Partitions that are known."""
    watermark: Optional[int] = None
    """The least watermark of its partitions, in epoch milliseconds; None while one of them has none."""
    holding: list[str] = []
    """Partitions that time waits for: those without a watermark, or else the one that is furthest behind; some."""
    lags: dict[str, int] = {}
    """Records that partitions have and that were not read yet; of those which know it, some with the most."""
    behind: Optional[int] = None
    """All records that are known to be yet unread, in however many partitions; None where no partition knows."""

    def plus(self, other: SourceStats) -> SourceStats:
        """The sum of two parts of a source."""
        furthest = _furthest(self, other)
        return SourceStats(
            events=self.events + other.events,
            dead_letters=self.dead_letters + other.dead_letters,
            first=other.first if self.first is None else self.first.earlier(other.first),
            bytes_read=_known_sum(self.bytes_read, other.bytes_read),
            bytes_total=_known_sum(self.bytes_total, other.bytes_total),
            late=self.late + other.late,
            partitions=self.partitions + other.partitions,
            watermark=furthest.watermark,
            holding=furthest.holding,
            lags=_most({**self.lags, **other.lags}),
            behind=other.behind if self.behind is None else self.behind + (other.behind or 0),
        )


def _furthest(left: SourceStats, right: SourceStats) -> SourceStats:
    """That of two parts which holds time back; both, where neither has a watermark."""
    if not left.partitions or not right.partitions:
        return left if left.partitions else right
    if left.watermark is None and right.watermark is None:
        return SourceStats(holding=sorted({*left.holding, *right.holding})[:HOLDING_SHOWN])
    if left.watermark is None or right.watermark is None:
        return left if left.watermark is None else right
    return left if (left.watermark, left.holding) <= (right.watermark, right.holding) else right


def _most(lags: dict[str, int]) -> dict[str, int]:
    return dict(sorted(lags.items(), key=lambda lag: (-lag[1], lag[0]))[:LAGS_SHOWN])


def _known_sum(left: Optional[int], right: Optional[int]) -> Optional[int]:
    return None if left is None or right is None else left + right


class ParticipantStats(msgspec.Struct, frozen=True, kw_only=True):
    """What every participant of an epoch knows of itself, as of one moment."""

    version: int
    """What it has prepared last, or was resumed at."""
    watermark: Optional[int]
    """Up to when it has handled everything, in epoch milliseconds; None while that is not known."""


class SlotStats(ParticipantStats, frozen=True, kw_only=True):
    """A reader slot. Counts are those of the state directory's whole life."""

    source: str
    """Name of the source that it reads a part of."""
    events: int
    """Records read, undecodable ones included."""
    late: int
    """Events behind their partition's watermark."""
    dead_letters: int
    """Records that could not be used."""
    first_letter: Optional[FirstLetter]
    """The first dead letter, of the first partition that has one."""
    newest: Optional[int]
    """Latest event time that it has seen, in epoch milliseconds."""
    silent: list[str]
    """Partitions that hold time back because none of their records has told a time yet."""
    bytes_read: Optional[int]
    """How far its partitions have been read, in bytes as they are stored; None where that is not known."""
    bytes_total: Optional[int]
    """How large its partitions are, in bytes as they are stored; None where that is not known."""
    partitions: int = 0
    """Partitions that it reads."""
    holding: Optional[str] = None
    """The partition that is furthest behind; None where it has none."""
    lags: dict[str, int] = {}
    """Records that its partitions have and that were not read yet; of those which know it, some with the most."""
    behind: Optional[int] = None
    """All records that are known to be yet unread in its partitions; None where none of them knows."""

    @property
    def of_source(self) -> SourceStats:
        """Its part of what has been read of the source."""
        return SourceStats(
            events=self.events,
            dead_letters=self.dead_letters,
            first=self.first_letter,
            bytes_read=self.bytes_read,
            bytes_total=self.bytes_total,
            late=self.late,
            partitions=self.partitions,
            watermark=self.watermark,
            holding=self.silent[:HOLDING_SHOWN] or ([] if self.holding is None else [self.holding]),
            lags=self.lags,
            behind=self.behind,
        )


class StageStats(ParticipantStats, frozen=True, kw_only=True):
    """A keyed stage in one key group."""

    keys: int
    """Keys of which at least one operator keeps something, as of the last epoch."""
    rows: int
    """Rows stored, as of the last epoch: of each operator one for each key of which it keeps something."""
    timers: int
    """Timers armed."""
    waiting: int
    """Records that wait for the watermark."""
    losses: Losses
    """What operators have lost to their bounds, by operator and side output."""
    tallies: Losses = {}
    """What operators count, by operator and name."""
    due: Optional[int] = None
    """No armed timer is due before, in epoch milliseconds; None where none is armed."""
    failed: int = 0
    """How many events and timers the flow's code has failed on, over all runs, that were set aside."""


class SinkStats(ParticipantStats, frozen=True, kw_only=True):
    """An output."""

    output: str
    """Its name."""
    count: int
    """Records of which it has taken care, over the state directory's life: written, or to be written once durable."""
    waiting: int
    """Records that wait for the watermark."""
    unwritten: int
    """Of `count`, those that are to be written once their epoch is durable."""


class StagePart(msgspec.Struct, frozen=True, kw_only=True):
    """A keyed stage in one process: all its key groups there."""

    watermark: Optional[int]
    """The least of its groups, in epoch milliseconds; None while one of them has none."""
    keys: int
    rows: int
    timers: int
    waiting: int
    due: Optional[int]
    """No armed timer is due before, in epoch milliseconds; None where none is armed."""
    failed: int

    @staticmethod
    def of(groups: Sequence[StageStats]) -> StagePart:
        """The sum of some groups, at least one."""
        watermarks = [group.watermark for group in groups]
        known = [watermark for watermark in watermarks if watermark is not None]
        return StagePart(
            watermark=min(known) if len(known) == len(watermarks) else None,
            keys=sum(group.keys for group in groups),
            rows=sum(group.rows for group in groups),
            timers=sum(group.timers for group in groups),
            waiting=sum(group.waiting for group in groups),
            due=min((group.due for group in groups if group.due is not None), default=None),
            failed=sum(group.failed for group in groups),
        )


class WorkerStats(msgspec.Struct, frozen=True):
    """One worker, as of one moment. Counts are those of the state directory's whole life."""

    worker: int
    """Index of the worker, from 0."""
    pid: int
    """Its process."""
    at_ms: int
    """When this was taken, in epoch milliseconds."""
    beat_ms: int
    """When something last moved in the worker, on the machine's monotonic clock, in milliseconds."""
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
    """Workflow instances: keys of which something is kept. A key counts once for each keyed stage, however many
    operators of the stage keep something of it."""
    rows: int
    """Rows stored: of each operator one for each key of which it keeps something."""
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
    commits: int = 0
    """Versions prepared, over all participants of the worker: it grows as long as the run makes progress."""
    sources: dict[str, SourceStats] = {}
    """What this worker has read of each source."""
    silent: list[str] = []
    """Partitions that hold time back because none of their records has told a time yet; some of them."""
    horizon: Optional[int] = None
    """In the last record of a run whose books are being closed: the latest time that anything is armed or waits for."""
    closes_at: Optional[int] = None
    """Latest event time of the sources whose books can be closed: of all but logs of functions."""
    notices: list[str] = []
    """What the user should know, such as a link that is not read."""
    losses: Losses = {}
    """What operators have lost to their bounds, by operator and side output."""
    tallies: Losses = {}
    """What operators count, by operator and name."""
    deliveries: dict[str, DeliveryStats] = {}
    """How it stands with the outputs that are delivered."""
    stages: dict[str, StagePart] = {}
    """How it stands with each keyed stage."""
    epochs: Optional[EpochStats] = None
    """What is known of the epochs of the process; None where it reads no source, and so closes none by itself."""
    started_ms: int = 0
    """When the process began its work, in epoch milliseconds: with `pid` it tells processes apart."""
    cpu_s: float = 0.0
    """Processor time of the process, in seconds."""


class RunStats(msgspec.Struct, frozen=True):
    """A whole run, as of one moment."""

    events: int
    late: int
    dead_letters: int
    outputs: dict[str, int]
    watermark: Optional[int]
    newest: Optional[int]
    keys: int
    rows: int
    timers: int
    waiting: int
    commit_ms: float
    """The slowest worker's."""
    workers: list[WorkerStats]
    losses: Losses = {}
    """What operators have lost to their bounds, by operator and side output."""
    tallies: Losses = {}
    """What operators count, by operator and name; over all workers, none that is 0."""
    sources: dict[str, SourceStats] = {}
    deliveries: dict[str, DeliveryStats] = {}
    restarts: int = 0
    """How often all workers have been started again."""

    @property
    def closes_at(self) -> Optional[int]:
        """To which time closing the books goes first."""
        return max((worker.closes_at for worker in self.workers if worker.closes_at is not None), default=None)

    @property
    def horizon(self) -> Optional[int]:
        """The latest time that anything is armed or waits for, once all workers have ended."""
        return max((worker.horizon for worker in self.workers if worker.horizon is not None), default=None)

    @property
    def extent(self) -> Optional[tuple[int, int]]:
        """How many bytes of the input have been read, and of how many; None where the size of one is not known."""
        read = [source.bytes_read for source in self.sources.values()]
        total = [source.bytes_total for source in self.sources.values()]
        known_read, known_total = [n for n in read if n is not None], [n for n in total if n is not None]
        known = bool(total) and len(known_read) == len(read) and len(known_total) == len(total) and sum(known_total) > 0
        return (sum(known_read), sum(known_total)) if known else None

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
    sources: dict[str, SourceStats] = {}
    for worker in known:
        for name, part in worker.sources.items():
            sources[name] = sources[name].plus(part) if name in sources else part
    deliveries: dict[str, DeliveryStats] = {}
    for worker in known:
        for name, stats in worker.deliveries.items():
            deliveries[name] = deliveries[name].plus(stats) if name in deliveries else stats
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
        rows=sum(worker.rows for worker in known),
        timers=sum(worker.timers for worker in known),
        waiting=sum(worker.waiting for worker in known),
        commit_ms=max((worker.commit_ms for worker in known), default=0.0),
        workers=known,
        losses=added_up(worker.losses for worker in known),
        tallies=added_up(worker.tallies for worker in known),
        sources=sources,
        deliveries=deliveries,
    )


def known_time(time_ms: int) -> Optional[int]:
    """A watermark for people: None where it says that nothing, or everything, is known."""
    return None if time_ms in (MIN_TIME_MS, MAX_TIME_MS) else time_ms
