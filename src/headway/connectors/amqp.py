r"""What is in a message of AMQP 1.0, as streams of RabbitMQ hold them: a body, and properties beside it.

A message is a row of sections, each a descriptor and a value whose size follows from its first byte. So the body is
found by stepping over the others, and only what a flow asks for is decoded.

>>> body_of(b"\x00\x53\x74\xc1\x07\x02\xa1\x01k\xa1\x01v\x00\x53\x75\xa0\x02hi")
b'hi'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["body_of", "message_of", "properties_of"]

_APPLICATION: Final = 0x74
_DATA: Final = 0x75
_SEQUENCE: Final = 0x76
_VALUE: Final = 0x77
_FIXED: Final = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
"""The size of a value by the upper half of its first byte."""
_TEXTS: Final = (0xA0, 0xA1, 0xB0, 0xB1)
"""Bytes and text, short and long."""
_NO_MESSAGE: Final = 'it is no AMQP 1.0 message; where messages are bytes as they are, say messages="bytes"'


def body_of(message: bytes) -> bytes:
    """The bytes of a message's body: its data, or its value where that is bytes or text. Raises `ValueError`."""
    data = []
    for section, start, kind, body, end in _sections(message):
        del start
        if section in (_DATA, _VALUE):
            if kind not in _TEXTS:
                msg = "its body is neither bytes nor text"
                raise ValueError(msg)
            data.append(message[body:end])
        elif section == _SEQUENCE:
            msg = "its body is a list"
            raise ValueError(msg)
    if not data:
        msg = "it has no body" if message else _NO_MESSAGE
        raise ValueError(msg)
    return data[0] if len(data) == 1 else b"".join(data)


def properties_of(message: bytes) -> list[tuple[str, bytes]]:
    """The application's properties of a message, as text where they are not bytes; empty where it has none."""
    try:
        for section, start, _, _, end in _sections(message):
            if section == _APPLICATION:
                from rstream import amqp_decoder

                found = amqp_decoder(message[start:end]).application_properties or {}
                return [(_bytes_of(name).decode(errors="replace"), _bytes_of(value)) for name, value in found.items()]
    except Exception:  # Whatever stands there, `body_of` says that this is no message.
        return []
    return []


def message_of(body: bytes, properties: Mapping[str, str], message_id: str, content_type: str) -> bytes:
    """A message with application properties."""
    from rstream import AMQPMessage, Properties

    about = Properties(message_id=message_id, content_type=content_type)
    return bytes(AMQPMessage(body=body, properties=about, application_properties=dict(properties)))


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return (str(value).lower() if isinstance(value, bool) else str(value)).encode()


def _sections(message: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Each section: what it is, where it starts, the first byte of its value, where the value's bytes begin and end."""
    start, size = 0, len(message)
    try:
        while start < size:
            if message[start] != 0:
                raise ValueError(_NO_MESSAGE)
            if message[start + 1] == 0x53:
                section, at = message[start + 2], start + 3
            elif message[start + 1] == 0x80:
                section, at = int.from_bytes(message[start + 2 : start + 10], "big"), start + 10
            else:
                raise ValueError(_NO_MESSAGE)
            kind = message[at]
            body, end = _extent(message, kind, at + 1)
            if end > size:
                raise ValueError(_NO_MESSAGE)
            yield section, start, kind, body, end
            start = end
    except IndexError:
        raise ValueError(_NO_MESSAGE) from None


def _extent(message: bytes, kind: int, at: int) -> tuple[int, int]:
    """Where the bytes of a value begin and end, whose first byte was before `at`."""
    half = kind >> 4
    if half in _FIXED:
        return at, at + _FIXED[half]
    if half in (0xA, 0xC, 0xE):
        return at + 1, at + 1 + message[at]
    if half in (0xB, 0xD, 0xF):
        return at + 4, at + 4 + int.from_bytes(message[at : at + 4], "big")
    raise ValueError(_NO_MESSAGE)
