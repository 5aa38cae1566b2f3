"""States that a person gives in JSON, as edits of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headway.basics.times import EARLIEST_MS, LAST_TIMER_MS
from headway.basics.utf8 import is_utf8
from headway.errors import UsageError
from headway.state.edits import Edit
from headway.types.logs import Log
from headway.types.logtypes import EntryCodec, decode_migrated, encode_log, log_fields
from headway.types.values import shape_of

__all__ = ["GivenStates"]

_MISFITS = (msgspec.DecodeError, UnicodeError, TypeError, ValueError, NotImplementedError, RecursionError)
"""What decoders and encoders raise for JSON that is no such state."""


class GivenStates:
    """Makes edits of an operator out of states in JSON, which are of the class `state_type`; a log is a list there."""

    def __init__(self, operator: str, state_type: Any) -> None:
        self._operator = operator
        self._type = state_type
        self._decode = msgspec.json.Decoder(state_type, dec_hook=decode_migrated).decode
        self._encode = msgspec.msgpack.Encoder(enc_hook=encode_log).encode
        self._logs = [
            (field, EntryCodec(field.entry_type, shape_of(field.entry_type, f"the entries of {operator}.{field.name}")))
            for field in log_fields(state_type)
        ]
        self._given = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    @property
    def fresh(self) -> bytes:
        """The state of a key of which nothing is known, in MessagePack."""
        state = self.edit("", b"{}", None, "an empty state").state
        assert state is not None
        return state

    def edit(self, key: str, text: bytes, timers: Mapping[str, int] | None, what: str) -> Edit:
        """The edit that gives a key a state. `what` says in an error where the state was found.

        Raises `UsageError` for a state that is not of the class, a key that is not UTF-8, and a timer that cannot be.
        """
        self.check_key(key)
        for name, due_ms in (timers or {}).items():
            if not EARLIEST_MS <= due_ms <= LAST_TIMER_MS:
                msg = (
                    f"{what}: the timer {name!r} of {key!r} is due at {due_ms}, expected epoch milliseconds from "
                    f"{EARLIEST_MS} to {LAST_TIMER_MS} (the end of the year 9999); nothing was changed"
                )
                raise UsageError(msg)
        try:
            state = self._decode(text)
            logs = {field.key: self._entries(text, field.key, codec, field.entry_type) for field, codec in self._logs}
            for field, _ in self._logs:
                setattr(state, field.name, Log())
            return Edit(key, self._encode(state), timers, {name: entries for name, entries in logs.items() if entries})
        except _MISFITS as error:
            msg = (
                f"{what} cannot be a state of {self._operator!r}, which keeps a {self._type.__name__}: {error}; "
                "nothing was changed"
            )
            raise UsageError(msg) from error

    def check_key(self, key: str) -> None:
        """Raise `UsageError` for a text that cannot be a key."""
        if not is_utf8(key):
            msg = f"{key!r} is not UTF-8, so it is no key of {self._operator!r}; nothing was changed"
            raise UsageError(msg)

    def _entries(self, text: bytes, field: str, codec: EntryCodec, entry_type: Any) -> list[bytes]:
        """The entries of a log, encoded."""
        given = self._given(text).get(field)
        try:
            entries = [] if given is None else msgspec.json.decode(given, type=list[entry_type] | None)
        except msgspec.DecodeError as error:
            msg = f"the log {field!r}: {error}"
            raise TypeError(msg) from error
        return [codec.encode(entry) for entry in entries or ()]
