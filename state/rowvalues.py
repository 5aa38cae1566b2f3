"""What is stored of a row: of the present version of a state it is read at once, of an older one it is migrated.

A value is the byte of the format, the version of the state's schema in two bytes, and in MessagePack the time of the
last touch when it was stored, when the timers are due and where they are indexed, and the state. So the version is
known before anything is decoded, and costs nothing where it is the present one. A row that was touched and is what it
was is not stored again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.errors import IncompatibleStateError, UserCodeError
from headway.state.database import ROWS, VERSION_BYTE, Database
from headway.state.logs import LogTable, RowLogs, references_in
from headway.types.logtypes import decode_log, decode_migrated, encode_migrated

__all__ = [
    "HEAD_BYTES",
    "INTEGER_BYTES",
    "Migrate",
    "RowValues",
    "StoredValue",
    "Timers",
    "head_of",
    "read_payload",
    "shorten",
    "timers_of",
]

Timers = Optional[dict[str, int]]
"""Times by the names of timers, or None for none. A dict of texts and numbers is nothing that the collector walks."""

Migrate = Callable[[Any, int], Any]
"""Makes a state out of an older one: given its builtins and the version that wrote them, returns the state, or its
builtins."""

HEAD_BYTES: Final = 3

INTEGER_BYTES: Final = bytes(
    {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}.get(first, 1) for first in range(256)
)
"""How long an integer in MessagePack is, by its first byte."""


class StoredValue(NamedTuple):
    """What a row's value says, the state as it was stored."""

    version: int
    touched_ms: int
    timers: Timers
    indexed: Timers
    state: Any


def head_of(version: int) -> bytes:
    r"""What the values of rows begin with whose state is of a version.

    >>> head_of(2)
    b'\x01\x00\x02'
    """
    return VERSION_BYTE + version.to_bytes(HEAD_BYTES - 1, "big")


def read_payload(database: Database, stored_key: bytes, payload: bytes, name: str) -> StoredValue:
    """All that a row of the operator `name` says, whatever its version, in a value without the byte of the format.

    The state is in plain builtins. Raises `CorruptStateError` for what is no value of a row.
    """
    try:
        return StoredValue(_version(payload), *_decoder.decode(payload[HEAD_BYTES - 1 :]))
    except msgspec.DecodeError as error:
        raise database.corrupt(ROWS, stored_key, f"not a row of operator {name!r} ({error})") from error


def timers_of(database: Database, stored_key: bytes, value: bytes, name: str) -> Timers:
    """When the timers of a row are due, whatever its state is; raises `CorruptStateError`."""
    payload = database.unwrap(ROWS, stored_key, value)
    try:
        timers: Timers = _timers_decoder.decode(payload[HEAD_BYTES - 1 :])[1]
    except msgspec.DecodeError as error:
        raise database.corrupt(ROWS, stored_key, f"not a row of operator {name!r} ({error})") from error
    return timers


class RowValues:
    """How the rows of one operator are stored, and what becomes of those of older versions of its state.

    `head` is what the values of the present version begin with.
    """

    def __init__(
        self,
        name: str,
        state_type: type[Any],
        version: int,
        migrate: Optional[Migrate],
        database: Database,
        prefix: bytes,
        logs: Optional[LogTable] = None,
    ) -> None:
        self.head = head_of(version)
        self.logs = logs
        self._decode: Callable[[bytes], tuple[int, Timers, Timers, Any]] = msgspec.msgpack.Decoder(
            tuple[int, Timers, Timers, state_type],  # type: ignore[valid-type]
            dec_hook=None if logs is None else decode_log,
        ).decode
        self._name = name
        self._type_name = state_type.__name__
        self._version = version
        self._migrate = migrate
        self._database = database
        self._prefix = prefix
        self._encode = msgspec.msgpack.Encoder(enc_hook=None if logs is None else encode_migrated).encode
        self._decode_state: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
            state_type, dec_hook=None if logs is None else decode_migrated
        ).decode

    def read(self, stored_key: bytes, value: bytes) -> tuple[int, Timers, Timers, Any]:
        """What a value says, its state as one of the present version; changes nothing that is stored.

        Raises `IncompatibleStateError` for a state that does not fit, `UserCodeError` when `migrate` fails, and
        `CorruptStateError` for what is no value of a row.
        """
        if value.startswith(self.head):
            try:
                return self._decode(value[HEAD_BYTES:])
            except msgspec.DecodeError as error:
                self._stored(stored_key, value)
                raise self._misfit(stored_key, error) from error
        stored = self._stored(stored_key, value)
        if stored.version > self._version or self._migrate is None:
            raise self._unknown(stored_key, stored.version)
        return stored.touched_ms, stored.timers, stored.indexed, self._migrated(stored_key, stored)

    def bind(self, stored_key: bytes, value: bytes, state: Any) -> RowLogs:
        """Make the logs of a state that `read` has given those of its key; raises as `read` does."""
        assert self.logs is not None
        key = self._key(stored_key)
        if value.startswith(self.head):
            return self.logs.bind(key, state)
        stored = self._stored(stored_key, value)
        try:
            return self.logs.bind(key, state, references_in(stored.state))
        except msgspec.DecodeError as error:
            fault = f"returned entries of a log that are not of its declared type ({error})"
            raise self._failed(stored_key, stored.version, self._encode(stored.state), fault) from error

    def _stored(self, stored_key: bytes, value: bytes) -> StoredValue:
        payload = self._database.unwrap(ROWS, stored_key, value)
        return read_payload(self._database, stored_key, payload, self._name)

    def _migrated(self, stored_key: bytes, stored: StoredValue) -> Any:
        """The state that `migrate` makes, as it would be read had it been stored."""
        assert self._migrate is not None
        before = self._encode(stored.state)
        old = stored.state if self.logs is None else self.logs.given(self._key(stored_key), stored.state)
        try:
            made = self._migrate(old, stored.version)
        except Exception as error:
            raise self._failed(stored_key, stored.version, before, f"raised {error!r}") from error
        try:
            return self._decode_state(self._encode(made))
        except Exception as error:  # What an encoder meets in user's objects raises anything.
            fault = f"returned {shorten(repr(made))}, which is no {self._type_name} ({error})"
            raise self._failed(stored_key, stored.version, before, fault) from error

    def _key(self, stored_key: bytes) -> str:
        return stored_key[len(self._prefix) :].decode(errors="replace")

    def _failed(self, stored_key: bytes, version: int, before: bytes, fault: str) -> UserCodeError:
        state = shorten(repr(msgspec.msgpack.decode(before)))
        return UserCodeError(
            f"operator {self._name!r}, key {self._key(stored_key)!r}: migrate {fault}, given the state of version "
            f"{version}: {state}; nothing stored has changed. Mend it, and start again: it returns a state of version "
            f"{self._version}, or its builtins"
        )

    def _misfit(self, stored_key: bytes, error: Exception) -> IncompatibleStateError:
        return IncompatibleStateError(
            f"operator {self._name!r}, key {self._key(stored_key)!r} in {self._database.directory}: the stored state "
            f"does not fit {self._type_name}: {error}; run the version of the flow that wrote it, or give the state "
            f"state_version = {self._version + 1} and a migrate that takes version {self._version}"
        )

    def _unknown(self, stored_key: bytes, version: int) -> IncompatibleStateError:
        step = (
            f"run a version of the flow whose state_version is {version} or more"
            if version > self._version
            else f"give the state's class a migrate(cls, old, version) that takes version {version}"
        )
        return IncompatibleStateError(
            f"operator {self._name!r}, key {self._key(stored_key)!r} in {self._database.directory}: the stored state "
            f"is of version {version}, the flow has version {self._version}; {step}"
        )


def _version(payload: bytes) -> int:
    return int.from_bytes(payload[: HEAD_BYTES - 1], "big")


def shorten(text: str) -> str:
    """At most 300 characters of a text."""
    return text if len(text) <= 300 else text[:297] + "..."


_decoder: Final = msgspec.msgpack.Decoder(tuple[int, Timers, Timers, Any])
_timers_decoder: Final = msgspec.msgpack.Decoder(tuple[int, Timers, Timers, msgspec.Raw])
