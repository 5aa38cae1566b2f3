"""Values with a checksum, so that a flipped bit is refused instead of believed."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from headway.errors import CorruptStateError, IncompatibleStateError
from headway.state.files import RESTORE

__all__ = ["checksum", "seal", "seal_json", "unseal", "unseal_json"]

T = TypeVar("T", bound=msgspec.Struct)

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


def seal_json(value: msgspec.Struct) -> bytes:
    """A struct as JSON; its field `checksum` is made that of all the rest. `format` says which form it has."""
    bare = msgspec.json.encode(msgspec.structs.replace(value, checksum=""))
    return msgspec.json.encode(msgspec.structs.replace(value, checksum=checksum(bare)))


def unseal_json(data: bytes, kind: type[T], form: int, what: str, advice: str) -> T:
    """What `seal_json` made, with whatever space between its parts and a newline behind it; without its checksum.

    A field that has come since may be missing. `what` says for people what it is, and `advice` what to do when it is
    damaged: `CorruptStateError`. Raises `IncompatibleStateError` for another format than `form`.
    """
    try:
        found_form = msgspec.json.decode(data, type=_Format).format
        if found_form != form:
            msg = f"{what} has format {found_form}, expected {form}: use the version of Headway that wrote it"
            raise IncompatibleStateError(msg)
        found: Any = msgspec.json.decode(data, type=kind)
        right = checksum(msgspec.json.encode({**msgspec.json.decode(data), "checksum": ""}))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"{what} cannot be read ({error}): {advice}"
        raise CorruptStateError(msg) from error
    if found.checksum != right or not data.endswith(b"}\n"):
        msg = f"{what} is damaged: its checksum is {found.checksum!r}, expected {right!r}; {advice}"
        raise CorruptStateError(msg)
    bare: T = msgspec.structs.replace(found, checksum="")
    return bare


class _Format(msgspec.Struct):
    format: int
