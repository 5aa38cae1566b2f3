"""The views of a flow as they are read: where their rows are, and what is shown of one."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Optional

import msgspec

from headway.graph import View
from headway.plan.stages import Plan, Table
from headway.state.indexes import indexed_key
from headway.state.keys import ID_BYTES, id_bytes, successor
from headway.state.logs import LogTable, summary
from headway.state.manifest import Manifest, OperatorEntry, ViewEntry
from headway.state.rowvalues import RowValues
from headway.state.snapshots import Snapshot
from headway.types.logtypes import log_fields

__all__ = ["Catalog", "Found", "Presence", "Shown"]

_NONE: Final = b"null"
_ENTRIES_OF_ONE: Final = 1_000
"""Of each log where one key is asked for: the last ones."""
_ENTRIES_OF_MANY: Final = 3


class Presence(enum.Enum):
    """Whether there is something of a key."""

    PRESENT = "present"
    ABSENT = "absent"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True)
class Found:
    """What a view says of one key."""

    key: str
    presence: Presence
    value: bytes = _NONE
    """As JSON."""
    time_ms: int = 0
    """The event time at which it was stored; of what was forgotten, when that was."""
    timers: Optional[dict[str, int]] = None
    """What is armed for the key, where a state is shown."""


class Shown:
    """One view: reads rows of snapshots. All methods raise what reading and decoding raises: `HeadwayError`s."""

    def __init__(
        self,
        view: View,
        entry: ViewEntry,
        table: Table,
        task: int,
        sources: frozenset[str],
        kept: OperatorEntry,
    ) -> None:
        self.view = view
        self.name = view.name
        self.task = task
        self.sources = sources
        """The sources whose events reach it."""
        self.index = entry.index
        """The field by which the greatest are found; empty where there is none."""
        self._index_id = entry.index_id
        self._number = entry.operator_id
        self._prefix = id_bytes(entry.operator_id)
        self._table = table
        self._kept = kept
        self._logs = log_fields(table.state_type)
        self._snapshot: Optional[Snapshot] = None
        """The one that is being read."""
        self._values: dict[int, RowValues] = {}
        self._encode = msgspec.json.Encoder().encode

    def get(self, snapshot: Snapshot, key: str) -> Found:
        """What there is of a key: some 10 µs. Of a log the length and its last entries, at most 1,000."""
        stored = snapshot.get(self._number, key)
        return Found(key, Presence.ABSENT) if stored is None else self._found(snapshot, key, stored, _ENTRIES_OF_ONE)

    def stored(self, snapshot: Snapshot, key: str) -> Any:
        """The whole state of a key, whatever of it is shown; None where there is none.

        Its logs are to be read at once: before anything else is asked for.
        """
        stored = snapshot.get(self._number, key)
        if stored is None:
            return None
        values, (*_, state) = self._read(snapshot, key, stored)
        if values.logs is not None:
            self._bind(values, snapshot, key, stored, state)
        return state

    def states(self, snapshot: Snapshot, prefix: str, start: str) -> Iterator[tuple[str, Any]]:
        """The keys that begin with `prefix`, from `start` on, with their whole states but for logs."""
        for stored_key, stored in snapshot.scan(*self._range(prefix, start)):
            key = stored_key[ID_BYTES:].decode()
            yield key, self._read(snapshot, key, stored)[1][3]

    def page(self, snapshot: Snapshot, prefix: str, start: str, limit: int, most_bytes: int) -> tuple[list[Found], str]:
        """Keys that begin with `prefix`, from `start` on, and the key to go on with, empty at the end.

        At most `limit`, and no more once `most_bytes` are reached.
        """
        found: list[Found] = []
        size = 0
        rows = snapshot.scan(*self._range(prefix, start))
        if self._logs:  # They are read from the snapshot, too, and not while it is being scanned.
            rows = iter(list(islice(rows, limit + 1)))
        for stored_key, stored in rows:
            key = stored_key[ID_BYTES:].decode()
            if len(found) == limit or size >= most_bytes:
                return found, key
            one = self._found(snapshot, key, stored)
            if one.presence is Presence.PRESENT:
                found.append(one)
                size += len(one.value)
        return found, ""

    def count_some(self, snapshot: Snapshot, prefix: str, start: str, most: int) -> tuple[int, str]:
        """How many of the next `most` rows are of keys that are there, and the key to go on with, empty at the end."""
        count = 0
        for seen, (stored_key, stored) in enumerate(snapshot.scan(*self._range(prefix, start))):
            key = stored_key[ID_BYTES:].decode()
            if seen == most:
                return count, key
            count += not self.view.of_stream or self._found(snapshot, key, stored).presence is Presence.PRESENT
        return count, ""

    def top(self, snapshot: Snapshot, count: int) -> list[Found]:
        """The keys with the greatest values of the indexed field, the greatest first; by key where they are equal."""
        prefix = id_bytes(self._index_id)
        entries = snapshot.scan(prefix, successor(prefix))
        keys = [indexed_key(entry) for entry, _ in islice(entries, count)]
        return [self.get(snapshot, key) for key in keys]

    def _range(self, prefix: str, start: str) -> tuple[bytes, bytes]:
        least = self._prefix + prefix.encode()
        return max(least, self._prefix + start.encode()), successor(least)

    def _found(self, snapshot: Snapshot, key: str, stored: bytes, most: int = _ENTRIES_OF_MANY) -> Found:
        values, (time_ms, timers, _, state) = self._read(snapshot, key, stored)
        if values.logs is not None:
            self._bind(values, snapshot, key, stored, state)
            for field in self._logs:
                is_shown = not self.view.fields or field.key in self.view.fields
                setattr(state, field.name, summary(getattr(state, field.name), most) if is_shown else None)
        if not self.view.of_stream:
            return Found(key, Presence.PRESENT, self._shown(state), time_ms, timers or {})
        if state.forgotten_ms is not None:
            return Found(key, Presence.FORGOTTEN, time_ms=state.forgotten_ms)
        return Found(key, Presence.PRESENT, self._shown(state.value), time_ms)

    def _bind(self, values: RowValues, snapshot: Snapshot, key: str, stored: bytes, state: Any) -> None:
        """Let the logs of a state be read, from this snapshot, until another one is bound."""
        self._snapshot = snapshot
        values.bind(self._prefix + key.encode(), stored, state)

    def _read(self, snapshot: Snapshot, key: str, stored: bytes) -> tuple[RowValues, Any]:
        """What is stored of a key, with what reads it; logs are not bound yet."""
        database = snapshot.database(key)
        assert database is not None
        values = self._values.get(database.group)
        if values is None:
            table = self._table
            values = self._values[database.group] = RowValues(
                *(table.name, table.state_type, table.version, table.migrate, database, self._prefix),
                LogTable.of(
                    *(table.name, table.state_type, self._kept.logs, self._kept.former_logs, database, self._entries)
                ),
            )
        return values, values.read(self._prefix + key.encode(), stored)

    def _entries(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        assert self._snapshot is not None
        return self._snapshot.entries(start, end)

    def _shown(self, value: Any) -> bytes:
        fields = self.view.fields
        if fields:
            plain = msgspec.to_builtins(value, str_keys=True)
            value = {name: plain[name] for name in fields if name in plain}
        return self._encode(value)


class Catalog:
    """The views that a state directory has, and the flow declares."""

    def __init__(self, plan: Plan, manifest: Manifest) -> None:
        self.manifest = manifest
        self.views: dict[str, Shown] = {}
        self.missing = [name for name in plan.graph.views if name not in manifest.views]
        """Views that no run has known yet."""
        tables = {table.name: table for stage in plan.stages for table in stage.tables()}
        tasks = {name: task for task, stage in enumerate(manifest.stages) for name in stage.operators}
        feeds = _sources_of(plan)
        for name, view in plan.graph.views.items():
            entry = manifest.views.get(name)
            if entry is None or entry.operator != view.operator or entry.operator not in tasks:
                continue
            table, task = tables[view.operator], tasks[view.operator]
            kept = manifest.operators[entry.operator]
            self.views[name] = Shown(view, entry, table, task, feeds[view.operator], kept)

    @property
    def tasks(self) -> list[int]:
        """Those whose rows are shown."""
        return sorted({shown.task for shown in self.views.values()})


def _sources_of(plan: Plan) -> dict[str, frozenset[str]]:
    """By operator the sources whose events reach the stage that it runs in."""
    reached: dict[str, set[str]] = {}
    for stage in plan.stages:  # Those that feed others come first.
        sources = set[str]()
        for edge in stage.inputs:
            sources |= reached.get(edge.producer.node, {edge.producer.node})
        reached |= {node.name: sources for node in stage.operators}
    return {name: frozenset(sources) for name, sources in reached.items()}
