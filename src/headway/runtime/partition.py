"""One partition of a reader slot: where it stands, and since when it has been silent."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Optional

from headway.basics.times import MIN_TIME_MS
from headway.connectors.base import Extent, PartitionReader, Position, Session

__all__ = ["Partition", "extent_of", "furthest_behind", "is_idle", "lags_of", "newest_of"]


@dataclass
class Partition:
    """One partition of a slot."""

    name: str
    position: Optional[Position]
    """Where it is to be read on, as long as it has no reader; None for its start."""
    max_time: Optional[int]
    """The latest time so far, which may have been raised by a decision that the partition was idle."""
    reader: Optional[PartitionReader] = None
    """Made when something is to be read."""
    ended: bool = False
    """Whether nothing more comes."""
    extent: Optional[Extent] = None
    """How large it was, once it has been read to its end."""
    quiet_since_ms: Optional[int] = None
    """On the slot's clock: since when there was nothing to read; None while there was."""
    credited_to_ms: Optional[int] = None
    """Up to when silence has been counted as time that passed, or others have told how much passed."""
    behind: Optional[int] = None
    """How many records of its log were not read, once it has been read to its end."""
    prepared: Optional[Position] = None
    """Where a reader that hears of commits stood at the end of the last epoch."""

    def open(self, session: Session, *, follow: bool) -> PartitionReader:
        """Its reader, where it stands."""
        if self.reader is None:
            self.reader = session.open(self.name, self.position, follow=follow)
            self.prepared = self.reader.position() if _hears(self.reader) else None
        return self.reader

    def end(self, reader: PartitionReader) -> None:
        """Nothing more comes: keep where it ended, and close it, unless it has to hear that its end is durable."""
        self.ended = True
        self.position, self.extent = reader.position(), reader.extent
        self.behind = reader.behind
        if not _hears(reader) or self.position == self.prepared:
            self.close()

    def prepare(self) -> Optional[Position]:
        """An epoch ends: returns the position of which its reader is to hear, if there is one."""
        if self.reader is None or not _hears(self.reader):
            return None
        before, self.prepared = self.prepared, self.reader.position()
        return None if self.prepared == before else self.prepared

    def committed(self, position: Position) -> None:
        """What `prepare` returned is durable everywhere."""
        if self.reader is None:
            return
        self.reader.committed(position)
        if self.ended and position == self.position:
            self.close()

    def close(self) -> None:
        """Close its reader, if it has one."""
        reader, self.reader = self.reader, None
        if reader is not None:
            reader.close()

    def floor_ms(self, wall_ms: int) -> Optional[int]:
        """With ingestion time: nothing that is yet to be read happens before it; None where that is not known."""
        return None if self.reader is None else self.reader.floor_ms(wall_ms)

    @property
    def has_more(self) -> bool:
        """Whether its reader can tell at once that there is more, and does."""
        return self.reader is not None and self.reader.has_more()

    @property
    def read_so_far(self) -> tuple[Optional[Extent], Optional[int]]:
        """Its extent, and how many records of its log were not read yet, as far as these are known.

        For any thread: the one that reads may close the reader meanwhile.
        """
        reader = self.reader
        return (self.extent, self.behind) if reader is None else (reader.extent, reader.behind)

    @property
    def stand(self) -> Optional[Position]:
        """Where it is to be read on."""
        return self.position if self.reader is None else self.reader.position()

    def watermark(self, out_of_order_ms: int) -> int:
        """No further record has a time at or before it."""
        return MIN_TIME_MS if self.max_time is None else self.max_time - out_of_order_ms - 1


def _hears(reader: PartitionReader) -> bool:
    """Whether a reader has anything to do when a position is durable."""
    return type(reader).committed is not PartitionReader.committed


def extent_of(partitions: Collection[Partition]) -> Optional[Extent]:
    """How far partitions have been read together; None where the size of one is not known, or not yet."""
    extents = [one.read_so_far[0] for one in partitions]
    known = [extent for extent in extents if extent is not None]
    return Extent(sum(e.read for e in known), sum(e.total for e in known)) if len(known) == len(extents) else None


def lags_of(partitions: Iterable[Partition], most: int) -> tuple[dict[str, int], Optional[int]]:
    """How many records are yet to be read, of partitions that know it: of so many with the most, and of all together.

    None for all where no partition knows.
    """
    known = [(one.read_so_far[1], one.name) for one in partitions]
    lags = [(name, behind) for behind, name in known if behind is not None]
    shown = dict(sorted(lags, key=lambda lag: (-lag[1], lag[0]))[:most])
    return shown, sum(behind for _, behind in lags) if lags else None


def newest_of(partitions: Iterable[Partition]) -> Optional[int]:
    """The latest event time of partitions; None where none has told a time."""
    return max((one.max_time for one in partitions if one.max_time is not None), default=None)


def is_idle(partition: Partition, now_ms: int, idle_after_ms: int) -> bool:
    """Whether it has brought nothing for that long."""
    return partition.quiet_since_ms is not None and now_ms - partition.quiet_since_ms >= idle_after_ms


def furthest_behind(partitions: Iterable[Partition], out_of_order_ms: int) -> Optional[str]:
    """The partition that time waits for: the first by name of those with the least watermark; None without any."""
    behind = [(partition.watermark(out_of_order_ms), partition.name) for partition in partitions]
    return min(behind)[1] if behind else None
