"""Columns of Arrow as events: the format of inputs whose files hold columns, such as Parquet.

A file's columns are compared with the event's class once for each schema, and what cannot fit is refused then, before
any row is read. What fits by its type is taken column by column; events are made when a step needs them
(`headway.types.eventcolumns`). Where some value of a block of rows does not fit after all (a null in a field that takes
none, a number outside of its limits), the rows of that block go one by one through the way of JSON, which names the bad
ones.

Rejected: to make a dict of each row and convert it. It takes five times as long as JSON itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timezone
from typing import Any, ClassVar, Final, NamedTuple, Optional

import msgspec

from headway.errors import InputError
from headway.formats.arrays import (
    as_milliseconds,
    chosen_rows,
    column_type,
    flags,
    holding,
    json_values,
    kind_of,
    milliseconds_of,
    numbers_of,
    values_of,
)
from headway.formats.base import Format
from headway.types.decoding import LineCodec
from headway.types.eventcolumns import EventColumns, Numbers
from headway.types.fieldkinds import FieldKind, field_kinds, maker_of
from headway.types.schema import Json, type_label
from headway.types.shapes import all_fit
from headway.types.values import shape_of

__all__ = ["COLUMNS", "ColumnsDecoder", "ColumnsFormat", "Decoded", "Rows"]

_MUTABLE: Final = {"list", "map", "record", "other"}
"""Kinds whose values a step may change, so that each decoding needs values of its own."""
_READ_AS_NUMBERS: Final[Mapping[Callable[[Any], list[Any]], Callable[[Any], Any]]] = {
    values_of: numbers_of,
    as_milliseconds: milliseconds_of,
}
"""By what lists the values of a column: what gives them as an array of numbers, or None."""
_JSON_ALIKE: Final = {"text", "integer", "float", "boolean", "null"}
"""Kinds whose values are those of JSON."""


@dataclass(frozen=True)
class ColumnsFormat(Format):
    """The format of files of columns. A record is a row; where it stands alone, as in a dead letter, it is JSON."""

    name: ClassVar[str] = "columns"
    is_text: ClassVar[bool] = True

    def decoder(self, event_type: Any) -> ColumnsDecoder:
        """A decoder, of rows and of JSON."""
        return ColumnsDecoder(event_type)


COLUMNS: Final = ColumnsFormat()


class ColumnsDecoder(LineCodec[Any]):
    """Decodes rows by `rows`, and as JSON those that stand alone."""

    def __init__(self, event_type: Any) -> None:
        super().__init__(event_type)
        self.is_untyped = event_type is dict or event_type == Json
        self.fields: Optional[Mapping[str, FieldKind]] = None if self.is_untyped else field_kinds(event_type)
        """The fields of a class that is made from columns, by the names of their columns; None for other types."""
        self.shape = shape_of(event_type, f"events of type {type_label(event_type)}", written=True)
        self._plans: dict[Any, _Plan] = {}

    def wanted(self, names: Sequence[str]) -> list[str]:
        """Which of a file's columns are to be read."""
        return list(names) if self.fields is None else [name for name in names if name in self.fields]

    def check(self, schema: Any) -> None:
        """Raise `InputError`, without the file's name, for columns of which no event of the type can be made."""
        if self.fields is None:
            return
        label = type_label(self.event_type)
        columns = {column.name: column_type(column.type) for column in schema}
        if self.fields and not any(name in columns for name in self.fields):
            msg = (
                f"none of its columns is a field of {label}: the columns are {', '.join(columns) or 'none'}, and the "
                f"fields {', '.join(self.fields)}; all events would be alike"
            )
            raise InputError(msg)
        for name, field in self.fields.items():
            if name not in columns:
                if field.is_required:
                    msg = (
                        f"there is no column {name!r}, which {label} needs: the columns are {', '.join(columns)}; give "
                        "the event's field a default, or name another column"
                    )
                    raise InputError(msg)
            elif not field.takes(kind_of(columns[name])):
                msg = (
                    f"the column {name!r} holds {columns[name]}, of which no value fits into the field "
                    f"{field.name!r} of {label}: declare the field so, or write the column otherwise"
                )
                raise InputError(msg)

    def rows(self, batch: Any, *, is_valid: bool) -> Rows:
        """The rows of a record batch, whose schema has been checked; `is_valid` says that all its text is UTF-8."""
        plan = self._plans.get(batch.schema)
        if plan is None:
            plan = self._plans[batch.schema] = _Plan.of(self, batch.schema)
        return Rows(self, plan, batch, is_valid=is_valid)


class _Column(NamedTuple):
    """How the values of a column are had."""

    name: str
    number: int
    read: Callable[[Any], list[Any]]
    loosely: Callable[[Any], list[Any]]
    """As builtins, for a conversion that finds out what is wrong."""
    field: Optional[FieldKind]
    is_direct: bool = False
    """Whether each value fits that is no null."""
    is_mutable: bool = False
    """Whether its values are of a kind that a step may change."""


@dataclass(frozen=True)
class _Plan:
    """What is known of a schema for an event type."""

    columns: Mapping[str, _Column]
    """By the field that they fill."""
    make: Optional[Callable[..., list[Any]]]
    """Makes events of columns in that order; None where each row is converted."""
    is_lazy: bool

    @classmethod
    def of(cls, decoder: ColumnsDecoder, schema: Any) -> _Plan:
        columns = {}
        for index, column in enumerate(schema):
            field = None if decoder.fields is None else decoder.fields[column.name]
            name = column.name if field is None else field.name
            kind = kind_of(column.type)
            found = _column_of(name, index, kind, field, column.type)
            columns[name] = found._replace(is_mutable=kind in _MUTABLE)
        if decoder.fields is None:
            return cls(columns, None, is_lazy=False)
        make = maker_of(decoder.event_type, list(columns))
        is_plain = not hasattr(decoder.event_type, "__post_init__")
        return cls(columns, make, is_lazy=is_plain and all(column.is_direct for column in columns.values()))


def _column_of(name: str, index: int, kind: str, field: Optional[FieldKind], arrow_type: Any) -> _Column:
    if field is None:
        read = values_of if kind in _JSON_ALIKE else lambda array: json_values(values_of(array))
        return _Column(name, index, read, read, None)
    if field.is_time and kind in ("instant", "date"):
        return _Column(name, index, as_milliseconds, as_milliseconds, field, is_direct=True)
    if field.is_time and kind == "text":
        return _Column(name, index, as_milliseconds, values_of, field)
    if field.exactly == kind:
        return _Column(name, index, values_of, values_of, field, is_direct=True)
    if field.exactly == "float" and kind == "integer":
        return _Column(name, index, lambda array: values_of(array.cast("float64", safe=False)), values_of, field, True)
    read = _in_utc if kind == "instant" and arrow_type.tz else values_of
    wanted: Any = list[field.type if field.takes_none else Optional[field.type]]  # type: ignore[misc]
    return _Column(name, index, lambda array: msgspec.convert(read(array), wanted), read, field)


def _in_utc(array: Any) -> list[Any]:
    """Instants of a column with a zone, in the zone that Python itself has for UTC."""
    return [None if found is None else found.replace(tzinfo=timezone.utc) for found in values_of(array)]


class Decoded(NamedTuple):
    """What some rows are: events, their indexes among all rows of the batch, and the reasons of those that are none."""

    events: Sequence[Any]
    indexes: Sequence[int]
    bad: Sequence[tuple[int, Exception]]


class _EventsOfRows(EventColumns):
    """The events of some rows, each of which can be one."""

    __slots__ = ("_rows", "_start", "_stop")

    def __init__(self, rows: Rows, start: int, stop: int) -> None:
        super().__init__()
        self._rows = rows
        self._start = start
        self._stop = stop

    def column_of(self, field: str) -> Optional[list[Any]]:
        return self._rows.column_of(field, self._start, self._stop)

    def numbers_of(self, field: str) -> Optional[Numbers]:
        return self._rows.numbers_of(field, self._start, self._stop)

    def holding(self, field: str, wanted: Collection[Any]) -> Optional[bytes]:
        return self._rows.holding(field, wanted, self._start, self._stop)

    def make(self, mask: Optional[bytes] = None) -> list[Any]:
        return self._rows.make(self._start, self._stop, mask)

    def __len__(self) -> int:
        return self._stop - self._start


class _ArrayOfNumbers(Numbers):
    """The whole numbers of an array of NumPy."""

    __slots__ = ("_array",)

    def __init__(self, array: Any) -> None:
        super().__init__()
        self._array = array

    @property
    def span(self) -> tuple[int, int, bool]:
        array = self._array
        return int(array.min()), int(array.max()), bool((array[1:] >= array[:-1]).all())

    def make(self, mask: Optional[bytes] = None) -> list[int]:
        found: list[int] = (self._array if mask is None else self._array[flags(mask)]).tolist()
        return found

    def __len__(self) -> int:
        return len(self._array)


class Rows:
    """The rows of one record batch. Columns become lists when they are first needed, and are kept.

    Those of lists and records are not: they are made for each decoding anew, as the steps of a flow may change them.
    """

    def __init__(self, decoder: ColumnsDecoder, plan: _Plan, batch: Any, *, is_valid: bool) -> None:
        self._is_valid = is_valid
        self._decoder = decoder
        self._plan = plan
        self._batch = batch
        self._columns: dict[str, list[Any]] = {}
        self._loose: Optional[list[list[Any]]] = None
        self._is_clean: Optional[bool] = None

    def decode(self, start: int, stop: int) -> Decoded:
        """The events of the rows from `start` to `stop`."""
        plan, indexes = self._plan, range(start, stop)
        if not plan.columns:  # An event type without fields.
            return self._one_by_one(indexes)
        try:
            if plan.is_lazy and self._clean:
                return Decoded(_EventsOfRows(self, start, stop), indexes, [])
            columns = [self._column(name, start, stop) for name in plan.columns]
            if plan.make is not None:
                made = plan.make(*columns)
                if all_fit(self._decoder.shape, made):
                    return Decoded(made, indexes, [])
            elif self._decoder.is_untyped:
                names = tuple(plan.columns)
                return Decoded([dict(zip(names, row)) for row in zip(*columns)], indexes, [])
        except (ValueError, TypeError, LookupError):  # Which row it is, is found out below.
            pass
        return self._one_by_one(indexes)

    def column_of(self, field: str, start: int, stop: int) -> Optional[list[Any]]:
        """The values of a field; None for one without a column."""
        return self._column(field, start, stop) if field in self._plan.columns else None

    def numbers_of(self, field: str, start: int, stop: int) -> Optional[Numbers]:
        """The values of a field, where they are whole numbers by the type of their column; None for others."""
        column = self._plan.columns.get(field)
        read = None if column is None else _READ_AS_NUMBERS.get(column.read)
        if column is None or read is None:
            return None
        found = read(self._batch.column(column.number).slice(start, stop - start))
        return None if found is None else _ArrayOfNumbers(found)

    def holding(self, field: str, wanted: Collection[Any], start: int, stop: int) -> Optional[bytes]:
        """The mask of rows in which a field has one of these values; None where Python has to compare them."""
        column = self._plan.columns.get(field)
        if column is None or column.read is not values_of:
            return None
        return holding(self._batch.column(column.number).slice(start, stop - start), wanted)

    def make(self, start: int, stop: int, mask: Optional[bytes] = None) -> list[Any]:
        """The events of rows each of which can be one: of those that a mask chooses, or of all."""
        plan = self._plan
        assert plan.make is not None
        if mask is None:
            return plan.make(*(self._column(name, start, stop) for name in plan.columns))
        batch = chosen_rows(self._batch.slice(start, stop - start), mask)
        return plan.make(*(self._read(column, batch.column(column.number)) for column in plan.columns.values()))

    @property
    def _clean(self) -> bool:
        """Whether each value of each column fits into its field, where only nulls and bad text could not."""
        if self._is_clean is None:
            self._is_clean = self._is_valid and all(map(self._has_no_bad_null, self._plan.columns.values()))
        return self._is_clean

    def _has_no_bad_null(self, column: _Column) -> bool:
        field = column.field
        assert field is not None
        return field.takes_none or field.has_plain_default or self._batch.column(column.number).null_count == 0

    def _column(self, name: str, start: int, stop: int) -> list[Any]:
        """Values of a column as its field has them. Raises `ValueError` where some value does not fit."""
        column = self._plan.columns[name]
        if column.is_mutable:
            return self._read(column, self._batch.column(column.number).slice(start, stop - start))
        found = self._columns.get(name)
        if found is None:
            found = self._columns[name] = self._read(column, self._batch.column(column.number))
        return found[start:stop]

    def _read(self, column: _Column, array: Any) -> list[Any]:
        found, field = column.read(array), column.field
        if field is None or not array.null_count or field.takes_none:
            return found
        if not field.has_plain_default:
            msg = f"a null in {column.name!r}"
            raise ValueError(msg)
        return [field.default if value is None else value for value in found]

    def _one_by_one(self, indexes: Sequence[int]) -> Decoded:
        events, kept, bad = [], [], []
        for index in indexes:
            try:
                events.append(self._decoder.convert(self.row(index)))
                kept.append(index)
            except (ValueError, RecursionError) as error:
                bad.append((index, error))
        return Decoded(events, kept, bad)

    def row(self, index: int) -> dict[str, Any]:
        """A row as a dict, by the names of its columns. Raises `ValueError` for text that is not UTF-8.

        A null is left out where the field takes none and has a default.
        """
        columns = self._plan.columns.values()
        if self._loose is None:
            self._loose = [[] if c.is_mutable else _values_or_errors(self._batch.column(c.number), c) for c in columns]
        row = {}
        for column, values in zip(columns, self._loose):
            field = column.field
            if column.is_mutable:
                [value] = _values_or_errors(self._batch.column(column.number).slice(index, 1), column)
            else:
                value = values[index]
            if isinstance(value, Exception):
                raise value
            if value is not None or field is None or field.takes_none or field.is_required:
                row[field.column if field else column.name] = value
        return row

    def raw(self, index: int) -> bytes:
        """A row as JSON: the columns that were read of it. Bytes that are no text are escaped."""
        try:
            return msgspec.json.encode(self.row(index))
        except ValueError:
            return repr(self._batch.slice(index, 1)).encode(errors="backslashreplace")


def _values_or_errors(array: Any, column: _Column) -> list[Any]:
    try:
        return column.loosely(array)
    except (ValueError, TypeError, LookupError):
        found: list[Any] = []
        if hasattr(array, "dictionary"):  # One bad text in it concerns all others.
            array = array.dictionary_decode()
        for index in range(len(array)):
            try:
                found += column.loosely(array.slice(index, 1))
            except (ValueError, TypeError, LookupError) as error:
                found.append(error if isinstance(error, ValueError) else ValueError(str(error)))
        return found
