"""The redo log's records: what one epoch changed, and where a stage stands with it."""

from typing import Any, Final, Optional

import msgspec

from headway.basics.times import MAX_TIME_MS
from headway.state.database import VERSION_BYTE
from headway.state.keys import FIRST_INPUT, TimerEntry, WaitingPosition

__all__ = [
    "CHUNK_BYTES",
    "END_ENTRY",
    "NO_SPILL",
    "NO_SPILL_MS",
    "NO_STATE",
    "Control",
    "Delta",
    "decode_meta",
    "encode_meta",
]

CHUNK_BYTES: Final = 4 << 20
"""Bytes of a delta that go into one value."""

END_ENTRY: Final[TimerEntry] = (MAX_TIME_MS + 1, "", 0, "")
"""The position behind all timers: its time is greater than any that a timer can have."""

NO_SPILL_MS: Final = MAX_TIME_MS + 1
"""Later than all waiting records."""

NO_SPILL: Final[WaitingPosition] = (NO_SPILL_MS, FIRST_INPUT, "", 0)
"""The spill floor when no waiting record is on disk."""

_COUNT_BYTES: Final = 4
_meta_encoder: Final = msgspec.msgpack.Encoder()
_meta_decoder: Final = msgspec.msgpack.Decoder()


class Control(msgspec.Struct, array_like=True, frozen=True):
    """Where a stage stands at a version. Fields may be added at the end, with defaults."""

    version: int
    meta: bytes
    """What the engine gave with the commit, in MessagePack."""
    rows: int
    timers: int
    timer_floor: tuple[int, str, int, str]
    """No timer's entry is before it, so that the first search need not pass what was deleted."""
    spill_floor: tuple[int, int, str, int]
    """No spilled waiting record is before this position."""
    spilled: int
    """Waiting records on disk, without those in the blob."""
    spill_sequence: int
    """The number of the next record that goes to disk as it arrives."""
    spill_front: int
    """The number of the last record that was moved to disk from memory."""
    keys: int = 0
    """Keys with a row of at least one operator; counted where a stage has several, else they are the rows."""

    def encode(self) -> bytes:
        """The stored value."""
        return VERSION_BYTE + _control_encoder.encode(self)

    @staticmethod
    def decode(payload: bytes) -> "Control":
        """From the stored value without its version byte; raises `msgspec.DecodeError`."""
        return _control_decoder.decode(payload)


class Delta(msgspec.Struct, array_like=True, frozen=True):
    """What one epoch changed in each column family: stored value by key, None where the key is to be removed."""

    control: Control
    rows: dict[bytes, Optional[bytes]]
    timers: dict[bytes, Optional[bytes]]
    waiting: dict[bytes, Optional[bytes]]
    outbox: dict[bytes, bytes] = {}
    """What the epoch made for an output that cannot take anything back; removed by whoever writes it."""
    deliveries: dict[bytes, Optional[bytes]] = {}
    """Triggers that the epoch made for targets; removed by whoever delivers them."""

    def encode(self) -> list[bytes]:
        """The stored values of the delta's chunks; each begins with the number of chunks.

        >>> delta = Delta(NO_STATE, {b"key": b"x" * CHUNK_BYTES}, {}, {})
        >>> chunks = delta.encode()
        >>> len(chunks), Delta.decode([chunk[1:] for chunk in chunks]) == delta
        (2, True)
        """
        data = _delta_encoder.encode(self)
        starts = range(0, len(data), CHUNK_BYTES)
        head = VERSION_BYTE + len(starts).to_bytes(_COUNT_BYTES, "big")
        return [head + data[start : start + CHUNK_BYTES] for start in starts]

    @staticmethod
    def decode(payloads: list[bytes]) -> "Delta":
        """From the stored values without their version bytes; raises `msgspec.DecodeError`."""
        count = int.from_bytes(payloads[0][:_COUNT_BYTES], "big")
        if count != len(payloads):
            msg = f"found {len(payloads)} chunks of a delta that has {count}"
            raise msgspec.DecodeError(msg)
        return _delta_decoder.decode(b"".join(payload[_COUNT_BYTES:] for payload in payloads))


def encode_meta(meta: Any) -> bytes:
    """`meta` in MessagePack; raises what msgspec raises for things that have no such form."""
    return _meta_encoder.encode(meta)


def decode_meta(data: bytes) -> Any:
    """The builtins that `encode_meta` was given; tuples come back as lists."""
    return _meta_decoder.decode(data)


_control_encoder: Final = msgspec.msgpack.Encoder()
_control_decoder: Final = msgspec.msgpack.Decoder(Control)
_delta_encoder: Final = msgspec.msgpack.Encoder()
_delta_decoder: Final = msgspec.msgpack.Decoder(Delta)

NO_STATE: Final = Control(
    version=0,
    meta=encode_meta(None),
    rows=0,
    timers=0,
    timer_floor=END_ENTRY,
    spill_floor=NO_SPILL,
    spilled=0,
    spill_sequence=0,
    spill_front=0,
)
"""Where a stage stands before its first commit."""
