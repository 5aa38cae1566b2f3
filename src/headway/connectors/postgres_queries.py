"""What `headway.connectors.postgres_log` asks a server, and which tables it can read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Optional

__all__ = ["NUMBERS", "ROWS", "TIMES", "Columns", "Queries", "TableQueries", "check_columns", "quoted"]

ROWS: Final = 2_000
"""How many rows are asked for at a time."""

TIMES: Final = ("timestamp with time zone", "timestamp without time zone", "date")
NUMBERS: Final = ("bigint", "integer", "numeric")


@dataclass(frozen=True)
class Columns:
    """The names of a table and of the columns that are read."""

    table: str
    id: str
    xid: str
    value: Optional[str]
    key: Optional[str]
    time: Optional[str]

    @property
    def named(self) -> list[str]:
        """All columns that are named."""
        return [name for name in (self.id, self.xid, self.value, self.key, self.time) if name is not None]


class TableQueries:
    """What is asked about any table: statements without parameters, in which `%` stands for itself."""

    def __init__(self, table: str) -> None:
        self.name = ".".join(map(quoted, table.split(".")))
        """The table, as it stands in a statement."""

    def columns(self) -> str:
        """Name, type, and whether it is never null, of each column; none where there is no such table."""
        return (
            "SELECT attname, format_type(atttypid, NULL), attnotnull FROM pg_attribute "
            f"WHERE attrelid = to_regclass({_literal(self.name)}) AND attnum > 0 AND NOT attisdropped"
        )

    def unique(self) -> str:
        """The names of the columns of each unique index, as a list."""
        return (
            "SELECT array_agg(a.attname::text) FROM pg_index i "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[]) "
            f"WHERE i.indrelid = to_regclass({_literal(self.name)}) AND i.indisunique AND i.indisvalid "
            "AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid"
        )

    def identity(self) -> str:
        """What tells the table from others: that of the system, the database and the table."""
        return (
            "SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || "
            "(SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || "
            f"{_literal(self.name)}::regclass::oid"
        )


class Queries(TableQueries):
    """The text of statements on a log, with their parameters where they have some."""

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns.table)
        self._columns = columns
        self._table = _in_parameters(self.name)
        self._id_type = "bigint"
        self._value_is_bytes = self._time_is_number = False

    def fit(self, found: Sequence[Any]) -> None:
        """Learn the types of the columns: name, type, and whether it is never null, of each."""
        types = {name: kind for name, kind, _ in found}
        self._id_type = types[self._columns.id]
        self._value_is_bytes = types.get(self._columns.value) == "bytea"
        self._time_is_number = types.get(self._columns.time) in NUMBERS

    def horizon(self) -> str:
        """The transaction below which all have ended, and the number of the table; None where that is not there."""
        return f"SELECT pg_snapshot_xmin(pg_current_snapshot())::text, to_regclass({_literal(self.name)})::oid::text"

    def end(self) -> str:
        """The horizon; behind the latest transaction whose rows are there, None where that is no later; and more.

        Namely whether there are rows from beyond the latest transaction of this server, which it has not written.
        """
        number = f"t.{_quoted(self._columns.xid)}"
        table = f"{self._table} AS t"
        latest = (
            f"SELECT {number}::text::numeric + 1 FROM {table} "
            f"WHERE {number} >= pg_snapshot_xmin(now.at) AND {number} < pg_snapshot_xmax(now.at) "
            f"ORDER BY {number} DESC LIMIT 1"
        )
        beyond = f"EXISTS (SELECT FROM {table} WHERE {number} >= pg_snapshot_xmax(now.at))"
        now = "(SELECT pg_current_snapshot() AS at) AS now"
        query = f"SELECT pg_snapshot_xmin(now.at)::text, ({latest})::text, {beyond} FROM {now}"
        return query.replace("%%", "%")

    def rows(
        self, xid: str, last_id: Optional[str], horizon: int, seam: Optional[str] = None
    ) -> tuple[str, Sequence[Any]]:
        """Rows behind a place and below the horizon, without those of transactions that a snapshot, the seam, has."""
        columns = self._columns
        # By the name of the table: alone, the name of a column is in ORDER BY that of what is selected, which is text.
        number, name = f"t.{_quoted(columns.xid)}", f"t.{_quoted(columns.id)}"
        if last_id is None:
            behind, given = f"{number} >= %s::xid8", [xid]
        else:
            behind, given = f"({number}, {name}) > (%s::xid8, %s::{self._id_type})", [xid, last_id]
        shown = f"{number}::text, {name}::text, {self._value()}, {self._key()}, {self._time()}"
        order = f"ORDER BY {number}, {name} LIMIT {ROWS}"
        unseen, seen = "", []
        if seam is not None:
            unseen, seen = f"AND NOT pg_visible_in_snapshot({number}, %s::pg_snapshot) ", [seam]
        query = f"SELECT {shown} FROM {self._table} AS t WHERE {behind} AND {number} < %s::xid8 {unseen}{order}"
        return query, [*given, str(horizon), *seen]

    def is_held(self, horizon: int) -> tuple[str, Sequence[Any]]:
        """Whether there are rows at or above the horizon."""
        return f"SELECT EXISTS (SELECT FROM {self._table} WHERE {_quoted(self._columns.xid)} >= %s::xid8)", [
            str(horizon)
        ]

    def oldest(self) -> str:
        """The process whose transaction is the oldest of those that write, and when it began."""
        return (
            "SELECT pid, date_trunc('second', xact_start)::text FROM pg_stat_activity "
            "WHERE backend_xid IS NOT NULL AND xact_start IS NOT NULL ORDER BY age(backend_xid) DESC LIMIT 1"
        )

    def _value(self) -> str:
        name = self._columns.value
        if name is None:
            return "convert_to(row_to_json(t.*)::text, 'UTF8')"
        column = f"t.{_quoted(name)}"
        return f"CASE WHEN {column} IS NULL THEN NULL ELSE {self._bytes(column)} END"

    def _bytes(self, column: str) -> str:
        return column if self._value_is_bytes else f"convert_to({column}::text, 'UTF8')"

    def _key(self) -> str:
        return "NULL" if self._columns.key is None else f"t.{_quoted(self._columns.key)}::text"

    def _time(self) -> str:
        name = self._columns.time
        if name is None:
            return "NULL"
        column = f"t.{_quoted(name)}"
        return f"{column}::bigint" if self._time_is_number else f"floor(extract(epoch FROM {column}) * 1000)::bigint"


def check_columns(columns: Columns, found: Sequence[Any], unique: Collection[frozenset[str]]) -> Optional[str]:
    """Why a table cannot be read in the order of its transactions; None where it can.

    `found` are its columns: name, type, and whether it is never null.
    """
    known = {name: (kind, is_never_null) for name, kind, is_never_null in found}
    add = (
        f"ALTER TABLE {columns.table} ADD COLUMN {columns.xid} xid8 NOT NULL DEFAULT pg_current_xact_id(); "
        f"CREATE INDEX ON {columns.table} ({columns.xid}, {columns.id})"
    )
    if columns.xid not in known:
        return f"it has no column {columns.xid!r} that keeps the transaction of each row; add it: {add}"
    missing = next((name for name in columns.named if name not in known), None)
    if missing is not None:
        return f"it has no column {missing!r}, its columns are {', '.join(known)}"
    if known[columns.xid][0] != "xid8":
        return f"its column {columns.xid!r} is of type {known[columns.xid][0]}, expected xid8: {add}"
    for name in (columns.xid, columns.id):
        if not known[name][1]:
            return f"its column {name!r} may be null: ALTER TABLE {columns.table} ALTER COLUMN {name} SET NOT NULL"
    if not any(index <= {columns.id, columns.xid} for index in unique):
        return f"its column {columns.id!r} is not unique: add a primary key, or name another column with id="
    if columns.time is not None and known[columns.time][0] not in (*TIMES, *NUMBERS):
        kind = known[columns.time][0]
        return f"its column {columns.time!r} is of type {kind}, expected a timestamp or epoch milliseconds"
    return None


def quoted(name: str) -> str:
    """A name as it stands in a statement without parameters."""
    return '"' + name.replace('"', '""') + '"'


def _in_parameters(name: str) -> str:
    """The same in a statement with parameters."""
    return name.replace("%", "%%")


def _quoted(name: str) -> str:
    return _in_parameters(quoted(name))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
