"""How dead letters hold the bytes of records: as text where they are text, else in Base64."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from typing import Final

from headway.formats.base import Format

__all__ = ["encoded_record", "record_bytes", "record_text"]

_PREFIX: Final = "base64:"


def record_text(raw: bytes) -> str:
    r"""Bytes as text, of which those that are not UTF-8 are escaped.

    >>> record_text(b"caf\xe9")
    'caf\\xe9'
    """
    return raw.decode("utf-8", errors="backslashreplace")


def encoded_record(raw: bytes) -> str:
    r"""The bytes of a format that is no text.

    >>> encoded_record(b"\x00\x01")
    'base64:AAE='
    """
    return f"{_PREFIX}{b64encode(raw).decode()}"


def record_bytes(text: str, form: Format) -> bytes:
    r"""The bytes that a letter holds of a record in a format. Raises `ValueError` for damaged Base64.

    >>> from headway.formats.json import Json
    >>> from headway.formats.messagepack import MessagePack
    >>> record_bytes("base64:AAE=", MessagePack()), record_bytes("{}", Json())
    (b'\x00\x01', b'{}')
    """
    if form.is_text or not text.startswith(_PREFIX):
        return text.encode()
    try:
        return b64decode(text[len(_PREFIX) :], validate=True)
    except Error as error:
        msg = f"not the Base64 of a record ({error}): {text[:60]!r}"
        raise ValueError(msg) from None
