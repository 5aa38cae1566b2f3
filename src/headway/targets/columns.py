"""The columns of a table that triggers are written to: from the fields of a type.

A value arrives as JSON, and its fields as text, numbers and so on. Each field has a *kind*, which says what column it
gets where the table is made, and which columns of a table that is there already can take it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Optional, Union

import msgspec
from msgspec import inspect

from headway.errors import UsageError
from headway.types.schema import Json, type_label

__all__ = ["Column", "DeclaredRows", "Rows", "fields_of_row", "key_names", "no_key", "rows_of"]


class Column(NamedTuple):
    """A field of the value, as a column of the same name."""

    name: str
    kind: str
    """`text`, `integer`, `float`, `boolean`, `decimal`, `datetime`, `local datetime`, `date`, `time`, `interval`,
    `uuid`, `bytes` or `json`."""


class Rows(NamedTuple):
    """What is written to a table: one row for each key."""

    columns: tuple[Column, ...]
    key: tuple[str, ...]


_KINDS: Final[dict[type[inspect.Type], str]] = {
    inspect.BoolType: "boolean",
    inspect.IntType: "integer",
    inspect.FloatType: "float",
    inspect.StrType: "text",
    inspect.BytesType: "bytes",
    inspect.ByteArrayType: "bytes",
    inspect.DateType: "date",
    inspect.TimeType: "time",
    inspect.TimeDeltaType: "interval",
    inspect.UUIDType: "uuid",
    inspect.DecimalType: "decimal",
}


def key_names(key: Union[str, Sequence[str], None]) -> tuple[str, ...]:
    """The names of the key's columns, none where there is no key. Raises `UsageError` for what is no name."""
    names = () if key is None else (key,) if isinstance(key, str) else tuple(key)
    if key is not None and not (names and all(isinstance(name, str) and name for name in names)):
        msg = f'key={key!r} names no field: write one such as key="cart", or leave it out for a table of triggers'
        raise UsageError(msg)
    return names


def rows_of(value_type: Any, key: tuple[str, ...]) -> Rows:
    """The columns of a type's fields. Raises `UsageError` for a type without fields, and a key that is none of them.

    >>> import msgspec
    >>> class Cart(msgspec.Struct):
    ...     cart: str
    ...     cents: int
    ...     items: dict[str, int]
    >>> rows_of(Cart, ("cart",)).columns[1:]
    (Column(name='cents', kind='integer'), Column(name='items', kind='json'))
    """
    fields = _fields_of(value_type)
    if not fields:
        msg = (
            f"values of {type_label(value_type)} have no fields that are known, of which to make columns: give the "
            "stream a type, or name a class with row=, such as row=Cart"
        )
        raise UsageError(msg)
    columns = tuple(Column(field.encode_name, _kind_of(field.type)) for field in fields)
    names = [column.name for column in columns]
    missing = next((name for name in key if name not in names), None)
    if missing is not None:
        msg = f"key: {type_label(value_type)} has no field {missing!r}, its fields are {', '.join(names)}"
        raise UsageError(msg)
    return Rows(columns, key)


class DeclaredRows:
    """The rows that a table takes: of the class that the user has named, or else of the type of the streams.

    Without `key` the table takes triggers, and `rows` stays None. Raises `UsageError` as `rows_of` does.
    """

    def __init__(self, key: tuple[str, ...], row: Optional[type]) -> None:
        self.key = key
        self.rows: Optional[Rows] = rows_of(row, key) if key and row is not None else None
        self._is_open = bool(key) and row is None

    def take(self, target: str, trigger_type: str, value_type: Any) -> None:
        """Take the fields of a stream's type, unless the user has named a class.

        Raises `UsageError` with the name of the `target` where another stream has other fields.
        """
        if not self._is_open:
            return
        rows = rows_of(value_type, self.key)
        if self.rows is not None and self.rows != rows:
            msg = f"{target} gets values with other fields from {trigger_type!r} than before: name them with row="
            raise UsageError(msg)
        self.rows = rows

    def check(self, target: str) -> None:
        """Raise `UsageError` where there is a key, and nobody has said what the fields are."""
        if self.key and self.rows is None:
            msg = f"{target}: no stream has told the fields of its values: name a class with row=, such as row=Cart"
            raise UsageError(msg)


def fields_of_row(data: bytes, key: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a value that is to be a row. Raises `ValueError` for one without fields, or without its key."""
    value = msgspec.json.decode(data)
    if not isinstance(value, dict):
        msg = "the value is no object with fields"
        raise ValueError(msg)
    if any(value.get(name) is None for name in key):
        raise ValueError(no_key(key))
    return value


def no_key(key: tuple[str, ...]) -> str:
    """What is said of a value in which a field of the key is missing, or null."""
    return f"the value has no {' and '.join(map(repr, key))}, which is the key"


def _fields_of(value_type: Any) -> tuple[inspect.Field, ...]:
    if value_type in (Any, Json, dict):
        return ()
    try:
        info = inspect.type_info(value_type)
    except TypeError:
        return ()
    known = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)
    return info.fields if isinstance(info, known) else ()


def _kind_of(info: inspect.Type) -> str:
    if isinstance(info, inspect.UnionType):
        options = [option for option in info.types if not isinstance(option, inspect.NoneType)]
        kinds = {_kind_of(option) for option in options}
        return "float" if kinds == {"integer", "float"} else kinds.pop() if len(kinds) == 1 else "json"
    if isinstance(info, inspect.Metadata):
        return _kind_of(info.type)
    if isinstance(info, inspect.DateTimeType):
        return "local datetime" if info.tz is False else "datetime"
    if isinstance(info, inspect.EnumType):
        return _kind_of_values([member.value for member in info.cls])
    if isinstance(info, inspect.LiteralType):
        return _kind_of_values(info.values)
    return _KINDS.get(type(info), "json")


def _kind_of_values(values: Sequence[Any]) -> str:
    types: set[Optional[type]] = {type(value) for value in values}
    return "text" if types == {str} else "integer" if types == {int} else "json"
