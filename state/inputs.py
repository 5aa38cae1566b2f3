"""The inputs of a stage as they are stored: numbers, records, and the form of those that are kept in memory."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.state.database import WAITING, Database

__all__ = ["BLOB", "SPILLED", "InputCodec", "Ordinal", "decode_blob"]

BLOB: Final = b"\x00"
SPILLED: Final = b"\x01"
"""What follows the prefix of a task in the keys of its waiting records: all those in memory, or a single one."""

Ordinal = int | str
"""Number of a record in its partition, with what a `flat_map` adds to it."""


class InputCodec:
    """How the records of one input of a stage are stored while they wait.

    Records are `(time_ms, key, value)`, or `(time_ms, key, value, origin)` when `from_stage`, or `(time_ms, key, value,
    ordinal, partition)` when they `have_places`; `value_type` is what msgspec decodes a value to: a struct, or `Any`
    for JSON-like values.

    >>> codec = InputCodec(dict[str, int])
    >>> codec.decode(codec.encode([(5, "key", {"a": 1})]))
    [(5, 'key', {'a': 1})]
    """

    def __init__(self, value_type: Any = Any, *, from_stage: bool = False, have_places: bool = False) -> None:
        self.from_stage = from_stage
        record: Any = tuple[int, str, value_type, str] if from_stage else tuple[int, str, value_type]
        if have_places:
            record = tuple[int, str, value_type, Ordinal, str]
        self.encode = msgspec.msgpack.Encoder().encode
        self.decode = msgspec.msgpack.Decoder(list[record]).decode


def decode_blob(database: Database, key: bytes, blob: bytes) -> list[tuple[int, str, bytes]]:
    """The channels of the records in memory: the stored number of the input, the part, and the records."""
    try:
        return _blob_decoder.decode(blob)
    except msgspec.DecodeError as error:
        raise database.corrupt(WAITING, key, f"not waiting records ({error})") from error


_blob_decoder: Final = msgspec.msgpack.Decoder(list[tuple[int, str, bytes]])
