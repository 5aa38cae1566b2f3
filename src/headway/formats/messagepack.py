"""MessagePack: as JSON, in fewer bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from headway.formats.base import Decoder, Format
from headway.formats.converted import ConvertingDecoder

__all__ = ["MessagePack"]


class _MessagePackDecoder(ConvertingDecoder):
    def __init__(self, event_type: Any) -> None:
        super().__init__(event_type)
        self._decode = msgspec.msgpack.Decoder().decode

    def value_of(self, record: bytes) -> Any:
        return self._decode(record)


@dataclass(frozen=True)
class MessagePack(Format):
    r"""One MessagePack value for each record; maps have the names of fields as keys.

    Files of lines cannot hold it, as its values may have line ends in them.

    >>> import headway as hw
    >>> class Click(hw.Event):
    ...     user: str
    >>> MessagePack().decoder(Click).decode_record(b"\x81\xa4user\xa3ann")
    Click(user='ann')
    """

    name: ClassVar[str] = "msgpack"

    def decoder(self, event_type: Any) -> Decoder:
        """A decoder of MessagePack."""
        return _MessagePackDecoder(event_type)
