"""Questions about all that a state directory or a savepoint holds: timers in their order, figures, differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, merge
from typing import Any, NamedTuple

import msgspec

from headway.basics.times import MAX_TIME_MS
from headway.state.reader import StateReader, StoredRow
from headway.types.logs import Log

__all__ = ["Difference", "Figures", "StoredTimer", "differences", "figures", "plain_state", "timers"]


class StoredTimer(NamedTuple):
    """An armed timer; they are in the order in which they fire."""

    due_ms: int
    key: str
    operator: str
    name: str


class Difference(NamedTuple):
    """What has become of a row: None where there is none."""

    key: str
    before: StoredRow | None
    after: StoredRow | None


@dataclass
class Figures:
    """How much an operator keeps."""

    rows: int = 0
    timers: int = 0
    bytes: int = 0
    """Of all states in MessagePack, without the entries of logs."""
    largest_bytes: int = 0
    largest_key: str = ""
    touched_first_ms: int | None = None
    """When the row was last touched that has not been for longest."""
    touched_last_ms: int | None = None
    fewest: int = 0
    """Rows of the key group that has the fewest."""
    most: int = 0


def timers(reader: StateReader, operators: Iterable[str], until_ms: int = MAX_TIME_MS) -> Iterator[StoredTimer]:
    """Armed timers that are due by a time, in the order in which they fire; a look at the row of each, some 10 µs.

    The index holds the time at which a timer was first to fire: one that was moved since is put back on the way.
    Raises `UsageError` for an operator that the flow does not have, `CorruptStateError` for what cannot be read.
    """
    return merge(*(_of_operator(reader, operator, until_ms) for operator in operators))


def _of_operator(reader: StateReader, operator: str, until_ms: int) -> Iterator[StoredTimer]:
    later: list[tuple[int, str, str]] = []
    for found in reader.indexed_timers(operator, until_ms):
        while later and later[0] <= found:
            due_ms, key, name = heappop(later)
            yield StoredTimer(due_ms, key, operator, name)
        indexed_ms, key, name = found
        row = reader.get(operator, key)
        now_ms = None if row is None else row.timers.get(name)
        if now_ms == indexed_ms:
            yield StoredTimer(indexed_ms, key, operator, name)
        elif now_ms is not None and indexed_ms < now_ms <= until_ms:
            heappush(later, (now_ms, key, name))
    while later:
        due_ms, key, name = heappop(later)
        yield StoredTimer(due_ms, key, operator, name)


def figures(reader: StateReader, operator: str) -> Figures:
    """How much an operator keeps: reads all its rows, some 3 µs each."""
    found = Figures()
    by_group = dict.fromkeys(range(reader.manifest.key_groups), 0)
    for row in reader.rows(operator):
        size = len(msgspec.msgpack.encode(row.state, enc_hook=_without_entries))
        found.rows += 1
        found.timers += len(row.timers)
        found.bytes += size
        by_group[row.group] += 1
        if size > found.largest_bytes:
            found.largest_bytes, found.largest_key = size, row.key
        first, last = found.touched_first_ms, found.touched_last_ms
        found.touched_first_ms = row.touched_ms if first is None else min(first, row.touched_ms)
        found.touched_last_ms = row.touched_ms if last is None else max(last, row.touched_ms)
    found.fewest, found.most = min(by_group.values()), max(by_group.values())
    return found


def _without_entries(value: Any) -> Any:
    return len(value) if isinstance(value, Log) else repr(value)


def differences(before: StateReader, after: StateReader, operator: str, prefix: str = "") -> Iterator[Difference]:
    """Rows of an operator that one of the two has and the other has not, or that differ, in the order of their keys.

    An operator that one of the two does not know has no rows there. Reads all rows of both, some 5 µs each.
    """
    olds, news = (
        iter(reader.rows(operator, prefix) if operator in reader.kept() else ()) for reader in (before, after)
    )
    old, new = next(olds, None), next(news, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.key < new.key):
            assert old is not None
            yield Difference(old.key, old, None)
            old = next(olds, None)
        elif old is None or new.key < old.key:
            yield Difference(new.key, None, new)
            new = next(news, None)
        else:
            if plain_state(old.state) != plain_state(new.state) or old.timers != new.timers:
                yield Difference(old.key, old, new)
            old, new = next(olds, None), next(news, None)


def plain_state(state: Any) -> Any:
    """A stored state with the entries of its logs as lists."""
    if not isinstance(state, dict):
        return state
    return {name: list(value) if isinstance(value, Log) else value for name, value in state.items()}
