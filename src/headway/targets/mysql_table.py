"""The SQL for a table of MySQL or MariaDB: what it is made with, whether it fits, and how rows get in."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.errors import UsageError
from headway.targets.base import Delivery
from headway.targets.columns import Column, Rows, fields_of_row
from headway.targets.positions import POSITIONS
from headway.targets.sql_table import (
    OPTIONAL,
    TRIGGERS,
    Dialect,
    Found,
    misfit_of_columns,
    not_unique,
    stored,
    trigger_row,
)

__all__ = ["Insertion", "MysqlTable", "Unique", "quoted"]

_TYPES: Final = {
    "text": "longtext",
    "integer": "bigint",
    "float": "double",
    "boolean": "boolean",
    "decimal": "decimal(65,30)",
    "datetime": "datetime(6)",
    "local datetime": "datetime(6)",
    "date": "date",
    "time": "time(6)",
    "interval": "varchar(64)",
    "uuid": "char(36)",
    "bytes": "longblob",
    "json": "json",
}
_KEY_TYPES: Final = {"text": "varchar(255)", "bytes": "varbinary(255)"}
"""What columns of a key are: an index has no room for more."""
_NUMBERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double"})
_TIMES: Final = frozenset({"datetime", "timestamp"})
_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_BYTES: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_FITTING: Final[Mapping[str, frozenset[str]]] = {
    "integer": _NUMBERS | _TEXTS,
    "float": _NUMBERS | _TEXTS,
    "decimal": _NUMBERS | _TEXTS,
    "boolean": _NUMBERS | _TEXTS | {"bit"},
    "datetime": _TIMES | _TEXTS,
    "local datetime": _TIMES | _TEXTS,
    "date": _TIMES | _TEXTS | {"date"},
    "time": _TEXTS | {"time"},
    "interval": _TEXTS,
    "uuid": _TEXTS | {"uuid"},
    "bytes": _BYTES,
    "json": _TEXTS | {"json"},
}
"""What a kind may be written to. A text may be anything that has no kind of its own: an enumeration, an address."""
_NOT_TEXT: Final = _NUMBERS | _TIMES | _BYTES | {"bit", "date", "json", "geometry"}
_TRIGGER_TYPES: Final = {
    "id": "varchar(64) PRIMARY KEY",
    "type": "varchar(255) NOT NULL",
    "time": "datetime(6) NOT NULL",
    "data": "json NOT NULL",
    "sequence": "varchar(64)",
}
"""What columns of triggers are, where it is more than their kind says."""
_IDENTIFIER_MAX: Final = 64


class Unique(NamedTuple):
    """Columns in which no two rows agree."""

    name: str
    columns: frozenset[str]
    counts_by_itself: bool
    """Whether the server gives one of them a new number for each row."""


class Insertion(NamedTuple):
    """The statement that writes rows: `head`, a `row` for each of them with commas between them, and `tail`.

    Only `row` is a text with parameters, those of `MysqlTable.values`.
    """

    head: str
    row: str
    tail: str


def quoted(name: str) -> str:
    """An identifier, as it stands in the text of a statement without parameters."""
    return "`" + name.replace("`", "``") + "`"


_DIALECT: Final = Dialect(_TYPES, _FITTING, _NOT_TEXT, quoted)


class MysqlTable:
    """A table of triggers, or with `rows` one of typed rows. Raises `UsageError` for a name that cannot be."""

    def __init__(self, name: str, rows: Optional[Rows]) -> None:
        parts = name.split(".") if isinstance(name, str) else []
        if not 1 <= len(parts) <= 2 or not all(0 < len(part) <= _IDENTIFIER_MAX and "\0" not in part for part in parts):
            msg = f'table={name!r} is no name of a table: write one such as "carts" or "shop.carts"'
            raise UsageError(msg)
        self.name = name
        self.place = (parts[0] if len(parts) == 2 else None, parts[-1])
        """The database, None for that of the connection, and the table."""
        self.columns = TRIGGERS if rows is None else rows.columns
        self.key = ("id",) if rows is None else rows.key
        self._of_triggers = rows is None
        if any(column.kind == "json" and column.name in self.key for column in self.columns):
            msg = f"key={'/'.join(self.key)!r}: MySQL has no keys of what has parts; name fields of text or numbers"
            raise UsageError(msg)
        self.sql = ".".join(map(quoted, parts))
        self._positions = ".".join([*map(quoted, parts[:-1]), quoted(POSITIONS)])
        self.positions = self._positions.replace("%", "%%")
        """The table of positions, as it stands in the text of a statement with parameters."""

    def creation(self, collation: str) -> list[str]:
        """The statements that make what is not there; texts are compared by `collation`."""
        columns = [f"{quoted(column.name)} {self._type_of(column)}" for column in self.columns]
        if not self._of_triggers:
            columns.append(f"PRIMARY KEY ({', '.join(map(quoted, self.key))})")
        how = f"ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE {collation}"
        return [
            f"CREATE TABLE IF NOT EXISTS {self.sql} ({', '.join(columns)}) {how}",
            f"CREATE TABLE IF NOT EXISTS {self._positions} (target varchar(255), place varchar(500), "
            "number bigint NOT NULL, id varchar(64) NOT NULL, refused longtext NOT NULL, "
            f"PRIMARY KEY (target, place)) {how}",
        ]

    def _type_of(self, column: Column) -> str:
        if self._of_triggers:
            return _TRIGGER_TYPES.get(column.name, _TYPES[column.kind])
        if column.name in self.key:
            return f"{_KEY_TYPES.get(column.kind, _TYPES[column.kind])} NOT NULL"
        return _TYPES[column.kind]

    def misfit(self, found: Sequence[Found], uniques: Sequence[Unique]) -> Optional[str]:
        """Why a table that is there cannot take the rows, and what to do; None where it can."""
        may_lack = OPTIONAL if self._of_triggers else frozenset[str]()
        misfit = misfit_of_columns(_DIALECT, self.name, self.columns, found, may_lack=may_lack)
        if misfit is not None:
            return misfit
        key = frozenset(self.key)
        if all(unique.columns != key for unique in uniques):
            return not_unique(_DIALECT, self.name, self.key)
        other = next((unique for unique in uniques if not (unique.counts_by_itself or key <= unique.columns)), None)
        if other is not None:
            return (
                f"the table {self.name} has another unique index, {other.name}: MySQL would take a row that repeats it "
                f"for one of the same key, and overwrite the other. ALTER TABLE {self.name} DROP INDEX {other.name}"
            )
        return None

    def insertion(self, found: Sequence[Found]) -> Insertion:
        """The statement that writes rows."""
        there = {column.name for column in found}
        names = [quoted(column.name) for column in self.columns if column.name in there]
        key = [quoted(name) for name in self.key]
        updated = [] if self._of_triggers else [name for name in names if name not in key]
        changes = [f"{name} = VALUES({name})" for name in updated] or [f"{key[0]} = {key[0]}"]
        marks = ", ".join(["%s"] * len(names))
        return Insertion(
            f"INSERT INTO {self.sql} ({', '.join(names)}) VALUES ",
            f"({marks})",
            f" ON DUPLICATE KEY UPDATE {', '.join(changes)}",
        )

    def values(self, delivery: Delivery, found: Sequence[Found]) -> list[Any]:
        """A delivery as a row. Raises `ValueError` for a value that is none."""
        there = {column.name for column in found}
        if self._of_triggers:
            value = trigger_row(delivery, msgspec.json.decode(delivery.data))
            return [_stored(c, value[c.name], keeps_null=True) for c in self.columns if c.name in there]
        value = fields_of_row(delivery.data, self.key)
        return [_stored(column, value.get(column.name)) for column in self.columns]


def _in_utc(text: str) -> datetime:
    """An instant as MySQL has it: without a zone, in UTC."""
    found = msgspec.convert(text, datetime)
    return found.astimezone(timezone.utc).replace(tzinfo=None) if found.tzinfo else found


_STORED: Final[dict[str, Callable[[Any], Any]]] = {
    "json": lambda value: msgspec.json.encode(value).decode(),
    "bytes": lambda value: base64.b64decode(value, validate=True),
    "boolean": int,
    "datetime": _in_utc,
    "local datetime": _in_utc,
}


def _stored(column: Column, value: Any, *, keeps_null: bool = False) -> Any:
    """A field as the library takes it; a null of JSON is one of SQL, but for the value of a trigger."""
    if value is None and not (keeps_null and column.kind == "json"):
        return None
    return stored(column, value, _STORED)
