"""The redo log of one task in one key group: where it stands, and the delta that is not committed everywhere yet."""

from __future__ import annotations

from typing import Final

import msgspec

from headway.basics.crashpoints import reached
from headway.errors import IncompatibleStateError
from headway.state.database import CONTROL, DELIVERIES, OUTBOX, PENDING, ROWS, TIMERS, WAITING, Batch, Database
from headway.state.keys import successor
from headway.state.redo import NO_STATE, Control, Delta

__all__ = ["RedoLog", "chunk_key"]

_VERSION_BYTES: Final = 8
_CHUNK_BYTES: Final = 4


class RedoLog:
    """Moves a task from version to version; both the last one and the one before can be returned to.

    `write` makes a delta pending and the one before final, in one atomic write; `promote` makes the pending one final.
    Readers of the main column families see only what is final. `control` is the last committed one, `pending` the
    delta that is not final yet.
    """

    def __init__(self, database: Database, name: str, prefix: bytes) -> None:
        self.control = NO_STATE
        self.pending: Delta | None = None
        self._pending_keys: list[bytes] = []
        self._database = database
        self._name = name
        self._prefix = prefix

    def resume(self, token_version: int | None) -> Control:
        """Go to the version that is committed everywhere, None when the engine knows of none.

        Reads the pending delta at most. Raises `IncompatibleStateError` when that version is neither stored nor
        pending, `CorruptStateError` when something cannot be read.
        """
        main = self._read_control()
        pending = self._read_pending(main.version)
        self._check_token(token_version, main.version, pending is not None)
        batch = self._database.batch()
        for key in self._pending_keys:
            batch.delete(PENDING, key)
        if pending is not None and token_version == main.version + 1:
            self._put(batch, pending)
            main = pending.control
        reached("resumption.before")
        self._database.write(batch, sync=False)
        reached("resumption.after")
        self.pending, self._pending_keys = None, []
        self.control = main
        return main

    def write(self, delta: Delta, *, keeps_outbox: bool = True) -> None:
        """Make `delta` pending and the one before final; it is durable once the database is synced."""
        batch = self._database.batch()
        self._promote_into(batch, keeps_outbox=keeps_outbox)
        chunks = delta.encode()
        keys = [self._chunk_key(delta.control.version, index) for index in range(len(chunks))]
        for key, chunk in zip(keys, chunks, strict=True):
            batch.put(PENDING, key, chunk)
        reached("delta.before")
        self._database.write(batch, sync=False)
        reached("delta.after")
        self.pending, self._pending_keys, self.control = delta, keys, delta.control

    def promote(self, *, keeps_outbox: bool = True) -> None:
        """Make the pending delta final; only once its version is committed everywhere.

        Without `keeps_outbox` what it has for the outbox is left out, as it has been delivered.
        """
        batch = self._database.batch()
        self._promote_into(batch, keeps_outbox=keeps_outbox)
        reached("promotion.before")
        self._database.write(batch, sync=False)
        reached("promotion.after")
        self.pending, self._pending_keys = None, []

    def _promote_into(self, batch: Batch, *, keeps_outbox: bool) -> None:
        if self.pending is not None:
            self._put(batch, self.pending, keeps_outbox=keeps_outbox)
            for key in self._pending_keys:
                batch.delete(PENDING, key)

    def _put(self, batch: Batch, delta: Delta, *, keeps_outbox: bool = True) -> None:
        batch.apply(ROWS, delta.rows)
        batch.apply(TIMERS, delta.timers)
        batch.apply(WAITING, delta.waiting)
        batch.apply(DELIVERIES, delta.deliveries)
        if keeps_outbox:
            batch.apply(OUTBOX, delta.outbox)
        batch.put(CONTROL, self._prefix, delta.control.encode())

    def _chunk_key(self, version: int, index: int) -> bytes:
        return chunk_key(self._prefix, version, index)

    def _read_control(self) -> Control:
        payload = self._database.get(CONTROL, self._prefix)
        if payload is None:
            return NO_STATE
        try:
            return Control.decode(payload)
        except msgspec.DecodeError as error:
            raise self._database.corrupt(CONTROL, self._prefix, f"not a control record ({error})") from error

    def _read_pending(self, main_version: int) -> Delta | None:
        """The delta behind the main version; searched from there on, to pass no deleted ones."""
        start, end = self._chunk_key(main_version + 1, 0), successor(self._prefix)
        found = list(self._database.scan(PENDING, start, end))
        self._pending_keys = [key for key, _ in found]
        if not found:
            return None
        payloads = [self._database.unwrap(PENDING, key, value) for key, value in found]
        try:
            delta = Delta.decode(payloads)
        except msgspec.DecodeError as error:
            raise self._database.corrupt(PENDING, found[0][0], f"not a pending delta ({error})") from error
        if delta.control.version != main_version + 1:
            why = f"the pending delta has version {delta.control.version}, expected {main_version + 1}"
            raise self._database.corrupt(PENDING, found[0][0], why)
        return delta

    def _check_token(self, token: int | None, main: int, has_pending: bool) -> None:
        if token == main or (token == main + 1 and has_pending) or (token is None and main == 0):
            return
        database = self._database
        where = f"state directory {database.directory}, key group {database.group:03d}, stage {self._name!r}"
        held = f"version {main}" + (f" and a pending version {main + 1}" if has_pending else "")
        if token is None:
            msg = (
                f"{where}: it holds data of {held}, but the recovery log knows nothing of it; put the recovery log "
                "back that belongs to it, or start with an empty state directory"
            )
        else:
            msg = (
                f"{where}: the recovery log says version {token}, expected one that is there: it holds {held}; "
                "recovery log and state are from different times or runs: restore both from the same backup"
            )
        raise IncompatibleStateError(msg)


def chunk_key(prefix: bytes, version: int, index: int) -> bytes:
    """Where a part of a pending delta is stored, by the prefix of its task."""
    return prefix + version.to_bytes(_VERSION_BYTES, "big") + index.to_bytes(_CHUNK_BYTES, "big")
