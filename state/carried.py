"""What goes from one generation to the next: waiting records as the bytes that they are stored as, and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from headway.errors import IncompatibleStateError
from headway.state.database import CONTROL, OUTBOX, VERSION_BYTE, WAITING, Database, Writer
from headway.state.inputs import BLOB, SPILLED, InputCodec, decode_blob
from headway.state.keys import WaitingPosition, decode_waiting, encode_waiting, successor
from headway.state.manifest import EdgeEntry, StageEntry
from headway.state.outbox import Outbox
from headway.state.redo import NO_SPILL, Control, decode_meta, encode_meta
from headway.state.stage import MARK

__all__ = [
    "CarriedRecord",
    "CarriedTask",
    "carry_output",
    "check_record",
    "inputs_with_records",
    "key_of",
    "waiting_records",
]


class CarriedRecord(NamedTuple):
    """A waiting record as it is stored."""

    time_ms: int
    lane: str
    encoded: bytes
    """As a list of one record."""


def inputs_with_records(database: Database, prefix: bytes) -> set[int]:
    """The stored numbers of the inputs of a task at which something waits."""
    start = prefix + SPILLED
    spilled = {_position(database, key, start)[1] for key, _ in database.scan(WAITING, start, successor(start))}
    return spilled | {stored for stored, _, _ in _blob(database, prefix)}


def waiting_records(database: Database, prefix: bytes, stage: StageEntry) -> Iterator[tuple[int, CarriedRecord]]:
    """What waits for a stage, with the stored number of the input: of each lane in the order in which it came.

    Reads them as they are asked for, but for those that a run would hold in memory.
    """
    for stored, part, encoded in _blob(database, prefix):
        from_stage = not stage.edge(stored).from_source
        for item in _raw_records.decode(encoded):
            yield stored, _record(item, part, from_stage=from_stage)
    start = prefix + SPILLED
    for key, value in database.scan(WAITING, start, successor(start)):
        time_ms, stored, lane, _ = _position(database, key, start)
        yield stored, CarriedRecord(time_ms, lane, database.unwrap(WAITING, key, value))


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


def check_record(record: CarriedRecord, codec: InputCodec, edge: EdgeEntry, database: Database) -> None:
    """Raise `IncompatibleStateError` unless a record can be read as what the operators behind an input take now."""
    try:
        codec.decode(record.encoded)
    except msgspec.DecodeError as error:
        names = ", ".join(repr(operator) for operator, _ in edge.entries)
        msg = (
            f"records wait for {names} in {database.directory}, key group {database.group:03d}, that do not fit "
            f"what is taken there now: {error}; run the version of the flow that read them until its time has "
            "passed them, then change it"
        )
        raise IncompatibleStateError(msg) from error


class CarriedTask:
    """A keyed stage of a new generation in one key group: takes what waits for it, then says where it stands."""

    def __init__(self, writer: Writer, prefix: bytes) -> None:
        self._writer = writer
        self._prefix = prefix
        self._floor = NO_SPILL
        self._count = 0

    def add(self, stored: int, record: CarriedRecord) -> None:
        """Let a record wait at an input, behind those of its time and lane that were added before."""
        position = (record.time_ms, stored, record.lane, self._count)
        key = self._prefix + SPILLED + encode_waiting(position)
        self._writer.put(WAITING, key, VERSION_BYTE + record.encoded)
        self._floor = min(self._floor, position)
        self._count += 1

    def finish(self, meta: Any, counts: tuple[int, int, int], first_timer_ms: int) -> None:
        """Write the control record. `counts` are those of rows, keys and timers, and no timer is before that time."""
        rows, keys, timers = counts
        control = Control(
            version=0,
            meta=encode_meta(meta),
            rows=rows,
            keys=keys,
            timers=timers,
            timer_floor=(first_timer_ms, "", 0, ""),
            spill_floor=self._floor,
            spilled=self._count,
            spill_sequence=self._count,
            spill_front=0,
        )
        self._writer.put(CONTROL, self._prefix, control.encode())


def carry_output(database: Database, before: bytes, now: bytes, control: Control, writer: Writer) -> None:
    """What an output has written, has still to write, and what waits for it, under another prefix.

    All is as it was, but for the claims of the channels: they come with the first message of each.
    """
    for key, value in database.scan(WAITING, before, successor(before)):
        writer.put(WAITING, now + key[len(before) :], value)
    for number, (_, value) in enumerate(database.scan(OUTBOX, before, successor(before))):
        writer.put(OUTBOX, now + Outbox.key(0, number), value)
    mark = database.get(CONTROL, before + MARK)
    if mark is not None:
        writer.put(CONTROL, now + MARK, VERSION_BYTE + mark)
    meta = {**(decode_meta(control.meta) or {}), "claims": {}}
    writer.put(CONTROL, now, msgspec.structs.replace(control, version=0, meta=encode_meta(meta)).encode())


_encoder: Final = msgspec.msgpack.Encoder()
_raw_records: Final = msgspec.msgpack.Decoder(list[list[msgspec.Raw]])
