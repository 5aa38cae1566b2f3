"""Waiting records on their way from one generation to the next, as the bytes that they are stored as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from headway.errors import IncompatibleStateError
from headway.state.database import VERSION_BYTE, WAITING, Database
from headway.state.inputs import BLOB, FIRST_INPUT, SPILLED, InputCodec, decode_blob
from headway.state.keys import WaitingPosition, decode_waiting, encode_waiting, successor
from headway.state.manifest import StageEntry
from headway.state.redo import NO_SPILL

__all__ = ["CarriedRecord", "check_records", "inputs_with_records", "key_of", "records_at", "write_records"]

_BATCH_RECORDS: Final = 5_000


class CarriedRecord(NamedTuple):
    """A waiting record as it is stored."""

    time_ms: int
    lane: str
    encoded: bytes
    """As a list of one record."""


def inputs_with_records(database: Database, prefix: bytes) -> set[int]:
    """The stored numbers of the inputs at which something waits."""
    found = {stored for stored, _, _ in _blob(database, prefix)}
    start = prefix + SPILLED
    for key, _ in database.scan(WAITING, start, successor(start)):
        found.add(_position(database, key, start)[1])
    return found


def records_at(database: Database, prefix: bytes, stored: int, *, from_stage: bool) -> list[CarriedRecord]:
    """What waits at one input, in the order in which it came by each lane."""
    found = []
    for number, part, encoded in _blob(database, prefix):
        if number == stored:
            found += [_record(item, part, from_stage=from_stage) for item in _raw_records.decode(encoded)]
    start = prefix + SPILLED
    for key, value in database.scan(WAITING, start, successor(start)):
        time_ms, number, lane, _ = _position(database, key, start)
        if number == stored:
            found.append(CarriedRecord(time_ms, lane, database.unwrap(WAITING, key, value)))
    return found


def _record(item: list[Any], part: str, *, from_stage: bool) -> CarriedRecord:
    """A record of the blob: one that came from a stage says its origin, which is its lane."""
    time_ms = msgspec.msgpack.decode(item[0], type=int)
    lane = msgspec.msgpack.decode(item[3], type=str) if from_stage else part
    return CarriedRecord(time_ms, lane, _encoder.encode([item]))


def key_of(record: CarriedRecord) -> str:
    """The key of a record."""
    return msgspec.msgpack.decode(_raw_records.decode(record.encoded)[0][1], type=str)


def _blob(database: Database, prefix: bytes) -> list[tuple[int, str, bytes]]:
    key = prefix + BLOB
    payload = database.get(WAITING, key)
    return [] if payload is None else decode_blob(database, key, payload)


def _position(database: Database, key: bytes, start: bytes) -> WaitingPosition:
    try:
        return decode_waiting(key, len(start))
    except ValueError as error:
        raise database.corrupt(WAITING, key, f"not a position ({error})") from error


def check_records(
    records: Mapping[int, Sequence[CarriedRecord]],
    stage: StageEntry,
    codecs: Mapping[int, InputCodec],
    database: Database,
) -> None:
    """Raise `IncompatibleStateError` unless all records can be read as what the operators take now."""
    first = FIRST_INPUT - len(stage.carried)
    edges = dict(enumerate([*stage.carried, *stage.inputs], first))
    for stored, waiting in records.items():
        try:
            for record in waiting:
                codecs[stored].decode(record.encoded)
        except msgspec.DecodeError as error:
            names = ", ".join(repr(operator) for operator, _ in edges[stored].entries)
            msg = (
                f"records wait for {names} in {database.directory}, key group {database.group:03d}, that do not fit "
                f"what is taken there now: {error}; run the version of the flow that read them until its time has "
                "passed them, then change it"
            )
            raise IncompatibleStateError(msg) from error


def write_records(
    database: Database, prefix: bytes, records: Mapping[int, Sequence[CarriedRecord]]
) -> tuple[WaitingPosition, int]:
    """Store what is carried, one by one; returns the first position and the number of records."""
    floor, count = NO_SPILL, 0
    batch = database.batch()
    for stored, waiting in records.items():
        for record in waiting:
            position = (record.time_ms, stored, record.lane, count)
            batch.put(WAITING, prefix + SPILLED + encode_waiting(position), VERSION_BYTE + record.encoded)
            floor, count = min(floor, position), count + 1
            if count % _BATCH_RECORDS == 0:
                database.write(batch, sync=False)
                batch = database.batch()
    database.write(batch, sync=False)
    return floor, count


_encoder: Final = msgspec.msgpack.Encoder()
_raw_records: Final = msgspec.msgpack.Decoder(list[list[msgspec.Raw]])
