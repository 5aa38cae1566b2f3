"""Encodings of keys whose bytes sort exactly as the values do.

RocksDB orders keys by their bytes. A position is a tuple of times, texts and small numbers; its encoding sorts as
the tuple does in Python, also for texts that are prefixes of each other, empty, or hold NUL.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

__all__ = [
    "FIRST_INPUT",
    "ID_BYTES",
    "TimerEntry",
    "WaitingPosition",
    "decode_timer",
    "decode_waiting",
    "encode_timer",
    "encode_waiting",
    "escape",
    "id_bytes",
    "successor",
    "task_prefix",
    "unescape",
]

TimerEntry = tuple[int, str, int, str]
"""`(at_ms, key, rank, name)`: when to look at which timer; rank is the operator's position in its stage, of today."""

WaitingPosition = tuple[int, int, str, int]
"""`(time_ms, rank, lane, sequence)` of a waiting record; rank is the position of its input."""

FIRST_INPUT: Final = 1 << 15
"""The stored number of the first input of a stage; those that were carried over are counted down from it."""

ID_BYTES: Final = 2
"""The length of the number of an operator, at the beginning of the keys of its rows and timers."""

_BIAS: Final = 2**63
_TIME: Final = Struct(">Q")
_TIME_RANK: Final = Struct(">QH")
_ID: Final = Struct(">H")
_TASK: Final = Struct(">IH")


def escape(text: str) -> bytes:
    r"""`text` in UTF-8 with an end mark that sorts before any continuation; O(length).

    >>> escape("a\0b")
    b'a\x00\xffb\x00\x01'
    >>> escape("") < escape("\0") < escape("\x01") < escape("a") < escape("a\0") < escape("ab")
    True
    """
    return text.encode().replace(b"\0", b"\0\xff") + b"\0\x01"


def unescape(data: bytes, start: int) -> tuple[str, int]:
    """The text whose escaped form begins at `start`, and the position behind it.

    Raises `ValueError` (or its subclass `UnicodeDecodeError`) where there is none.

    >>> unescape(b"..." + escape("key") + b"more", 3)
    ('key', 8)
    """
    end = data.index(b"\0\x01", start)
    return data[start:end].replace(b"\0\xff", b"\0").decode(), end + 2


def id_bytes(number: int) -> bytes:
    """What the keys of an operator's rows and timers begin with: its number in two bytes."""
    return _ID.pack(number)


def task_prefix(generation: int, task: int) -> bytes:
    """What the keys of a task begin with that hold for one generation only: control, pending and waiting records."""
    return _TASK.pack(generation, task)


def successor(prefix: bytes) -> bytes:
    r"""The first key behind all that begin with `prefix`, which has a byte below 0xFF.

    >>> successor(b"a\x01"), successor(b"a\xff")
    (b'a\x02', b'b')
    """
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1])


def encode_timer(entry: TimerEntry) -> bytes:
    """The sortable bytes of a timer's entry among those of its operator.

    >>> encode_timer((-5, "k", 1, "idle")) < encode_timer((5, "", 1, "")) < encode_timer((5, "", 1, "a"))
    True
    """
    at_ms, key, _, name = entry
    return b"".join((_TIME.pack(at_ms + _BIAS), escape(key), name.encode()))


def decode_timer(data: bytes, start: int, rank: int) -> TimerEntry:
    """The entry whose bytes begin at `start`; raises `ValueError` or `struct.error` for anything else.

    >>> decode_timer(b"id" + encode_timer((-5, "k", 1, "idle")), 2, 1)
    (-5, 'k', 1, 'idle')
    """
    (biased,) = _TIME.unpack_from(data, start)
    key, end = unescape(data, start + 8)
    return biased - _BIAS, key, rank, data[end:].decode()


def encode_waiting(position: WaitingPosition) -> bytes:
    """The sortable bytes of a waiting record's position.

    >>> encode_waiting((5, 0, "p1", -9)) < encode_waiting((5, 0, "p1", 10)) < encode_waiting((5, 1, "p0", 0))
    True
    """
    time_ms, rank, part, sequence = position
    return b"".join((_TIME_RANK.pack(time_ms + _BIAS, rank), escape(part), _TIME.pack(sequence + _BIAS)))


def decode_waiting(data: bytes, start: int) -> WaitingPosition:
    """The position whose bytes begin at `start`; raises `ValueError` or `struct.error` for anything else.

    >>> decode_waiting(encode_waiting((5, 0, "p1", 9)), 0)
    (5, 0, 'p1', 9)
    """
    biased, rank = _TIME_RANK.unpack_from(data, start)
    part, end = unescape(data, start + 10)
    (sequence,) = _TIME.unpack_from(data, end)
    return biased - _BIAS, rank, part, sequence - _BIAS
