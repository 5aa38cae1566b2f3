"""What commands ask of deliveries: to try again, to put back what was given up, to drop.

The rows of a running flow belong to the dispatchers of its processes, so a command leaves a *request*: a file in the
folder `requests` of the state directory, which is there as a whole or not at all. Each dispatcher looks at the folder
twice a second, with one `stat`, does its part group by group, and adds a line for each to the file of answers beside
it. The command waits for the groups in which it has seen something to do, and removes both files.

**What holds.** A request is carried out at least once in each group, whoever is killed: what a run leaves undone, the
next one does before it starts, or the command itself, once it gets the directory's lock. And it may be carried out
again without harm, because it says what it is about as of when it was made: rows with numbers below those that it
names, and dead ones that had died by then. What has come since is left alone, and so is what was put back and has died
again.

**Rejected.** *A socket*: its path has a hundred bytes, and those who share a state directory need not share a network.
*A named pipe that wakes*: copies of the directory stop at it. *The command writes the rows itself*: the database of a
running group has one writer.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, Optional

import msgspec

from headway.delivery.stats import DeliveryStats
from headway.state.delivery_rows import Dead, Undelivered
from headway.state.files import state_files
from headway.state.private import make_private, open_private, read_private, write_private

__all__ = ["Action", "Answered", "Counts", "Request", "Requests", "trigger_id"]

Action = Literal["retry", "redrive", "drop", "forget", "look"]
"""Try now what waits for a later time; put back what was given up; remove what waits; remove what was given up; tell
how it stands, and change nothing."""

_FOLDER: Final = "requests"
_ASKED: Final = ".json"
_ANSWERS: Final = ".answers"


class _Line(msgspec.Struct):
    id: str


_line: Final = msgspec.json.Decoder(_Line)


def trigger_id(line: bytes) -> str:
    """The id of a CloudEvent."""
    return _line.decode(line).id


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, and what it is about."""

    action: Action
    made_ms: int
    """When, in epoch milliseconds: what died later is not meant."""
    outputs: dict[int, dict[int, int]]
    """By output and key group, both by number: the number that the next row was to get there. Rows from there on are
    not meant."""
    key: Optional[str] = None
    """Only what is of this key."""
    ids: Optional[list[str]] = None
    """Only triggers with these ids."""

    def below(self, output: int, group: int) -> Optional[int]:
        """Which rows are meant of an output in a group: those with numbers below; None where none are."""
        return self.outputs.get(output, {}).get(group)

    def wants(self, below: int) -> Callable[[Undelivered], bool]:
        """Whether rows that wait are meant."""
        return lambda row: row.number < below and self._is_of(row.row.lane, row.row.line)

    def wants_dead(self, dead: Dead) -> bool:
        """Whether one that was given up is meant."""
        return dead.died_ms <= self.made_ms and self._is_of(dead.row.lane, dead.row.line)

    def _is_of(self, key: str, line: bytes) -> bool:
        if self.key is not None and key != self.key:
            return False
        return self.ids is None or trigger_id(line) in self.ids


class Counts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was done."""

    retried: int = 0
    """Keys that are tried now, and had waited for a later time."""
    redriven: int = 0
    dropped: int = 0
    """Triggers, as those that were redriven."""
    under_way: int = 0
    """Triggers that are to be dropped and were just under way: they are when they fail."""

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(
            self.retried + other.retried,
            self.redriven + other.redriven,
            self.dropped + other.dropped,
            self.under_way + other.under_way,
        )


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """One line of answers: of one output, and of one group or, where somebody has looked, of all of a process."""

    output: int
    groups: list[int]
    counts: Counts = Counts()
    stats: Optional[DeliveryStats] = None


class Requests:
    """The folder of requests of a state directory. Raises `StateError` when the disk or the rights do not let it."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / _FOLDER

    def mark(self) -> int:
        """Something that changes when a request comes; 0 where there never was one. One `stat`."""
        try:
            return os.stat(self.folder).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def put(self, request: Request) -> str:
        """Leave a request; returns its name."""
        name = f"{request.made_ms:015d}-{secrets.token_hex(4)}"
        with state_files(self.folder, "write"):
            make_private(self.folder)
            write_private(self.folder / (name + _ASKED), msgspec.json.encode(request), sync=request.action != "look")
        return name

    def pending(self) -> Iterator[tuple[str, Request]]:
        """All requests that nobody has taken back, the oldest first; one that cannot be read is none of ours."""
        with state_files(self.folder, "read"):
            try:
                names = sorted(name for name in os.listdir(self.folder) if name.endswith(_ASKED))
            except FileNotFoundError:
                return
            for name in names:
                with suppress(FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
                    yield name[: -len(_ASKED)], msgspec.json.decode(read_private(self.folder / name), type=Request)

    def answer(self, name: str, answered: Answered) -> None:
        """Say that a part of a request has been carried out; of one that was taken back nothing is said."""
        with state_files(self.folder, "write"):
            if not (self.folder / (name + _ASKED)).exists():
                return
            file = open_private(self.folder / (name + _ANSWERS), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            try:
                os.write(file, msgspec.json.encode(answered) + b"\n")
            finally:
                os.close(file)

    def answers(self, name: str) -> list[Answered]:
        """The answers to a request until now."""
        with state_files(self.folder, "read"):
            try:
                data = read_private(self.folder / (name + _ANSWERS))
            except FileNotFoundError:
                return []
        found = []
        for line in data.splitlines(keepends=True):
            if line.endswith(b"\n"):
                with suppress(msgspec.DecodeError, UnicodeDecodeError):  # Torn, as on a full disk.
                    found.append(msgspec.json.decode(line, type=Answered))
        return found

    def remove(self, name: str) -> None:
        """Take a request back, with its answers."""
        with state_files(self.folder, "write"):
            for ending in (_ASKED, _ANSWERS):
                (self.folder / (name + ending)).unlink(missing_ok=True)

    def is_there(self, name: str) -> bool:
        """Whether a request is still to be carried out, or answered, by somebody."""
        return (self.folder / (name + _ASKED)).exists()
