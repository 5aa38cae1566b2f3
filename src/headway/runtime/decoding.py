"""From a chunk to events: the source's format, and the fields that are parts of the record rather than of its value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from headway.connectors.apart import bad_reason
from headway.connectors.base import BadRecord, Chunk, Decoded
from headway.connectors.parts import RecordPart
from headway.formats.base import Decoder
from headway.graph import SourceNode
from headway.types.eventcolumns import listed
from headway.types.schema import field_names

__all__ = ["SourceDecoder"]

_PARTS_SHOWN: Final = {RecordPart.KEY: "key", RecordPart.HEADERS: "headers", RecordPart.TIME: "time"}


class SourceDecoder:
    """Decodes the chunks of a source. Fields of records cost some 0.3 µs each, for each event."""

    def __init__(self, node: SourceNode) -> None:
        self.decoder: Decoder = node.input.format.decoder(node.event_type)
        self._fields = [_Field(node.event_type, name, part) for name, part in node.fields]

    def decode(self, chunk: Chunk) -> Decoded:
        """The events of a chunk."""
        decoded = chunk.decode(self.decoder)
        if not self._fields or not decoded.events or not chunk.has_parts:
            return decoded
        decoded = replace(decoded, events=listed(decoded.events))
        columns = [chunk.parts(field.part, decoded.ordinals) for field in self._fields]
        try:
            for field, column in zip(self._fields, columns):
                field.fill(decoded.events, column)
        except ValueError:
            return self._fill_apart(chunk, decoded, columns)
        return decoded

    def _fill_apart(self, chunk: Chunk, decoded: Decoded, columns: Sequence[Sequence[Any]]) -> Decoded:
        """The slow way, where some record has a part that does not fit into its field."""
        events, ordinals, bad = [], [], list(decoded.bad)
        for index, event in enumerate(decoded.events):
            try:
                for field, column in zip(self._fields, columns):
                    field.fill([event], [column[index]])
            except ValueError as error:
                ordinal = decoded.ordinals[index]
                place, raw = chunk.record(ordinal)
                bad.append(BadRecord(ordinal, place, f"{_PARTS_SHOWN.get(field.part, '')}: {bad_reason(error)}", raw))
            else:
                events.append(event)
                ordinals.append(decoded.ordinals[index])
        return Decoded(events, ordinals, sorted(bad, key=lambda one: one.ordinal))


class _Field:
    """A field of events that holds a part of their records."""

    def __init__(self, event_type: Any, name: str, part: RecordPart) -> None:
        self.part = part
        self._name = name
        wanted: Any = Any
        if field_names(event_type) is not None:
            wanted = next(field.type for field in msgspec.structs.fields(event_type) if field.name == name)
        self._set: Callable[[Any, str, Any], Any] = dict.__setitem__ if wanted is Any else msgspec.structs.force_setattr
        self._wanted = wanted

    def fill(self, events: Sequence[Any], column: Sequence[Any]) -> None:
        """Set the field. Raises `ValueError` where a value does not fit."""
        wanted, name, put = self._wanted, self._name, self._set
        make = _MADE.get(self.part)
        for event, value in zip(events, column):
            made = value if make is None else make(value, wanted)
            put(event, name, msgspec.convert(made, wanted, strict=False))


def _key(value: Any, wanted: Any) -> Any:
    if wanted is bytes:
        return value.encode() if isinstance(value, str) else value
    return value.decode() if isinstance(value, bytes) else value


def _headers(value: Any, wanted: Any) -> dict[str, Any]:
    if wanted == dict[str, bytes]:
        return dict(value)
    return {name: _key(held, str) for name, held in value}


_MADE: Final[dict[RecordPart, Callable[[Any, Any], Any]]] = {RecordPart.KEY: _key, RecordPart.HEADERS: _headers}
