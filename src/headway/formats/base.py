"""What a format is: how the bytes of one record become an event of a declared type.

A transport, such as a file or a broker, knows where records begin and end, and where they stand. A format knows what is
in them. Each transport can be read in each format, but for those whose records cannot be told apart in it: MessagePack
has no lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Protocol

__all__ = ["UNDECODABLE", "Decoder", "Format", "HeadedDecoder"]

UNDECODABLE: Final = (ValueError, RecursionError)
"""What decoders raise for a bad record, be it malformed, not UTF-8, or nested without end."""


class Decoder(Protocol):
    """Decodes records of one format into events of one type.

    All methods raise `ValueError` (`msgspec.DecodeError` and `UnicodeDecodeError` are some) for what is no such event,
    or holds values that cannot be stored.
    """

    event_type: Any
    """The type of the events."""

    def decode_record(self, record: bytes) -> Any:
        """The event of one record."""

    def decode_records(self, records: Sequence[bytes]) -> list[Any]:
        """The events of records, one each, in their order. Raises when one of them is bad, without saying which."""

    def convert(self, value: Any) -> Any:
        """The event that Python values mean, such as a dict."""

    def settle(self, event: Any) -> Any:
        """An event that was made in Python as one that can be stored."""


class HeadedDecoder(Decoder):
    """A decoder of files whose first line is no record, but says how the others are to be read."""

    @abstractmethod
    def below(self, first: bytes) -> Decoder:
        """The decoder of the lines below this one. Raises `ValueError` where it says nothing."""


class Format(ABC):
    """How the bytes of a record become an event. A format of your own has a name and makes decoders."""

    name: ClassVar[str]
    """What it is called, in messages and in the state directory: a source that changes its format says so."""

    has_lines: ClassVar[bool] = False
    """Whether no record has a line end in it, so that a file of lines can hold one in each line."""

    is_text: ClassVar[bool] = False
    """Whether records are text in UTF-8. Dead letters hold others as `base64:` and their bytes in Base64."""

    @abstractmethod
    def decoder(self, event_type: Any) -> Decoder:
        """A decoder into events of this type. Raises `FlowError` for a type that no record of this format can be."""

    has_header: bool = False
    """Whether the first line of a file is no record, but says how the others are to be read."""
