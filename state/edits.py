"""Rows of a stopped flow that a person sets or deletes.

What a handler would have done to a row and all that goes with it is done here: its timers in the index, its entries in
the indexes of views, the entries of its logs when it is deleted, and the counts in the control record. The version
stays, so the engine's log knows nothing of it. Edits of a key group are written some thousands at a time, each such
write whole or not at all; whoever is killed between two of them does the same again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from headway.errors import IncompatibleStateError, UsageError
from headway.state.database import CONTROL, ROWS, TIMERS, VERSION_BYTE, Batch, Database
from headway.state.groups import group_of
from headway.state.indexes import RowIndex, spec_of
from headway.state.keys import encode_timer, escape, id_bytes, successor
from headway.state.logs import stored_entries
from headway.state.manifest import Manifest, OperatorEntry
from headway.state.redo import Control
from headway.state.rowvalues import StoredValue, head_of, read_payload
from headway.state.tasks import Generation
from headway.types.logtypes import Reference, encode_reference

__all__ = ["Edit", "Edited", "RowLine", "edit_rows"]

_AT_A_TIME: Final = 2_000


class Edit(NamedTuple):
    """What is to become of one row."""

    key: str
    state: bytes | None
    """The state in MessagePack, of the version that the manifest has; None deletes the row."""
    timers: Mapping[str, int] | None = None
    """Name and due time of each armed timer; None leaves them as they are."""
    logs: Mapping[str, Sequence[bytes]] = {}
    """The entries of its logs that are not empty, encoded, by the names under which the fields are stored."""


class RowLine(msgspec.Struct, frozen=True):
    """A line of a file with rows."""

    key: str
    state: msgspec.Raw
    """In JSON."""
    timers: dict[str, int] | None = None


class Edited(NamedTuple):
    """What was done."""

    added: int = 0
    changed: int = 0
    deleted: int = 0
    missing: int = 0
    """Rows that were to be deleted, and were not there."""

    def plus(self, other: Edited) -> Edited:
        """Both together."""
        return Edited(*(one + more for one, more in zip(self, other)))


def edit_rows(
    directory: Path,
    manifest: Manifest,
    versions: Mapping[tuple[int, int], int],
    operator: str,
    edits: Iterable[Edit],
    touched_ms: int,
    fresh: bytes,
) -> Edited:
    """Carry out edits of an operator's rows; with the lock held, and nothing open. Some 20 µs each, durable on return.

    `versions` are those that are committed, by task and key group. A row that is new says `touched_ms` as the time of
    its last event. One whose state is `fresh`, that of a key of which nothing is known, and that has no timers is not
    kept, as a handler would not leave it. Of two edits of one key the later one counts.

    Raises `UsageError` for an operator whose rows are not those of keys, `IncompatibleStateError` for a group in which
    the flow has not begun.
    """
    entry = manifest.operators.get(operator)
    task = next((number for number, stage in enumerate(manifest.stages) if operator in stage.operators), None)
    if entry is None or task is None or entry.shared:
        listed = ", ".join(name for name, one in manifest.operators.items() if not one.shared) or "it has none"
        msg = f"flow {manifest.flow!r} has no operator {operator!r} that keeps rows of keys: expected one of {listed}"
        raise UsageError(msg)
    by_group: dict[int, dict[str, Edit]] = {}
    for edit in edits:
        by_group.setdefault(group_of(edit.key, manifest.key_groups), {})[edit.key] = edit
    before = Generation(directory, manifest, versions)
    done = Edited()
    with before.groups() as groups:
        for group, database in groups:
            control = before.settle(database, group).get(task)
            wanted = by_group.pop(group, None)
            if wanted is None:
                continue
            if control is None:
                raise _not_begun(directory, group)
            editor = _Editor(database, manifest, entry, operator, before.prefix(task), control, touched_ms, fresh)
            for some in _cut(wanted.values()):
                done = done.plus(editor.carry_out(some))
    if by_group:
        raise _not_begun(directory, min(by_group))
    return done


def _not_begun(directory: Path, group: int) -> IncompatibleStateError:
    return IncompatibleStateError(
        f"{directory}: nothing has come to key group {group:03d} yet, so that nothing can be set there: run the flow "
        "on some of its input first"
    )


def _cut(edits: Collection[Edit]) -> Iterator[list[Edit]]:
    left = iter(edits)
    while some := list(islice(left, _AT_A_TIME)):
        yield some


class _Editor:
    """Edits the rows of one operator in one group."""

    def __init__(
        self,
        database: Database,
        manifest: Manifest,
        entry: OperatorEntry,
        name: str,
        control_key: bytes,
        control: Control,
        touched_ms: int,
        fresh: bytes,
    ) -> None:
        self._fresh = fresh
        self._database = database
        self._entry = entry
        self._name = name
        self._prefix = id_bytes(entry.id)
        self._control_key = control_key
        self._control = control
        self._touched_ms = touched_ms
        self._indexes = [
            RowIndex(spec_of(view), entry.id)
            for view in manifest.views.values()
            if view.index and view.operator_id == entry.id
        ]
        stage = next(stage for stage in manifest.stages if name in stage.operators)
        others = [manifest.operators[other] for other in stage.operators if other != name]
        self._others = [id_bytes(other.id) for other in others if not other.shared]

    def carry_out(self, edits: list[Edit]) -> Edited:
        """Write some edits, durably, whole or not at all."""
        batch = self._database.batch()
        rows = keys = timers = 0
        floor = self._control.timer_floor
        done = Edited()
        for edit in edits:
            stored_key = self._prefix + edit.key.encode()
            old = self._read(stored_key)
            armed = (None if old is None else old.timers) or {}
            chosen = dict(armed if edit.timers is None else edit.timers)
            stays = edit.state is not None and (bool(chosen) or bool(edit.logs) or edit.state != self._fresh)
            self._remove(batch, stored_key, edit.key, old)
            if stays:
                self._put(batch, stored_key, edit, old, chosen)
                timers += len(chosen)
                floor = min([floor, *((due_ms, "", 0, "") for due_ms in chosen.values())])
                done = done.plus(Edited(changed=1) if old is not None else Edited(added=1))
            else:
                done = done.plus(Edited(deleted=1) if old is not None else Edited(missing=1))
            change = int(stays) - int(old is not None)
            rows += change
            keys += change if not self._is_elsewhere(edit.key) else 0
            timers -= 0 if old is None else len(old.timers or {})
        self._control = msgspec.structs.replace(
            self._control,
            rows=self._control.rows + rows,
            keys=self._control.keys + (keys if self._others else 0),
            timers=self._control.timers + timers,
            timer_floor=floor,
        )
        batch.put(CONTROL, self._control_key, self._control.encode())
        self._database.write(batch, sync=True)
        return done

    def _read(self, stored_key: bytes) -> StoredValue | None:
        payload = self._database.get(ROWS, stored_key)
        return None if payload is None else read_payload(self._database, stored_key, payload, self._name)

    def _is_elsewhere(self, key: str) -> bool:
        """Whether another operator of the stage keeps something of a key."""
        return any(self._database.get(ROWS, prefix + key.encode()) is not None for prefix in self._others)

    def _remove(self, batch: Batch, stored_key: bytes, key: str, old: StoredValue | None) -> None:
        """Take out a row with its timers, indexes and logs."""
        if old is None:
            return
        batch.delete(ROWS, stored_key)
        for name, due_ms in (old.timers or {}).items():
            indexed_ms = (old.indexed or {}).get(name, due_ms)
            batch.delete(TIMERS, self._prefix + encode_timer((indexed_ms, key, 0, name)))
        payload = self._database.get(ROWS, stored_key) or b""
        for index in self._indexes:
            entry = index.entry(stored_key, VERSION_BYTE + payload)
            if entry is not None:
                batch.delete(ROWS, entry)
        for number in self._entry.log_numbers:
            start = id_bytes(number) + escape(key)
            for log_key, _ in self._database.scan(ROWS, start, successor(start)):
                batch.delete(ROWS, log_key)

    def _put(
        self, batch: Batch, stored_key: bytes, edit: Edit, old: StoredValue | None, timers: dict[str, int]
    ) -> None:
        touched_ms = self._touched_ms if old is None else old.touched_ms
        assert edit.state is not None
        state: Any = msgspec.Raw(edit.state)
        if edit.logs:
            state = msgspec.msgpack.decode(edit.state)
            for field, entries in edit.logs.items():
                number = self._entry.logs[field]
                state[field] = encode_reference(Reference(number, len(entries)))
                for log_key, stored in stored_entries(number, edit.key, entries):
                    batch.put(ROWS, log_key, stored)
        value = head_of(self._entry.version) + msgspec.msgpack.encode((touched_ms, timers or None, None, state))
        batch.put(ROWS, stored_key, value)
        for name, due_ms in timers.items():
            batch.put(TIMERS, self._prefix + encode_timer((due_ms, edit.key, 0, name)), VERSION_BYTE)
        for index in self._indexes:
            entry = index.entry(stored_key, value)
            if entry is not None:
                batch.put(ROWS, entry, VERSION_BYTE)
