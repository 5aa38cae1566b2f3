"""The sender's side of an exchange: records to the groups of their keys, and the watermark to all groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headway.basics.scanning import sort_columns, sort_records
from headway.errors import UserCodeError
from headway.runtime.batch import Batch, Record

__all__ = ["Exchange", "Message", "Router", "as_key", "to_everyone"]

Message = tuple[str, int, Batch]
"""`(target stage, key group, batch)`: what the engine carries."""

HEARTBEAT_MS = 100
"""How often, at most, silent groups are told the watermark."""


class Router:
    """Sorts records into key groups, see `group_of`."""

    def __init__(self, groups: int) -> None:
        self._lists: list[list[Record]] = [[] for _ in range(groups)]

    def sort_in(self, records: list[Record]) -> None:
        """Take records, each a tuple with its key at the second place."""
        try:
            sort_records(records, self._lists)
        except UnicodeEncodeError as error:
            raise _unencodable_key(error) from None

    def sort_columns_in(self, times: list[int], keys: list[str], values: list[Any]) -> None:
        """Take records as columns of their times, keys and values."""
        try:
            sort_columns(times, keys, values, self._lists)
        except UnicodeEncodeError as error:
            raise _unencodable_key(error) from None

    def mark(self) -> list[int]:
        """How many records there are of each group, for `take_back`."""
        return list(map(len, self._lists))

    def take_back(self, mark: list[int]) -> None:
        """Drop what was sorted in after a `mark`."""
        for records, count in zip(self._lists, mark):
            del records[count:]

    def take(self) -> dict[int, list[Record]]:
        """The records sorted in since the last time, by group."""
        taken = {group: records for group, records in enumerate(self._lists) if records}
        for group in taken:
            self._lists[group] = []
        return taken


def _unencodable_key(error: UnicodeEncodeError) -> UserCodeError:
    return UserCodeError(
        f"the key {error.object!r:.100} has no encoding ({error.reason}): a function that gives keys must make text "
        "without halves of surrogate pairs"
    )


def as_key(value: Any) -> str:
    """The key that a value means: text as it is, an integer as its digits. Raises `ValueError` for others."""
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str.__str__(value)  # Not `str(value)`: an enum's says its name.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    msg = f"the key is {value!r}, expected text or an integer"
    raise ValueError(msg)


def to_everyone(records: list[Record], groups: list[int]) -> dict[int, list[Record]]:
    """Broadcast records: the same for each group, in a list of its own."""
    return {group: records.copy() for group in groups} if records else {}


class Exchange:
    """One edge, as seen by one of its channels.

    Groups that get records learn the watermark with them; the others get a heartbeat, at most every
    `HEARTBEAT_MS` unless forced.

    A message of an epoch also proves to its receiver that the epoch before is durable on every worker. The sender sees
    to that: it sends only after it knows so itself, and calls `prove` once in an epoch, for the groups that would
    otherwise hear nothing in it.
    """

    def __init__(self, edge: int, target: str, channel: str, groups: list[int]) -> None:
        self.edge = edge
        self.target = target
        self.channel = channel
        self.groups = groups
        self._told: dict[int, int] = {}
        self._addressed: set[int] = set()
        """The groups that have been sent something in this epoch."""
        self._heartbeat_at_ms = 0

    def send(self, by_group: dict[int, list[Record]], part: str, watermark: int, out: list[Message]) -> None:
        """Send records, already sorted into groups."""
        told = self._told
        for group, records in by_group.items():
            told[group] = watermark
            self._addressed.add(group)
            out.append((self.target, group, Batch(self.edge, self.channel, group, watermark, part, records)))

    def open_epoch(self) -> None:
        """An epoch has begun in which nobody has been sent anything yet."""
        self._addressed.clear()

    def prove(self, watermark: int, out: list[Message]) -> None:
        """Send something to each group that has not been sent anything in this epoch."""
        for group in self.groups:
            if group not in self._addressed:
                self._beat(group, watermark, out)

    def heartbeat(self, watermark: int, now_ms: int, out: list[Message], *, force: bool) -> int | None:
        """Tell the watermark to the groups that do not know it yet, now or later.

        Returns None when all know it, else the time (on the clock of `now_ms`) at which to call again.
        """
        told = self._told
        silent = [group for group in self.groups if told.get(group) != watermark]
        if not silent:
            return None
        if not force and now_ms < self._heartbeat_at_ms:
            return self._heartbeat_at_ms
        self._heartbeat_at_ms = now_ms + HEARTBEAT_MS
        for group in silent:
            self._beat(group, watermark, out)
        return None

    def hasten(self, groups: Iterable[int], watermark: int, out: list[Message]) -> None:
        """Tell the watermark at once to groups that wait for time to pass."""
        for group in groups:
            if self._told.get(group) != watermark and group in self._told:
                self._beat(group, watermark, out)

    def _beat(self, group: int, watermark: int, out: list[Message]) -> None:
        self._told[group] = watermark
        self._addressed.add(group)
        out.append((self.target, group, Batch(self.edge, self.channel, group, watermark, "", [])))
