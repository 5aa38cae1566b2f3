"""What an input and an output are: the contract between the connectors and whoever runs them.

Connectors know bytes and positions. They know nothing of event time, keys or the engine.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Optional

from headway.basics.guarantees import Guarantee
from headway.connectors.ownfiles import OwnFiles, is_same
from headway.connectors.parts import RecordPart
from headway.errors import InternalError
from headway.formats.base import Decoder, Format
from headway.formats.named import JSON

__all__ = [
    "BadRecord",
    "Chunk",
    "Decoded",
    "Extent",
    "Input",
    "Output",
    "OutputWriter",
    "PartitionReader",
    "Position",
    "Session",
    "Tell",
    "unheard",
]

Tell = Callable[[str], None]
"""Takes what a person should know, each time that it is found."""


def unheard(text: str) -> None:
    """A `Tell` that drops what it is told."""


Position = dict[str, Any]
"""Where a partition's reader stands: small, JSON-able, made and understood by its connector only."""


@dataclass(frozen=True)
class BadRecord:
    """A record that could not be decoded: what the dead letters hold."""

    ordinal: int
    """Number of the record in its partition, from 0."""
    position: str
    """Where it stands, for a person: such as `line 18, byte 1024` or `item 3`."""
    reason: str
    """Why it could not be decoded."""
    raw: bytes
    """Its bytes as they were read, without the line end."""


@dataclass(frozen=True)
class Decoded:
    """The events of one chunk, in the order of the log."""

    events: Sequence[Any]
    """Objects of the codec's type, all fields of which are what that type says: a list, or `EventColumns`."""
    ordinals: Sequence[int]
    """For each event its number in the partition, counted over all records, bad ones included."""
    bad: list[BadRecord]


class Chunk(ABC):
    """Some consecutive records of one partition, as read."""

    has_parts: bool = True
    """Whether it still knows what its input's `record_parts` says; what a dead letter was made of does not."""

    @abstractmethod
    def decode(self, decoder: Decoder) -> Decoded:
        """Decode all records. Never raises for bad records: they are returned in `bad`."""

    @abstractmethod
    def record(self, ordinal: int) -> tuple[str, bytes]:
        """Where one of its records stands, and its bytes as they were read; both as in a `BadRecord`.

        Asked for records that were decoded and then found to be of no use. The first call may cost as much as
        reading the chunk.
        """

    def parts(self, part: RecordPart, ordinals: Sequence[int]) -> list[Any]:
        """A part of each of these records: times as integers, keys as bytes or text, None for none; headers as pairs.

        Asked only for parts that the input's `record_parts` has.
        """
        msg = f"{type(self).__name__} was asked for {part!r}, which its input does not have; please report this"
        raise InternalError(msg)

    def receipt_times(self, ordinals: Sequence[int]) -> Optional[list[int]]:
        """When the log took records, in epoch milliseconds, never falling; None for a log that does not say."""
        return None


class Extent(NamedTuple):
    """How much of a partition has been read, in bytes as they are stored."""

    read: int
    total: int


class PartitionReader(ABC):
    """Reads one partition's log from a position on. Used by one thread."""

    @abstractmethod
    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next records, about `max_bytes` of them but at least one; None when there is nothing now.

        Never blocks for long. After None, `at_end` tells whether anything may come later.
        Raises `InputError` when the log cannot be read or is not the one that was read before.
        """

    @property
    @abstractmethod
    def at_end(self) -> bool:
        """True once this partition has been read to its end; False while following what may still grow."""

    @abstractmethod
    def position(self) -> Position:
        """Where the next `read` will start: after the last record that was returned."""

    @property
    def extent(self) -> Optional[Extent]:
        """How far the partition has been read; None where its size is not known, or not final. Costs little."""
        return None

    @property
    def behind(self) -> Optional[int]:
        """How many records the log has that were not read yet, as far as is known; None where nobody counts them.

        Asked twice a second, and by another thread than that of `read`: it must cost nothing.
        """
        return None

    def has_more(self) -> bool:
        """Whether there is something to be read now, where that can be told without asking the operating system.

        Asked up to a thousand times a second. Else False: then `read` is tried after pauses of up to 55 ms.
        """
        return False

    def floor_ms(self, wall_ms: int) -> Optional[int]:
        """With ingestion time: no record that is yet to be read was received before this time, in epoch milliseconds.

        Asked whenever a slot looks for records, with the present. A log without receipt times says the present, since
        its records happen when they are read. None while nothing is known.
        """
        return wall_ms

    def committed(self, position: Position) -> None:  # noqa: B027 (most readers have nobody to tell)
        """Everything before `position` will never be asked for again: it is durable on every worker what became of it.

        For whoever waits to hear that: a queue's acknowledgements, the offsets that lag tools watch. Called for each
        epoch in which the position changed, in order, with what `position()` gave at the epoch's end; at a clean end of
        the run also for the last one. A reader with this method of its own stays open until it has heard of its end.
        After a crash the position that it is opened at stands for those that were not heard. Called on the thread of
        `read`: it must not block, and what it raises ends the run.
        """

    def close(self) -> None:  # noqa: B027 (most readers hold nothing)
        """Release files. Called once; nothing is called afterwards."""


class Session(ABC):
    """What one process has of an input: a client, if it takes one, that all partitions share.

    Files need none: such an input is its own session.
    """

    @abstractmethod
    def partitions(self, tell: Tell = unheard) -> list[str]:
        """The names of all partitions that exist now, sorted. Called again while following, to find new ones.

        `tell` gets to know what is passed over, such as a link that leads nowhere; each time again.

        Names are stable over runs. Empty when nothing matches (yet): a bounded run has no input then, and
        whoever runs it says so with `describe()`. Raises `InputError` when the input does not exist at all. It may
        take its time when it is called first; later it must not block, as it is called on the thread of `read`.
        """

    def notices(self, tell: Tell) -> None:  # noqa: B027 (an input without a client notices nothing by itself)
        """Tell what has been noticed since this was called last, such as that a server is away.

        Called often, on the thread of `read`, and once before `close`: it must cost nothing.
        """

    @abstractmethod
    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """Open a partition at its start (`position` None) or at a position that one of its readers gave.

        With `follow`, its end is not final: what is appended is read too, and a half-written last line waits.
        """

    def close(self) -> None:  # noqa: B027 (an input without a client has nothing to close)
        """End the client. Called once, after all readers were closed."""


class Input(Session):
    """Where a source's log comes from: a fixed or growing set of named partitions."""

    format: Format = JSON
    """What its records are."""

    record_parts: frozenset[RecordPart] = frozenset()
    """What its chunks know of records besides their values."""

    def session(self) -> Session:
        """What a process reads it through. An input whose client connects to something gives one of its own."""
        return self

    @property
    def ends(self) -> bool:
        """Whether it ends by itself also where it is followed, as a pipe does when its writer closes it."""
        return False

    def may_read(self, path: str) -> bool:
        """Whether a file of this path is read, or would be if there were one."""
        return False

    def paths(self) -> list[str]:
        """The paths of the files that there are to be read now; empty when none is there, or it reads no files."""
        return []

    def within(self, directory: Path) -> Input:
        """The same input in a state directory, for one that keeps something there. Called before it is used."""
        return self

    def prepare(self, workers: int) -> None:
        """Make what must be there before so many workers read, for an input that a run writes itself.

        Called once for each run, with the state directory locked, before any worker starts.
        """

    @property
    def has_news(self) -> bool:
        """Whether its readers tell at once, by `has_more`, when there is more to be read."""
        return self.own_log is not None

    @property
    def own_log(self) -> Optional[str]:
        """The log in the state directory that it alone reads; None for logs of others. Its readers tell what is new."""
        return None

    @property
    def shared_notes(self) -> str:
        """What else it keeps in the state directory, where all processes of a run must find it; empty for nothing."""
        return ""

    @property
    def comes_back(self) -> bool:
        """Whether a run's own deliveries, to targets of which the same is said, come to its log: all of it is read."""
        return False

    def apart_from(self, own: OwnFiles) -> Input:
        """The same input without the files that the flow writes itself, should such appear."""
        return self

    def look(self) -> Optional[str]:
        """What is there, of an input that cannot be read without taking from it; None for others. It takes nothing."""
        return None

    @abstractmethod
    def describe(self) -> str:
        """One short line for people, such as `files events/*.jsonl`."""

    def records_before(self, position: Position) -> Optional[int]:
        """How many records of its partition are before a position; None where a position does not say.

        By this a receipt, which names the number of a record, is compared with what a flow has read.
        """
        count = position.get("ordinal", position.get("record"))
        return count if isinstance(count, int) else None

    @property
    def reading(self) -> str:
        """How the log is cut into partitions, in words that follow "read"; empty where there is only one way.

        Kept in the state directory: positions that were written under one way mean nothing under another.
        """
        return ""


class OutputWriter(ABC):
    """Writes one output. Used by one thread."""

    transactional: bool
    """True: writes count only up to the last `position()`; opening at that position takes back the rest.
    False: a write is final, and so is made only after the epoch is durable on every worker."""

    notice: Optional[str] = None
    """What a person should be told about how the output was opened; None when there is nothing to tell."""

    mark: str = ""
    """What tells that which is written from others in its place. It is stored before anything is written, and given
    to each later `open`."""

    @abstractmethod
    def write(self, records: Sequence[bytes]) -> None:
        """Write records, each the JSON bytes of one, without a line end. Raises `OutputError`."""

    def write_of(self, source: str, partition: str, records: Sequence[bytes]) -> None:
        """As `write`, for records of one partition in the order of its log; see `Output.by_partition`."""
        self.write(records)

    def write_at(self, times_ms: Sequence[int], records: Sequence[bytes]) -> None:
        """As `write`, with the event time of each record; they come in the order of time."""
        self.write(records)

    def pass_time(self, time_ms: int) -> bool:
        """All records with times up to this one have been written; whether `position` has changed by that."""
        return False

    @property
    def open_until_ms(self) -> Optional[int]:
        """The time that has to pass until everything that was written is complete; None where nothing waits for time.

        Closing the books (`--drain`) lets it pass.
        """
        return None

    @abstractmethod
    def position(self) -> Position:
        """Make everything written durable and tell where the output stands. Called at the end of an epoch."""

    def committed(self) -> None:  # noqa: B027 (most writers have nothing to complete)
        """The last `position` is durable on every worker: nothing before it is ever taken back."""

    def close(self) -> None:  # noqa: B027 (not every writer holds something)
        """Flush and release. Called once at a graceful end."""


class Output(ABC):
    """Where a flow's results go."""

    guarantee: ClassVar[Guarantee] = Guarantee.AT_LEAST_ONCE
    """What a reader of it can rely on when the flow has crashed and has gone on."""

    is_durable: ClassVar[bool] = True
    """Whether what was written outlives the process of the flow."""

    by_partition: bool = False
    """Whether dead letters are written as they come, partition by partition, and do not wait for time."""

    is_folder: ClassVar[bool] = False
    """Whether what it writes is a directory with files."""

    @property
    def writes(self) -> Optional[str]:
        """The path of the file or directory that it writes; None where that is neither."""
        return None

    def of_values(self, value_type: Any, *, in_triggers: bool) -> Output:
        """The same output for values of a type, `in_triggers` for CloudEvents with such data, where that matters.

        Called when the flow is declared. Raises `UsageError` for values that it cannot write.
        """
        return self

    @property
    def shared(self) -> bool:
        """Whether several outputs of a flow may write to the same place."""
        return False

    def clashes(self, other: Output) -> bool:
        """Whether both write one file or directory, however its path is written, and one of them cannot share it."""
        ours, theirs = self.writes, other.writes
        if ours is None or theirs is None or (self.shared and other.shared):
            return False
        if is_same(ours, theirs):
            return True
        ours, theirs = os.path.realpath(ours), os.path.realpath(theirs)
        within = (self.is_folder and theirs.startswith(ours + os.sep)) or (
            other.is_folder and ours.startswith(theirs + os.sep)
        )
        return ours == theirs or within

    @abstractmethod
    def open(self, position: Optional[Position], *, mark: Optional[str]) -> OutputWriter:
        """Open for writing at a position that a former writer gave, or at the start (None).

        `mark` is that of the writer before; None at the very first start of a state directory. What is found in the
        output's place without a position in it, and does not bear the mark, is not ours and must not be lost. What
        bears it was written by a run that ended before its first epoch was durable, and is taken back. A crash may
        come between `open` and the moment when the new mark is stored: then the next one gets the old mark.
        """

    @abstractmethod
    def describe(self) -> str:
        """One short line for people, such as `file triggers.jsonl`."""
