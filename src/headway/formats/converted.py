"""Decoders for formats that give Python values first, which are then made into events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headway.formats.base import Decoder
from headway.types.decoding import LineCodec
from headway.types.schema import Json

__all__ = ["ConvertingDecoder"]


class ConvertingDecoder(Decoder):
    """Makes events of what `value_of` gives for each record.

    For untyped events the values are those of JSON: a datetime becomes RFC 3339 text, bytes Base64, a decimal text.
    """

    def __init__(self, event_type: Any) -> None:
        self._codec = LineCodec(event_type)
        self.event_type = event_type
        self._is_untyped = event_type is dict or event_type == Json

    def value_of(self, record: bytes) -> Any:
        """The value of a record, as builtins and what msgspec knows. Raises `ValueError`."""
        raise NotImplementedError

    def decode_record(self, record: bytes) -> Any:
        """The event of one record."""
        value = self.value_of(record)
        if self._is_untyped:
            if not isinstance(value, dict):
                msg = f"Expected `object`, got `{type(value).__name__}`"
                raise msgspec.ValidationError(msg)
            value = msgspec.to_builtins(value)
        return self._codec.convert(value)

    def decode_records(self, records: Sequence[bytes]) -> list[Any]:
        """The events of records."""
        return list(map(self.decode_record, records))

    def convert(self, value: Any) -> Any:
        """The event that Python values mean."""
        return self._codec.convert(value)

    def settle(self, event: Any) -> Any:
        """An event that can be stored."""
        return self._codec.settle(event)
