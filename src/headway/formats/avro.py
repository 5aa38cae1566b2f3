"""Avro: records by a schema that is given, or that a registry knows by the number before each record."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Optional, Union

import msgspec

from headway.basics.needed import needed
from headway.errors import FlowError, UsageError
from headway.formats.base import Decoder, Format
from headway.formats.converted import ConvertingDecoder
from headway.formats.framing import framed
from headway.formats.registry import Registry
from headway.types.schema import field_names, type_label

__all__ = ["Avro"]

Schema = Union[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Avro(Format):
    """One value of Avro for each record.

    With `schema` alone each record is a value by it, without a header. With `registry` each begins with the number of
    the schema that it was written by; with `schema` too, it is read as that schema says: fields that it does not have
    are left out, and those that the writer did not know have its defaults, by the rules of Avro. Schemas of the
    registry may refer to others. Fields of the event are filled by name, and those that the record does not have need
    defaults.

    A registry that is down stops nothing as long as the numbers are known; for a new one it is waited for, and after a
    minute the run ends, to go on there. Logical types are what Python has for them: a timestamp is a datetime, for
    untyped events text. Needs the extra `avro`. Raises `UsageError` for a schema that is none.

    >>> import headway as hw
    >>> class Click(hw.Event):
    ...     user: str
    >>> schema = {"type": "record", "name": "Click", "fields": [{"name": "user", "type": "string"}]}
    >>> Avro(schema).decoder(Click).decode_record(bytes([6]) + b"ann")
    Click(user='ann')
    """

    name: ClassVar[str] = "avro"

    schema: Optional[Schema] = None
    registry: Optional[Registry] = None

    def __post_init__(self) -> None:
        if self.schema is None and self.registry is None:
            msg = "Avro() needs a schema, or a registry that knows those of the records"
            raise UsageError(msg)
        if self.registry is not None and not isinstance(self.registry, Registry):
            msg = f"Avro(registry={self.registry!r}): expected a headway.formats.Registry"
            raise UsageError(msg)
        needed("fastavro", "avro", "formats.Avro(...)")
        if self.schema is not None:
            object.__setattr__(self, "schema", _parsed(self.schema, "Avro(schema=...)"))

    def decoder(self, event_type: Any) -> Decoder:
        """A decoder. Raises `FlowError` where the schema lacks a field that the event cannot be without."""
        if self.schema is not None:
            _check(self.schema, event_type)
        return _AvroDecoder(self, event_type)

    def __hash__(self) -> int:
        return hash((self.name, id(self.registry)))


class _AvroDecoder(ConvertingDecoder):
    def __init__(self, form: Avro, event_type: Any) -> None:
        from fastavro import schemaless_reader

        super().__init__(event_type)
        self._read = schemaless_reader
        self._reader: Any = form.schema
        self._registry = form.registry
        self._writers: dict[int, Any] = {}

    def value_of(self, record: bytes) -> Any:
        writer, data = self._reader, record
        if self._registry is not None:
            number, data = framed(record)
            writer = self._writers.get(number)
            if writer is None:
                writer = self._writers[number] = self._writer(number)
        stream = io.BytesIO(data)
        try:
            value = self._read(stream, writer, None if writer is self._reader else self._reader)
        except Exception as error:  # It raises whatever comes of bytes that are no such value.
            msg = f"no value of the schema: {type(error).__name__}: {error}"
            raise ValueError(msg) from None
        if stream.tell() != len(data):
            msg = f"{len(data) - stream.tell()} bytes are left behind the value: it was written by another schema"
            raise ValueError(msg)
        return value

    def _writer(self, number: int) -> Any:
        assert self._registry is not None
        found = self._registry.schema(number)
        kind = found.get("schemaType", "AVRO")
        if kind != "AVRO":
            msg = f"the schema {number} is one of {kind}, not of Avro"
            raise ValueError(msg)
        named: dict[str, Any] = {}
        for part in self._registry.parts_of(found):
            _parsed(part["schema"], f"the schema {part.get('subject')!r}, which the schema {number} refers to,", named)
        return _parsed(found["schema"], f"the schema {number}", named)


def _parsed(schema: Schema, what: str, named: Optional[dict[str, Any]] = None) -> Any:
    """A schema as the library reads it; `named` are types that it may refer to, to which its own are added."""
    from fastavro import parse_schema

    try:
        given = json.loads(schema) if isinstance(schema, str) else dict(schema)
        return parse_schema(given, {} if named is None else named)
    except Exception as error:  # The library has no class of its own for all that can be wrong.
        msg = f"{what} is no schema of Avro: {type(error).__name__}: {error}"
        raise UsageError(msg) from None


def _check(schema: Any, event_type: Any) -> None:
    names = field_names(event_type)
    if names is None or not isinstance(schema, dict) or schema.get("type") != "record":
        return
    known = {field["name"] for field in schema["fields"]}
    for field in msgspec.structs.fields(event_type):
        if field.required and field.encode_name not in known:
            msg = (
                f"the schema {schema['name']!r} has no field {field.encode_name!r}, which {type_label(event_type)} "
                f"needs: its fields are {', '.join(sorted(known))}; give the event's field a default, or the schema it"
            )
            raise FlowError(msg)
