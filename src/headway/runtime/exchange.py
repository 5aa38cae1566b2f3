"""The sender's side of an exchange: records to the groups of their keys, and the watermark to all groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headway.runtime.batch import Batch, Record
from headway.state.groups import group_of

__all__ = ["Exchange", "Message", "Router", "as_key", "to_everyone"]

Message = tuple[str, int, Batch]
"""`(target stage, key group, batch)`: what the engine carries."""

HEARTBEAT_MS = 100
"""How often, at most, silent groups are told the watermark."""

_CACHED_KEYS = 1_000_000


class Router:
    """Sorts records into key groups. The group of each key is remembered, until a million keys are known."""

    def __init__(self, groups: int) -> None:
        self._lists: list[list[Record]] = [[] for _ in range(groups)]
        self._list_of: dict[str, list[Record]] = {}

    def sort_in(self, records: Iterable[Record]) -> None:
        """Take records, each a tuple with its key at the second place."""
        list_of = self._list_of
        for record in records:
            group_records = list_of.get(record[1])
            if group_records is None:
                group_records = self._find(record[1])
            group_records.append(record)

    def take(self) -> dict[int, list[Record]]:
        """The records sorted in since the last time, by group."""
        taken = {}
        for group, records in enumerate(self._lists):
            if records:
                taken[group] = records.copy()
                records.clear()
        return taken

    def _find(self, key: str) -> list[Record]:
        if len(self._list_of) >= _CACHED_KEYS:
            self._list_of.clear()
        records = self._list_of[key] = self._lists[group_of(key, len(self._lists))]
        return records


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
    """

    def __init__(self, edge: int, target: str, channel: str, groups: list[int]) -> None:
        self.edge = edge
        self.target = target
        self.channel = channel
        self.groups = groups
        self._told: dict[int, int] = {}
        self._heartbeat_at_ms = 0

    def send(self, by_group: dict[int, list[Record]], part: str, watermark: int, out: list[Message]) -> None:
        """Send records, already sorted into groups."""
        told = self._told
        for group, records in by_group.items():
            told[group] = watermark
            out.append((self.target, group, Batch(self.edge, self.channel, group, watermark, part, records)))

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
            told[group] = watermark
            out.append((self.target, group, Batch(self.edge, self.channel, group, watermark, "", [])))
        return None
