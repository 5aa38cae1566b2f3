"""Lines of JSON as rows of Arrow: the columns of outputs whose files hold columns, such as Parquet.

The columns are those of a type's fields, and are the same in every file, whatever the values are. Values are read
from the JSON that the flow has written, by a decoder that is made of the type: so a column of instants gets instants,
and one of bytes gets bytes. What has no column of its own in Arrow, such as a union of several types, is JSON as text.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, Optional, get_type_hints

import msgspec
from msgspec import inspect
from typing_extensions import TypedDict

from headway.errors import UsageError
from headway.types.fieldkinds import is_time
from headway.types.schema import Json, type_label

__all__ = ["TableRows", "table_of"]


class _JsonText(str):
    """A value of any type, as its JSON."""

    __slots__ = ()


class _Column(NamedTuple):
    """What the values of a field are."""

    arrow: Callable[[], Any]
    """Makes the type of Arrow: the library is imported when a file is written, and not when a flow is declared."""
    decoded: Any
    """The type that they are decoded as, from JSON."""
    kind: str = ""
    """`time` and `datetime` for what says when, `text`, `integer` or `boolean` for what names a group, or nothing."""


class TableRows:
    """Rows of a table: made of lines of JSON, each an object whose members are the columns."""

    def __init__(self, columns: Mapping[str, _Column], fields: Mapping[str, _Column], data: Optional[str]) -> None:
        self.kinds = {name: column.kind for name, column in fields.items()}
        """The fields of the flow's values, and for each `time` or `datetime` where it says when, `text`, `integer` or
        `boolean` where it may name a group of rows, else nothing."""
        self._data = data
        self._arrows = {name: column.arrow for name, column in columns.items()}
        row: Any = _row_type("Row", columns)
        self._decoder: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(row, dec_hook=_as_text)
        self._schema: Any = None

    def row(self, line: bytes) -> dict[str, Any]:
        """A line as a row. Raises `msgspec.ValidationError` for a value that its column does not take."""
        return self._decoder.decode(line)

    def value_of(self, row: dict[str, Any]) -> dict[str, Any]:
        """The flow's value in a row: all of it, or the data of an event."""
        return row if self._data is None else row[self._data]

    @property
    def schema(self) -> Any:
        """The schema, as Arrow has it."""
        if self._schema is None:
            import pyarrow as pa

            self._schema = pa.schema([(name, arrow()) for name, arrow in self._arrows.items()])
        return self._schema

    def batch(self, lines: Sequence[bytes]) -> Any:
        """Lines as a record batch of Arrow."""
        import pyarrow as pa

        return pa.RecordBatch.from_pylist(list(map(self._decoder.decode, lines)), schema=self.schema)


def table_of(value_type: Any, *, in_triggers: bool = False) -> TableRows:
    """The rows that values of a type become; `in_triggers` those of CloudEvents that have them as their data.

    Raises `UsageError` for values that have no fields that are known, unless they are the data of events.

    >>> import msgspec
    >>> class Cart(msgspec.Struct):
    ...     cart: str
    ...     cents: int
    ...     items: dict[str, int]
    >>> rows = table_of(Cart)
    >>> rows.schema.names, str(rows.schema.field("items").type)
    (['cart', 'cents', 'items'], 'map<string, int64>')
    >>> rows.batch([b'{"cart": "a", "cents": 7, "items": {"lamp": 1}}']).num_rows
    1
    """
    columns = _columns_of(value_type, ())
    if in_triggers:
        return TableRows({**_EVENT, "data": _record(columns) if columns else _JSON}, columns, "data")
    if not columns:
        msg = (
            f"values of {type_label(value_type)} have no fields that are known, of which to make columns: give the "
            "stream a type, or name a class with row=, such as row=Cart"
        )
        raise UsageError(msg)
    return TableRows(columns, columns, None)


def _named(name: str, *arguments: Any) -> Callable[[], Any]:
    def make() -> Any:
        import pyarrow as pa

        return getattr(pa, name)(*arguments)

    return make


_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_TEXT: Final = _Column(_named("string"), str, "text")
_JSON: Final = _Column(_named("string"), _JsonText)
_INTEGER: Final = _Column(_named("int64"), _Int64, "integer")
_TIME: Final = _Column(_named("timestamp", "ms", "UTC"), _Int64, "time")
_BYTES: Final = _Column(_named("binary"), bytes)
_INSTANT: Final = _Column(_named("timestamp", "us", "UTC"), datetime.datetime, "datetime")
_LOCAL: Final = _Column(_named("timestamp", "us"), datetime.datetime)
_EVENT: Final = {
    "id": _TEXT,
    "type": _TEXT,
    "source": _TEXT,
    "subject": _TEXT,
    "time": _Column(_named("timestamp", "ms", "UTC"), datetime.datetime, "datetime"),
}
"""The attributes of a CloudEvent."""
_PLAIN: Final[Mapping[type[inspect.Type], _Column]] = {
    inspect.BoolType: _Column(_named("bool_"), bool, "boolean"),
    inspect.IntType: _INTEGER,
    inspect.FloatType: _Column(_named("float64"), float),
    inspect.StrType: _TEXT,
    inspect.BytesType: _BYTES,
    inspect.ByteArrayType: _BYTES,
    inspect.DateType: _Column(_named("date32"), datetime.date),
    inspect.TimeDeltaType: _Column(_named("duration", "us"), datetime.timedelta),
    inspect.UUIDType: _TEXT,
    inspect.DecimalType: _TEXT,
}
_LISTS: Final = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)


def _columns_of(value_type: Any, within: tuple[Any, ...]) -> dict[str, _Column]:
    """The fields of a type as columns; none for a type without fields. `within` are the types that it is a part of."""
    if value_type in (Any, Json, dict):
        return {}
    try:
        info = inspect.type_info(value_type)
    except TypeError:
        return {}
    if not isinstance(info, (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)):
        return {}
    columns: dict[str, _Column] = {}
    if isinstance(info, inspect.StructType):
        if info.array_like:
            return {}
        if info.tag_field is not None:
            columns[info.tag_field] = _TEXT if isinstance(info.tag, str) else _INTEGER
    hints = get_type_hints(value_type, include_extras=True)
    within = (*within, value_type)
    for field in info.fields:
        columns[field.encode_name] = _column_of(field.type, within, is_time=is_time(hints.get(field.name)))
    return columns


def _column_of(info: inspect.Type, within: tuple[Any, ...], *, is_time: bool = False) -> _Column:
    if isinstance(info, inspect.Metadata):
        return _column_of(info.type, within, is_time=is_time)
    if isinstance(info, inspect.UnionType):
        options = [option for option in info.types if not isinstance(option, inspect.NoneType)]
        found = [_column_of(option, within, is_time=is_time) for option in options]
        if len(found) == 1:
            return found[0]
        numbers = {type(option) for option in options} == {inspect.IntType, inspect.FloatType}
        return _PLAIN[inspect.FloatType] if numbers else _JSON
    if isinstance(info, inspect.IntType) and is_time:
        return _TIME
    if isinstance(info, inspect.DateTimeType):
        return _LOCAL if info.tz is False else _INSTANT
    if isinstance(info, inspect.TimeType):  # Arrow has no times of day in zones.
        return _Column(_named("time64", "us"), datetime.time) if info.tz is False else _TEXT
    if isinstance(info, inspect.EnumType):
        return _column_of_values([member.value for member in info.cls])
    if isinstance(info, inspect.LiteralType):
        return _column_of_values(info.values)
    if isinstance(info, _LISTS):
        return _list(_column_of(info.item_type, within))
    if isinstance(info, inspect.DictType):
        return _map(_column_of(info.value_type, within))
    return _PLAIN.get(type(info)) or _nested(info, within)


def _column_of_values(values: Sequence[Any]) -> _Column:
    types: set[Optional[type]] = {type(value) for value in values}
    return _TEXT if types == {str} else _INTEGER if types == {int} else _JSON


def _nested(info: inspect.Type, within: tuple[Any, ...]) -> _Column:
    """A class within a class; as JSON where it has no fields, or holds itself."""
    part = getattr(info, "cls", None)
    if part is None or part in within or not isinstance(info, (inspect.StructType, inspect.DataclassType)):
        return _JSON
    columns = _columns_of(part, within)
    return _record(columns) if columns else _JSON


def _record(columns: Mapping[str, _Column]) -> _Column:
    def make() -> Any:
        import pyarrow as pa

        return pa.struct([(name, column.arrow()) for name, column in columns.items()])

    return _Column(make, _row_type("Record", columns))


def _list(item: _Column) -> _Column:
    def make() -> Any:
        import pyarrow as pa

        return pa.list_(item.arrow())

    return _Column(make, list[Optional[item.decoded]])  # type: ignore[name-defined]


def _map(value: _Column) -> _Column:
    """By names: keys of JSON are text."""

    def make() -> Any:
        import pyarrow as pa

        return pa.map_(pa.string(), value.arrow())

    return _Column(make, dict[str, Optional[value.decoded]])  # type: ignore[name-defined]


def _row_type(name: str, columns: Mapping[str, _Column]) -> Any:
    """What a row is decoded as. Each value may be missing, or null: a number that JSON does not have is."""
    return TypedDict(  # type: ignore[operator]
        name, {column: Optional[found.decoded] for column, found in columns.items()}, total=False
    )


def _as_text(wanted: Any, value: Any) -> Any:
    return wanted(msgspec.json.encode(value).decode())
