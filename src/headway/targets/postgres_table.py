"""The SQL for a table of PostgreSQL: what it is made with, whether it fits, and how rows get in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Optional

import msgspec

from headway.errors import UsageError
from headway.targets.base import Delivery
from headway.targets.columns import Column, Rows
from headway.targets.positions import POSITIONS
from headway.targets.sql_table import (
    NEEDED,
    OPTIONAL,
    TRIGGERS,
    Dialect,
    Found,
    misfit_of_columns,
    not_unique,
    trigger_row,
)

__all__ = ["Table", "key_decoder", "quoted"]

_TYPES: Final = {
    "text": "text",
    "integer": "bigint",
    "float": "double precision",
    "boolean": "boolean",
    "decimal": "numeric",
    "datetime": "timestamp with time zone",
    "local datetime": "timestamp without time zone",
    "date": "date",
    "time": "time without time zone",
    "interval": "interval",
    "uuid": "uuid",
    "bytes": "bytea",
    "json": "jsonb",
}
_NUMBERS: Final = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_TIMES: Final = frozenset({"timestamp with time zone", "timestamp without time zone"})
_TEXTS: Final = frozenset({"text", "character varying", "character", "citext"})
_FITTING: Final[Mapping[str, frozenset[str]]] = {
    "integer": _NUMBERS | _TEXTS,
    "float": _NUMBERS | _TEXTS,
    "decimal": _NUMBERS | _TEXTS,
    "boolean": frozenset({"boolean"}) | _TEXTS,
    "datetime": _TIMES | _TEXTS,
    "local datetime": _TIMES | _TEXTS,
    "date": _TIMES | _TEXTS | {"date"},
    "time": _TEXTS | {"time without time zone", "time with time zone"},
    "interval": _TEXTS | {"interval"},
    "uuid": _TEXTS | {"uuid"},
    "bytes": frozenset({"bytea"}),
    "json": frozenset({"jsonb", "json"}) | _TEXTS,
}
"""What a kind may be written to. A text may be anything that has no kind of its own: an enumeration, an address."""
_NOT_TEXT: Final = _NUMBERS | _TIMES | {"boolean", "bytea", "date", "interval"}
_IDENTIFIER_BYTES_MAX: Final = 63
_encode: Final = msgspec.json.Encoder().encode


def quoted(name: str) -> str:
    """An identifier, as it stands in the text of a statement with parameters."""
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


def _shown(name: str) -> str:
    return quoted(name).replace("%%", "%")


_DIALECT: Final = Dialect(_TYPES, _FITTING, _NOT_TEXT, _shown)


class Table:
    """A table of triggers, or with `rows` one of typed rows. Raises `UsageError` for a name that cannot be."""

    def __init__(self, name: str, rows: Optional[Rows]) -> None:
        parts = name.split(".") if isinstance(name, str) else []
        if not 1 <= len(parts) <= 2 or not all(map(_is_identifier, parts)):
            msg = f'table={name!r} is no name of a table: write one such as "carts" or "shop.carts"'
            raise UsageError(msg)
        self.name = name
        self.columns = TRIGGERS if rows is None else rows.columns
        self._key = ("id",) if rows is None else rows.key
        self._of_triggers = rows is None
        self.sql = ".".join(map(quoted, parts))
        self.positions = ".".join([*map(quoted, parts[:-1]), POSITIONS])

    def creation(self) -> list[str]:
        """The statements that make what is not there."""
        columns = [f"{quoted(column.name)} {self._created_type(column)}" for column in self.columns]
        key = ", ".join(map(quoted, self._key))
        return [
            f"CREATE TABLE {self.sql} ({', '.join(columns)}, PRIMARY KEY ({key}))",
            f"CREATE TABLE {self.positions} (target text, place text, number bigint NOT NULL, id text NOT NULL, "
            "refused text NOT NULL, PRIMARY KEY (target, place))",
        ]

    def _created_type(self, column: Column) -> str:
        needed = self._of_triggers and column.name in NEEDED
        return _TYPES[column.kind] + (" NOT NULL" if needed else "")

    def misfit(self, found: Sequence[Found], unique: Sequence[frozenset[str]]) -> Optional[str]:
        """Why a table that is there cannot take the rows, and what to do; None where it can.

        `unique` are the sets of columns in which no two rows agree.
        """
        may_lack = OPTIONAL if self._of_triggers else frozenset[str]()
        misfit = misfit_of_columns(_DIALECT, self.name, self.columns, found, may_lack=may_lack)
        if misfit is not None:
            return misfit
        if frozenset(self._key) not in unique:
            return not_unique(_DIALECT, self.name, self._key)
        return None

    def insertion(self, found: Sequence[Found]) -> str:
        """The statement that writes rows; its parameter is that of `parameter`."""
        # Cast to `character` means a single one, and the column itself says how many there may be.
        types = {column.name: {"character": "bpchar"}.get(column.type, column.type) for column in found}
        columns = [column for column in self.columns if column.name in types]
        names = [quoted(column.name) for column in columns]
        values = [_from_json(column, types[column.name]) for column in columns]
        if self._of_triggers:  # A trigger's value may be null, and is there all the same.
            values = [f"(v.j->'data')::{types['data']}" if c.kind == "json" else v for c, v in zip(columns, values)]
        updates = [] if self._of_triggers else [f"{n} = excluded.{n}" for n in names if n not in map(quoted, self._key)]
        action = f"UPDATE SET {', '.join(updates)}" if updates else "NOTHING"
        return (
            f"INSERT INTO {self.sql} ({', '.join(names)}) SELECT {', '.join(values)} "
            f"FROM jsonb_array_elements(%s::jsonb) AS v(j) "
            f"ON CONFLICT ({', '.join(map(quoted, self._key))}) DO {action}"
        )

    def parameter(self, batch: Sequence[Delivery]) -> str:
        """Deliveries as one JSON list, which is written and read in one go; an array takes each element by itself."""
        rows = map(_trigger, batch) if self._of_triggers else (delivery.data for delivery in batch)
        return (b"[" + b",".join(rows) + b"]").decode()


def _trigger(delivery: Delivery) -> bytes:
    return _encode(trigger_row(delivery, msgspec.Raw(delivery.data)))


def _is_identifier(text: str) -> bool:
    return bool(text) and "\0" not in text and len(text.encode()) <= _IDENTIFIER_BYTES_MAX


def _from_json(column: Column, column_type: str) -> str:
    """The expression that takes a field out of `v.j`, for a column of a type."""
    name = "'" + column.name.replace("'", "''").replace("%", "%%") + "'"
    if column.kind == "json":
        return f"nullif(v.j->{name}, 'null'::jsonb)::{column_type}"
    if column.kind == "bytes":
        return f"decode(v.j->>{name}, 'base64')"
    return f"(v.j->>{name})::{column_type}"


def key_decoder(key: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Reads the fields of the key as they are written, and none of the others."""
    fields = [(f"part_{number}", msgspec.Raw) for number in range(len(key))]
    names = {f"part_{number}": name for number, name in enumerate(key)}
    return msgspec.json.Decoder(msgspec.defstruct("Key", fields, rename=names.get))
