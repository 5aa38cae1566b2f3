"""Messages between two processes of one machine: a length, and MessagePack."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO, Final, Optional

import msgspec

__all__ = ["LENGTH", "framed", "read_frame"]

LENGTH: Final = struct.Struct(">I")
_encode: Final = msgspec.msgpack.Encoder().encode


def framed(message: Any) -> bytes:
    """A message as it is sent."""
    data = _encode(message)
    return LENGTH.pack(len(data)) + data


def read_frame(source: BinaryIO) -> Optional[bytes]:
    """The next message; None at the end, also at one in the middle of a message."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    data = source.read(LENGTH.unpack(head)[0])
    return data if len(data) == LENGTH.unpack(head)[0] else None
