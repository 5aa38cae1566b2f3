"""Taking back what a handler has done to a row: its state, its timers, and where the index has them."""

from __future__ import annotations

from typing import Any

import msgspec

from headway.state.rows import Row, RowTable
from headway.state.timers import TimerIndex
from headway.types.logtypes import decode_log, encode_log
from headway.types.misfits import misfit_of
from headway.types.typekinds import can_repeat
from headway.types.values import shape_of

__all__ = ["RowGuard"]


class RowGuard:
    """What a row of one table was before handlers changed it. `keep`, then `undo` or `row = None`, again and again.

    A state is kept as its bytes, as storage has it: about 0.5 µs for a small one, and what is restored is what a
    restart would have read. `check` says at once what the commit would say at the end of the epoch, when nobody could
    tell any more which event it was.
    """

    def __init__(self, table: RowTable, state_type: Any, timers: TimerIndex, *, may_share: bool) -> None:
        self.row: Row | None = None
        """The row that is kept; None when none is."""
        self._table = table
        self._timers = timers
        self._logs = table.logs
        has_none = self._logs is None
        self._encode = msgspec.msgpack.Encoder(enc_hook=None if has_none else encode_log).encode
        self._decode = msgspec.msgpack.Decoder(state_type, dec_hook=None if has_none else decode_log).decode
        self._shape = shape_of(state_type, f"the state of the operator {table.name!r}", has_logs=True)
        self._sees_repeats = not may_share and can_repeat(state_type)
        self._state = b""
        self._touched_ms = 0
        self._first: tuple[str | None, int, int] = (None, 0, 0)
        self._others: dict[str, tuple[int, int]] | None = None
        self._logs_before: Any = None

    def keep(self, row: Row) -> None:
        """Remember the row as it is now."""
        self.row = row
        self._state = self._encode(row.state)
        self._touched_ms = row.touched_ms
        self._first = (row.timer, row.due_ms, row.at_ms)
        self._others = None if row.others is None else dict(row.others)
        if self._logs is not None:
            self._logs_before = self._logs.keep(row.logs)

    def check(self, row: Row) -> None:
        """Raise `UserCodeError` for a state that could not be stored as its type says."""
        try:
            self._encode(row.state)
            if self._shape.fits(row.state, set() if self._sees_repeats else None):
                if self._logs is not None:
                    self._logs.check(row.state, row.logs)
                return
            raise TypeError(misfit_of(self._shape, row.state, "state"))
        except Exception as error:
            raise self._table.unencodable(row, error) from None

    def undo(self) -> None:
        """Make the row what it was. It stays among the changed ones: it is written as it was."""
        row = self.row
        assert row is not None
        after = _indexed(row)
        row.state = self._decode(self._state)
        if self._logs is not None:
            row.logs = self._logs.undo(row.state, self._logs_before)
        row.touched_ms = self._touched_ms
        row.timer, row.due_ms, row.at_ms = self._first
        row.others = self._others
        before = _indexed(row)
        for name, at_ms in after.items():
            if before.get(name) != at_ms:
                self._timers.discard((at_ms, row.key, self._table.rank, name))
        for name, at_ms in before.items():
            if after.get(name) != at_ms:
                self._timers.add((at_ms, row.key, self._table.rank, name))
        self.row = None


def _indexed(row: Row) -> dict[str, int]:
    """Where the index has each timer."""
    found = {name: at_ms for name, (_, at_ms) in (row.others or {}).items()}
    if row.timer is not None:
        found[row.timer] = row.at_ms
    return found
