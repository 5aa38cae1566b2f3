"""What is stored of logs: which fields of a state are logs, how entries are encoded, and what the row holds of a log.

The row holds the number of the log and its length, as an extension of MessagePack, so that whoever reads a state
without its type sees that there is a log; of an empty one it holds nothing. An encoder and a decoder of states are
given the functions here as their hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Optional, get_args, get_origin

import msgspec
from msgspec import inspect

from headway.errors import FlowError
from headway.types.logs import Log
from headway.types.misfits import misfit_of, shown
from headway.types.shapes import ExactShape, Shape

__all__ = [
    "LOG_SHAPE",
    "EntryCodec",
    "LogField",
    "Reference",
    "decode_log",
    "decode_migrated",
    "encode_log",
    "encode_migrated",
    "encode_reference",
    "is_log",
    "is_log_type",
    "log_fields",
    "no_log",
    "reference_of",
]

LOG_SHAPE: Final = ExactShape("a log", Log)
"""Of a field of a state that is one."""
_EXTENSION: Final = 1
_NUMBER_BYTES: Final = 2


class Reference(NamedTuple):
    """What a row holds of a log that is not empty."""

    number: int
    """Under which its entries are stored."""
    length: int


class LogField(NamedTuple):
    """A field of a state that is a log."""

    name: str
    """As handlers write it."""
    key: str
    """As it is stored."""
    entry_type: Any


def log_fields(state_type: Any) -> tuple[LogField, ...]:
    """The logs among the fields of a state type; none for what is no struct.

    >>> class Cart(msgspec.Struct):
    ...     total: int = 0
    ...     items: Log[str] = Log()
    >>> log_fields(Cart), log_fields(dict)
    ((LogField(name='items', key='items', entry_type=<class 'str'>),), ())
    """
    struct = get_origin(state_type) or state_type
    if not (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
        return ()
    found = tuple(
        LogField(field.name, field.encode_name, (get_args(field.type) or (Any,))[0])
        for field in msgspec.structs.fields(state_type)
        if is_log_type(field.type)
    )
    if found and struct.__struct_config__.array_like:
        msg = f"{struct.__name__}.{found[0].name}: a state with logs is stored with names: leave array_like out"
        raise FlowError(msg)
    return found


def is_log_type(value_type: Any) -> bool:
    """Whether a type is that of logs, whatever their entries are."""
    return (get_origin(value_type) or value_type) is Log


def is_log(info: inspect.Type) -> bool:
    """Whether a described type is a log, whatever its entries are."""
    return isinstance(info, inspect.CustomType) and info.cls is Log


def no_log(info: inspect.Type) -> str:
    """Why there can be no log where one stands; empty for what is none."""
    if not is_log(info):
        return ""
    return (
        "a log, and only an operator's own state has logs, each as a field of the state's class itself: "
        "items: hw.Log[Item] = hw.Log()"
    )


class EntryCodec:
    """How the entries of a log are stored: MessagePack of values that fit their shape, where there is one."""

    def __init__(self, entry_type: Any, shape: Optional[Shape]) -> None:
        self._shape = shape
        self._encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
        self.decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(entry_type).decode
        """Raises `msgspec.DecodeError` for what is no such value."""

    def encode(self, value: Any) -> bytes:
        """A value as it is stored; raises `TypeError` for one that is not of the declared type."""
        try:
            encoded = self._encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            msg = f"an entry of a log cannot be stored ({error}): {shown(value):.200}"
            raise TypeError(msg) from None
        if self._shape is not None and not self._shape.fits(value, None):
            msg = f"an entry of a log cannot be stored: {misfit_of(self._shape, value, 'the entry')}"
            raise TypeError(msg)
        return encoded

    def converted(self, value: Any) -> bytes:
        """As `encode`, of builtins; raises `msgspec.ValidationError` for what is not of the declared type."""
        encoded = self._encode(value)
        self.decode(encoded)
        return encoded

    @classmethod
    def of_any(cls) -> EntryCodec:
        """For entries of any type, read as builtins."""
        return _of_any


_of_any: Final = EntryCodec(Any, None)


class _Held(Log[Any]):
    """A log as it comes out of a decoder: where its entries are, for whoever binds it."""

    __slots__ = ("reference",)

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference = reference


def encode_log(value: Any) -> Any:
    """What the row holds of a log, for an encoder; raises `TypeError` for what is no log of a key.

    >>> encode_log(Log()) is None
    True
    """
    if type(value) is not Log:
        msg = f"Encoding objects of type {type(value).__name__} is unsupported"
        raise TypeError(msg)
    count = len(value)
    if count == 0:
        return None
    place = value._place
    if place is None:
        raise TypeError(_not_its_own(value))
    return encode_reference(Reference(place.number, count))


def encode_reference(found: Reference) -> Any:
    """What the row holds of a log that is not empty."""
    number, length = found
    data = number.to_bytes(_NUMBER_BYTES, "big") + length.to_bytes((length.bit_length() + 7) // 8, "big")
    return msgspec.msgpack.Ext(_EXTENSION, data)


def decode_log(log_type: Any, held: Any) -> Any:
    """The log of which a row holds this, for a decoder: it knows where it is, and is to be bound.

    >>> reference_of(decode_log(Log[str], None))
    Reference(number=0, length=0)
    """
    if not is_log_type(log_type):
        return held  # Of a field that may be anything.
    reference = reference_of(held)
    if reference is None:
        msg = f"Expected a log, got {type(held).__name__}"
        raise msgspec.ValidationError(msg)
    return _Held(reference)


def encode_migrated(value: Any) -> Any:
    """As `encode_log`, of what `migrate` has made: entries that are not where they were are a list."""
    if isinstance(value, Log) and (value._place is None or value._tail or value._clearings):
        return list(value)
    return encode_log(value)


def decode_migrated(log_type: Any, held: Any) -> Any:
    """As `decode_log`, of what `encode_migrated` gives, or of a list of entries."""
    if isinstance(held, list) and is_log_type(log_type):
        return Log(held)
    return decode_log(log_type, held)


def reference_of(held: Any) -> Optional[Reference]:
    """Which entries are meant by what a row holds, or by what `decode_log` has made of it; None for what is no log.

    >>> reference_of(17) is None
    True
    """
    if held is None:
        return Reference(0, 0)
    if isinstance(held, _Held):
        return held.reference
    if isinstance(held, msgspec.msgpack.Ext) and held.code == _EXTENSION:
        data = bytes(held.data)
        return Reference(int.from_bytes(data[:_NUMBER_BYTES], "big"), int.from_bytes(data[_NUMBER_BYTES:], "big"))
    return None


def _not_its_own(value: Log[Any]) -> str:
    return f"{value!r} is of no key: a log belongs to its field, and is changed with append, extend and clear"
