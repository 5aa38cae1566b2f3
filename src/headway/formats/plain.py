"""Records without a structure: text and bytes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from headway.errors import FlowError
from headway.formats.base import Decoder, Format
from headway.types.schema import type_label

__all__ = ["Raw", "Text"]


class _PlainDecoder(Decoder):
    event_type: type

    def __init__(self, event_type: Any, wanted: type, name: str) -> None:
        if event_type is not wanted:
            msg = (
                f"records in the format {name!r} are events of type {wanted.__name__}, not "
                f"{type_label(event_type)}: declare the source as {wanted.__name__}, and take them apart in map()"
            )
            raise FlowError(msg)
        self.event_type = wanted

    @abstractmethod
    def decode_record(self, record: bytes) -> Any: ...

    def decode_records(self, records: Sequence[bytes]) -> list[Any]:
        return list(map(self.decode_record, records))

    def convert(self, value: Any) -> Any:
        if type(value) is not self.event_type:
            msg = f"expected {self.event_type.__name__}, got {value!r:.100} ({type(value).__name__})"
            raise msgspec.ValidationError(msg)
        return value

    def settle(self, event: Any) -> Any:
        return self.convert(event)


class _TextDecoder(_PlainDecoder):
    def decode_record(self, record: bytes) -> str:
        return record.decode()


class _RawDecoder(_PlainDecoder):
    def decode_record(self, record: bytes) -> bytes:
        return record


@dataclass(frozen=True)
class Text(Format):
    """Each record is text in UTF-8, and the event is that text: the source's type is `str`.

    >>> Text().decoder(str).decode_record("GET /carts 200".encode())
    'GET /carts 200'
    """

    name: ClassVar[str] = "text"
    has_lines: ClassVar[bool] = True
    is_text: ClassVar[bool] = True

    def decoder(self, event_type: Any) -> Decoder:
        """Of `str` only."""
        return _TextDecoder(event_type, str, self.name)


@dataclass(frozen=True)
class Raw(Format):
    r"""Each record is the event as it is: the source's type is `bytes`.

    >>> Raw().decoder(bytes).decode_record(b"\x00\x01")
    b'\x00\x01'
    """

    name: ClassVar[str] = "bytes"

    def decoder(self, event_type: Any) -> Decoder:
        """Of `bytes` only."""
        return _RawDecoder(event_type, bytes, self.name)
