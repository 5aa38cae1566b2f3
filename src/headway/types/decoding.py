"""From bytes to events: the codec of one event type, and what it sees to beyond what JSON says.

An event that is decoded can be stored, sent and written, and is then the same (see `headway.types.values`). Decoders do
not see to it: they give integers of any length, or make floats of those that are too long; they keep the zone that an
instant was written in; they round fractions of a second up, even into the next year. Almost no record holds such a
value. So whole blocks are decoded as before, and only those with a long run of digits are looked at more closely.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Generic, Optional, cast

import msgspec
import orjson
from msgspec import inspect
from typing_extensions import TypeVar

from headway.basics.scanning import count_ends, has_long_fraction, has_long_number
from headway.errors import FlowError
from headway.types.misfits import innermost, set_in
from headway.types.schema import Json, type_label
from headway.types.shapes import Shape, all_fit
from headway.types.timefields import taking_text_as_times
from headway.types.typekinds import kinds_in
from headway.types.values import shape_of

__all__ = ["LineCodec"]

T = TypeVar("T", default=Any)

_TIMES: Final = {inspect.DateTimeType, inspect.TimeType, inspect.TimeDeltaType}
_INTEGERS: Final = {inspect.IntType, inspect.AnyType}
_FINER: Final = re.compile(rb"((?::[0-5]\d|\d(?=[.\d]*[Ss]))\.\d{6})\d+")
"""A fraction of a second with more than six digits, in a time or a duration: up to the sixth, and the others."""


class LineCodec(Generic[T]):
    """Decodes lines of JSON into events of one type, a buffer at a time or one by one.

    The type is an `Event` class, any that msgspec knows, or `Json` for untyped objects.

    `decode_lines` costs about 0.4 µs an event for small structs and 0.7 µs for dicts; some 0.05 µs more where the type
    has datetimes, and 1 to 2 µs more for each event whose datetimes are not in UTC or finer than microseconds. Both
    methods raise `msgspec.DecodeError` (`msgspec.ValidationError` is one) for input that is not such an event, or whose
    values cannot be stored: integers beyond 64 bits, instants outside the years 1 to 9999 in UTC. Not `strict`, text
    is taken for the number that it names. In a field that is declared as `Time`, `decode` and `convert` take text too,
    which costs some µs an event; `decode_lines` does not.
    """

    def __init__(self, event_type: Any, *, strict: bool = True) -> None:
        self.event_type = event_type
        is_object = event_type is dict or event_type == Json
        what = f"events of type {type_label(event_type)}"
        self._shape: Shape = shape_of(event_type, what, written=True)
        self._encode = msgspec.msgpack.Encoder().encode
        self._read: Callable[[bytes], Any] = _decode_object
        self._read_lines: Callable[[bytes], list[Any]] = _decode_object_lines
        wire_type = Json if is_object else event_type
        try:
            decoder = msgspec.json.Decoder(wire_type, strict=strict)
            self._restore = msgspec.msgpack.Decoder(wire_type).decode
        except TypeError as error:
            msg = f"{what} cannot be read: {error}"
            raise FlowError(msg) from None
        self._exact = decoder.decode
        if not is_object:
            self._read = taking_text_as_times(decoder.decode, event_type)
            self._read_lines = decoder.decode_lines
        kinds = kinds_in(wire_type)
        self._has_times = bool(kinds & _TIMES)
        self._has_zones = inspect.DateTimeType in kinds
        self._is_object = is_object
        is_plain = not self._has_times and not kinds & _INTEGERS
        self.decode: Callable[[bytes], T] = cast(Any, self._read if is_plain else self._decode)
        """The event of one line."""
        self.decode_lines: Callable[[bytes], list[T]] = cast(Any, self._read_lines if is_plain else self._decode_lines)
        """The events of lines, each of which holds one, or of whatever decoders of whole buffers take for one."""

    def _decode(self, line: bytes) -> T:
        is_finer = self._has_times and has_long_fraction(line)
        event = self._read(self._cut(line) if is_finer else line)
        if self._has_zones:
            return cast(T, self.settle(event))
        if has_long_number(line):
            self._check(self._exact(line) if self._is_object else event)
        return cast(T, event)

    def _decode_lines(self, data: bytes) -> list[T]:
        is_finer = self._has_times and has_long_fraction(data)
        events = self._cut_lines(data) if is_finer else self._read_lines(data)
        if self._has_zones:
            return events if all_fit(self._shape, events) else [self.settle(event) for event in events]
        if has_long_number(data):
            exact = [self._exact(line) for line in data.splitlines() if line] if self._is_object else events
            if not all_fit(self._shape, exact):
                for event in exact:
                    self._check(event)
        return events

    def decode_record(self, record: bytes) -> T:
        """The event of one record, all of which must be UTF-8."""
        if not record.isascii():
            record.decode()
        return self.decode(record)

    def decode_records(self, records: Sequence[bytes]) -> list[T]:
        """The events of records, in one call of the decoder where each is an object on one line."""
        block = b"\n".join(records)
        ends, borders = count_ends(block)
        has_lines = ends == len(records) - 1  # Else there are line ends in a record.
        events = self.decode_block(block, len(records), borders) if has_lines else None
        return list(map(self.decode_record, records)) if events is None else events

    def decode_block(self, data: bytes, count: int, borders: int) -> Optional[list[T]]:
        """The events of `count` lines, one each; None where lines may hold none, several, or parts of objects.

        `borders` says how many line ends stand between `}` and `{`. Raises `ValueError` or `RecursionError` for a bad
        line.

        Decoders of whole buffers take line ends for mere white space: they accept `{}{}` on one line and one
        object on two. Inside of a JSON value no `}` is followed by `{` with only white space between, so when
        each line end stands between the two, no value goes over a line end; and then as many events as lines is
        one for each.
        """
        if borders != count - 1 and borders + data.count(b"}\r\n{") != count - 1:
            return None
        if not data.isascii():
            data.decode()
        events = self.decode_lines(data)
        return events if len(events) == count else None

    def convert(self, value: Any) -> T:
        """The event that Python values mean, such as a dict. Raises `msgspec.ValidationError` where they mean none."""
        try:
            event = msgspec.convert(value, dict if self._is_object else self.event_type)
        except msgspec.ValidationError as error:
            try:
                return self.decode(msgspec.json.encode(value))
            except msgspec.ValidationError:
                raise
            except (TypeError, ValueError):
                raise error from None
        return cast(T, self.settle(event))

    def settle(self, event: Any) -> Any:
        """An event that JSON or Python made as one that can be stored, its datetimes in UTC.

        Raises `msgspec.ValidationError` for one that cannot be.
        """
        if self._shape.fits(event, None):
            return event
        try:
            settled = self._restore(self._encode(event))
        except OverflowError:
            return self._check(event)
        except TypeError as error:
            raise msgspec.ValidationError(str(error)) from None
        found = set_in(event)
        if found is not None:
            msg = f"the set {found!r:.100} has no order: expected a list"
            raise msgspec.ValidationError(msg)
        return self._check(settled)

    def _check(self, event: Any) -> Any:
        """The event. Raises `msgspec.ValidationError` when it holds what cannot be stored."""
        if not self._shape.fits(event, None):
            place, part, expected = innermost(self._shape, event, "$")
            if type(part) is int:
                reason = f"the integer {part} does not fit into 64 bits (-2**63 to 2**64 - 1)"
            elif isinstance(part, datetime):
                reason = f"the instant {part.isoformat()} is outside the years 1 to 9999 in UTC"
            else:
                reason = f"expected {expected.expects}, got {part!r:.100} ({type(part).__name__})"
            msg = f"{reason} - at `{place}`"
            raise msgspec.ValidationError(msg)
        return event

    def _cut_lines(self, data: bytes) -> list[Any]:
        """The events of lines in some of which fractions are finer than microseconds.

        Cutting is right where it makes no difference to text: then a further digit, a zero, makes none at all.
        """
        cut = _FINER.sub(rb"\1", data)
        events = self._read_lines(cut)
        try:
            if self._encode(events) == self._encode(self._read_lines(_FINER.sub(rb"\g<1>0", data))):
                return events
        except (OverflowError, msgspec.DecodeError):
            pass
        return [self._read(self._cut(line)) for line in data.split(b"\n") if line.strip()]

    def _cut(self, line: bytes) -> bytes:
        """A line without the digits beyond microseconds, where they are of a time and not of some text."""
        pieces = _FINER.split(line)  # What stands between, and what is kept, in turn; the other digits are left out.
        cut = b"".join(pieces)
        kept = []
        for number, found in enumerate(_FINER.finditer(line)):
            longer = b"".join([*pieces[: 2 * number + 2], b"0", *pieces[2 * number + 2 :]])
            kept.append(found[1] if self._are_equal(cut, longer) else found[0])
        between = pieces[::2]
        return b"".join([part for pair in zip(between, kept) for part in pair] + [between[-1]])

    def _are_equal(self, one: bytes, other: bytes) -> bool:
        try:
            first, second = self._read(one), self._read(other)
            return first == second or self._encode(first) == self._encode(second)
        except (OverflowError, msgspec.DecodeError):
            return False


def _decode_object(line: bytes) -> Json:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise msgspec.DecodeError(str(error)) from None
    if type(value) is not dict:
        msg = f"Expected `object`, got `{type(value).__name__}`"
        raise msgspec.ValidationError(msg)
    return value


def _decode_object_lines(data: bytes) -> list[Json]:
    loads = orjson.loads
    try:
        values = [loads(line) for line in data.splitlines() if line]
    except orjson.JSONDecodeError as error:
        raise msgspec.DecodeError(str(error)) from None
    for value in values:
        if type(value) is not dict:
            msg = f"Expected `object`, got `{type(value).__name__}`"
            raise msgspec.ValidationError(msg)
    return values
