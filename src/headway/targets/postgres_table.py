"""The SQL for a table of PostgreSQL: what it is made with, whether it fits, and how rows get in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.basics.times import format_time
from headway.errors import UsageError
from headway.targets.base import Delivery
from headway.targets.columns import Column, Rows
from headway.targets.positions import POSITIONS

__all__ = ["Found", "Table", "key_decoder", "quoted"]

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

_TRIGGERS: Final = (
    ("id", "text"),
    ("type", "text"),
    ("subject", "text"),
    ("time", "datetime"),
    ("data", "json"),
    ("source", "text"),
    ("sequence", "text"),
)
_OPTIONAL: Final = frozenset({"source", "sequence"})
_IDENTIFIER_BYTES_MAX: Final = 63
_encode: Final = msgspec.json.Encoder().encode


class Found(NamedTuple):
    """A column that a table has."""

    name: str
    type: str
    """As PostgreSQL writes it, without a length."""
    is_needed: bool
    """Whether a row without it is refused."""


def quoted(name: str) -> str:
    """An identifier, as it stands in the text of a statement with parameters."""
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


class Table:
    """A table of triggers, or with `rows` one of typed rows. Raises `UsageError` for a name that cannot be."""

    def __init__(self, name: str, rows: Optional[Rows]) -> None:
        parts = name.split(".") if isinstance(name, str) else []
        if not 1 <= len(parts) <= 2 or not all(map(_is_identifier, parts)):
            msg = f'table={name!r} is no name of a table: write one such as "carts" or "shop.carts"'
            raise UsageError(msg)
        self.name = name
        self.columns = tuple(Column(*each) for each in _TRIGGERS) if rows is None else rows.columns
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
        needed = self._of_triggers and column.name in ("type", "time", "data")
        return _TYPES[column.kind] + (" NOT NULL" if needed else "")

    def misfit(self, found: Sequence[Found], unique: Sequence[frozenset[str]]) -> Optional[str]:
        """Why a table that is there cannot take the rows, and what to do; None where it can.

        `unique` are the sets of columns in which no two rows agree.
        """
        by_name = {column.name: column for column in found}
        for column in self.columns:
            there = by_name.get(column.name)
            if there is None:
                if self._of_triggers and column.name in _OPTIONAL:
                    continue
                statement = f"ALTER TABLE {self.name} ADD COLUMN {quoted(column.name)} {_TYPES[column.kind]}"
                return f"the table {self.name} has no column {column.name!r}: {statement}"
            if not _fits(column.kind, there.type):
                return (
                    f"the column {column.name!r} of the table {self.name} is {there.type}, and the values are "
                    f"{column.kind}: expected {_TYPES[column.kind]}"
                )
        ours = {column.name for column in self.columns}
        needed = next((column.name for column in found if column.is_needed and column.name not in ours), None)
        if needed is not None:
            return f"the column {needed!r} of the table {self.name} needs a value and none has it: give it a default"
        if frozenset(self._key) not in unique:
            key = ", ".join(map(quoted, self._key))
            statement = f"ALTER TABLE {self.name} ADD UNIQUE ({key})"
            return f"nothing says that {key} is unique in the table {self.name}: {statement}"
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
    row = {
        "id": delivery.id,
        "type": delivery.type,
        "subject": delivery.subject,
        "time": format_time(delivery.time_ms),
        "data": msgspec.Raw(delivery.data),
        "source": delivery.source,
        "sequence": delivery.sequence,
    }
    return _encode(row)


def _is_identifier(text: str) -> bool:
    return bool(text) and "\0" not in text and len(text.encode()) <= _IDENTIFIER_BYTES_MAX


def _fits(kind: str, column_type: str) -> bool:
    return column_type in _FITTING[kind] if kind in _FITTING else column_type not in _NOT_TEXT


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
