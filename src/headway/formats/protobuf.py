"""Protocol Buffers: records as messages of a class that `protoc` has made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from headway.basics.needed import needed
from headway.errors import FlowError, UsageError
from headway.formats.base import Decoder, Format
from headway.formats.converted import ConvertingDecoder
from headway.formats.framing import framed
from headway.types.schema import field_names, type_label

__all__ = ["Protobuf"]

_TIMESTAMP: Final = "google.protobuf.Timestamp"
_WRAPPED: Final = "google.protobuf."


@dataclass(frozen=True)
class Protobuf(Format):
    """One message of a class for each record; `framed` says that the number of a schema stands before it.

    Fields of the event are filled by the names in the message. An enum is the name of its value, a timestamp a
    datetime, a wrapper its value, a map a dict. A field that can be told from one that is not there, and is not there,
    is left out, so that the event's default holds; all others have the default of Protocol Buffers. With `framed=True`
    records begin as those of a schema registry do; the class is enough to read them, and the registry is not asked.
    Needs the extra `protobuf`. Raises `UsageError` for what is no such class.
    """

    name: ClassVar[str] = "protobuf"

    message: Any
    framed: bool = False

    def __post_init__(self) -> None:
        needed("google.protobuf", "protobuf", "formats.Protobuf(...)")
        from google.protobuf.message import Message

        if not isinstance(self.message, type) or not issubclass(self.message, Message):
            msg = f"Protobuf({self.message!r}): expected a class of messages, as protoc makes them"
            raise UsageError(msg)

    def decoder(self, event_type: Any) -> Decoder:
        """A decoder. Raises `FlowError` where the message lacks a field that the event cannot be without."""
        if field_names(event_type) is not None:
            known = {field.name for field in self.message.DESCRIPTOR.fields}
            for field in msgspec.structs.fields(event_type):
                if field.required and field.encode_name not in known:
                    msg = (
                        f"the message {self.message.DESCRIPTOR.full_name} has no field {field.encode_name!r}, which "
                        f"{type_label(event_type)} needs: its fields are {', '.join(sorted(known))}"
                    )
                    raise FlowError(msg)
        return _ProtobufDecoder(self, event_type)


class _ProtobufDecoder(ConvertingDecoder):
    def __init__(self, form: Protobuf, event_type: Any) -> None:
        from google.protobuf.message import DecodeError

        super().__init__(event_type)
        self._parse = form.message.FromString
        self._error = DecodeError
        self._path = _path_of(form.message.DESCRIPTOR) if form.framed else None
        self._value = _reader_of(form.message.DESCRIPTOR)

    def value_of(self, record: bytes) -> Any:
        data = record
        if self._path is not None:
            _, rest = framed(record)
            path, data = _indexes(rest)
            if path != self._path:
                msg = f"it is the message {path} of its file, expected {self._path}: another class was written"
                raise ValueError(msg)
        try:
            return self._value(self._parse(data))
        except self._error as error:
            msg = f"no such message: {error}"
            raise ValueError(msg) from None


def _reader_of(descriptor: Any) -> Callable[[Any], Any]:
    """What makes builtins of a message."""
    if descriptor.full_name == _TIMESTAMP:
        from datetime import timezone

        return lambda message: message.ToDatetime(tzinfo=timezone.utc)
    if descriptor.full_name == "google.protobuf.Duration":
        return lambda message: message.ToTimedelta()
    is_wrapper = descriptor.full_name.startswith(_WRAPPED) and descriptor.full_name.endswith("Value")
    if is_wrapper and [field.name for field in descriptor.fields] == ["value"]:
        return lambda message: message.value
    fields: list[tuple[str, bool, Callable[[Any], Any]]] = []

    def read(message: Any) -> dict[str, Any]:
        if not fields:
            fields.extend((one.name, one.has_presence, _field_reader(one)) for one in descriptor.fields)
        return {
            name: make(getattr(message, name))
            for name, has_presence, make in fields
            if not has_presence or message.HasField(name)
        }

    return read


def _field_reader(field: Any) -> Callable[[Any], Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = _single(field.message_type.fields_by_name["value"])
        return lambda held: {key: value(held[key]) for key in held}
    single = _single(field)
    return (lambda held: [single(one) for one in held]) if field.is_repeated else single


def _single(field: Any) -> Callable[[Any], Any]:
    if field.message_type is not None:
        return _reader_of(field.message_type)
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda number: names.get(number, number)
    return lambda value: value


def _path_of(descriptor: Any) -> list[int]:
    """Where a message stands in its file: the numbers of the messages around it, and its own."""
    path = []
    while descriptor is not None:
        around = descriptor.containing_type
        siblings = list(descriptor.file.message_types_by_name.values()) if around is None else list(around.nested_types)
        path.append(next(number for number, one in enumerate(siblings) if one.full_name == descriptor.full_name))
        descriptor = around
    return path[::-1]


def _indexes(data: bytes) -> tuple[list[int], bytes]:
    r"""The path that stands before a message, and the message. The path [0] is written as a single zero.

    >>> _indexes(b"\x00rest"), _indexes(b"\x04\x02\x00rest")
    (([0], b'rest'), ([1, 0], b'rest'))
    """
    count, at = _varint(data, 0)
    if count == 0:
        return [0], data[at:]
    path = []
    for _ in range(count):
        number, at = _varint(data, at)
        path.append(number)
    return path, data[at:]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A signed number in zigzag, and where it ends. Raises `ValueError` where it does not."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            msg = "the path of the message is cut off"
            raise ValueError(msg)
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
