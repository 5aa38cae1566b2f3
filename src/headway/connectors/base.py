"""What an input and an output are: the contract between the connectors and whoever runs them.

Connectors know bytes and positions. They know nothing of event time, keys or the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from headway.schema import LineCodec

__all__ = ["BadRecord", "Chunk", "Decoded", "Input", "Output", "OutputWriter", "PartitionReader", "Position"]

Position = dict[str, Any]
"""Where a partition's reader stands: small, JSON-able, made and understood by its connector only."""


@dataclass(frozen=True)
class BadRecord:
    """A record that could not be decoded: what the dead letters hold."""

    ordinal: int
    """Number of the record in its partition, from 0."""
    position: str
    """Where it stands, for a person: such as `byte 1024` or `item 3`."""
    reason: str
    """Why it could not be decoded."""
    raw: bytes
    """Its bytes as they were read, without the line end."""


@dataclass(frozen=True)
class Decoded:
    """The events of one chunk, in the order of the log."""

    events: list[Any]
    """Objects of the codec's type, all fields of which are what that type says."""
    ordinals: Sequence[int]
    """For each event its number in the partition, counted over all records, bad ones included."""
    bad: list[BadRecord]


class Chunk(ABC):
    """Some consecutive records of one partition, as read."""

    @abstractmethod
    def decode(self, codec: LineCodec[Any]) -> Decoded:
        """Decode all records. Never raises for bad records: they are returned in `bad`."""


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
        """True once this bounded partition has been read to its end; always False while following."""

    @abstractmethod
    def position(self) -> Position:
        """Where the next `read` will start: after the last record that was returned."""

    def close(self) -> None:  # noqa: B027 (most readers hold nothing)
        """Release files. Called once; nothing is called afterwards."""


class Input(ABC):
    """Where a source's log comes from: a fixed or growing set of named partitions."""

    @abstractmethod
    def partitions(self) -> list[str]:
        """The names of all partitions that exist now, sorted. Called again while following, to find new ones.

        Names are stable over runs. Empty when nothing matches (yet): a bounded run has no input then, and
        whoever runs it says so with `describe()`. Raises `InputError` when the input does not exist at all.
        """

    @abstractmethod
    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """Open a partition at its start (`position` None) or at a position that one of its readers gave.

        With `follow`, its end is not final: what is appended is read too, and a half-written last line waits.
        """

    @abstractmethod
    def describe(self) -> str:
        """One short line for people, such as `files events/*.jsonl`."""

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

    @abstractmethod
    def write(self, records: Sequence[bytes]) -> None:
        """Write records, each the JSON bytes of one, without a line end. Raises `OutputError`."""

    @abstractmethod
    def position(self) -> Position:
        """Make everything written durable and tell where the output stands. Called at the end of an epoch."""

    def close(self) -> None:  # noqa: B027 (not every writer holds something)
        """Flush and release. Called once at a graceful end."""


class Output(ABC):
    """Where a flow's results go."""

    @property
    def exclusive(self) -> Optional[str]:
        """What only one output of a flow may write, such as the path of a file; None where several may share it."""
        return None

    @abstractmethod
    def open(self, position: Optional[Position], *, fresh: bool) -> OutputWriter:
        """Open for writing at a position that a former writer gave, or at the start (None).

        `fresh` is True only at the very first start of a state directory: then whatever is there already is
        not ours and must not be lost. With `position` None and `fresh` False a former run was ended before
        its first epoch was durable, and what it wrote is taken back.
        """

    @abstractmethod
    def describe(self) -> str:
        """One short line for people, such as `file triggers.jsonl`."""
