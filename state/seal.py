"""Values with a checksum, so that a flipped bit is refused instead of believed."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Any, Final

import msgspec

from headway.errors import CorruptStateError
from headway.state.files import RESTORE

__all__ = ["checksum", "seal", "unseal"]

_CHECKSUM_BYTES: Final = 4
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder()


def checksum(data: bytes) -> str:
    """The CRC-32 of some bytes, as text.

    >>> checksum(b"abc")
    '352441c2'
    """
    return f"{zlib.crc32(data):08x}"


def seal(value: Any) -> bytes:
    """A value of builtins in MessagePack, behind its CRC-32."""
    data = _encoder.encode(value)
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "big") + data


def unseal(sealed: bytes, what: str) -> Any:
    """The value that was sealed (tuples come back as lists); `what` says for people what it is.

    Raises `CorruptStateError` when it is not what was written.

    >>> unseal(seal({"version": 7}), "a token")
    {'version': 7}
    """
    data = sealed[_CHECKSUM_BYTES:]
    if zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "big") == sealed[:_CHECKSUM_BYTES]:
        with suppress(msgspec.DecodeError):
            return _decoder.decode(data)
    msg = f"{what} is damaged: its checksum is not that of what is stored; {RESTORE}"
    raise CorruptStateError(msg)
