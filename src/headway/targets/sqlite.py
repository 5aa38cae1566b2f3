"""Triggers into SQLite: a table of triggers, or one of typed rows; each batch is one transaction, and exact.

`headway.targets.positions` says what makes it exact. Rows go in one by one within the transaction, some 10 us each; one
that the database refuses leaves no trace, and the others go in. What costs is the sync at the commit: give it batches.

The library blocks, so it runs in one thread of its own. Several processes, and readers of yours, share the file: who
writes waits for whoever writes before it.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, Final, Optional, Union

import msgspec

from headway.basics.times import Duration
from headway.errors import UsageError
from headway.targets.base import Answer, Delivery, Guarantee, Limits, Target
from headway.targets.columns import Column, DeclaredRows, fields_of_row, key_names
from headway.targets.limits import limits_of
from headway.targets.positions import (
    NOTHING_YET,
    POSITIONS,
    Position,
    Refusals,
    all_retried,
    answers_of,
    answers_placed,
    by_place,
    encoded,
    refusal,
)
from headway.targets.sql_table import NEEDED, TRIGGERS, Dialect, Found, misfit_of_columns, stored, trigger_row
from headway.targets.threads import Threads

__all__ = ["Sqlite", "sqlite"]

_TEXTS: Final = ("text", "decimal", "datetime", "local datetime", "date", "time", "interval", "uuid", "json")
_TYPES: Final = {
    **dict.fromkeys(_TEXTS, "TEXT"),
    "integer": "INTEGER",
    "boolean": "INTEGER",
    "float": "REAL",
    "bytes": "BLOB",
}
"""What a column is declared as: SQLite has no types for decimals and times."""
_REFUSING: Final = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, ValueError, TypeError)
"""What says that a row cannot go in."""


def sqlite(
    path: Union[str, os.PathLike[str]],
    table: str,
    *,
    key: Union[str, Sequence[str], None] = None,
    row: Optional[type] = None,
    batch: int = 500,
    rate: Optional[float] = None,
    timeout: Duration = "30s",
    name: Optional[str] = None,
) -> Sqlite:
    """Write triggers to a table of a SQLite database, each exactly once.

    Without `key` the table holds triggers, one row each: `id`, `type`, `subject`, `time`, `data`, `source`, `sequence`.
    With `key`, a field of the value or several, it holds rows whose columns are the fields of the value, one for each
    key: the newest trigger of a key replaces its row. The fields are those of the stream's type, or of the class
    `row`. File and table are made where they are not there; a table that is there must have these columns.

    Times, decimals and what has parts are stored as text, JSON where it has parts. A row that the database refuses
    goes to the dead letters, and the others go in. `batch` triggers are one transaction, with our position in the
    table `headway_positions`. Raises `UsageError` for an option that cannot be.

    >>> sqlite("shop.db", "carts", key="cart")
    <Sqlite sqlite shop.db carts>
    """
    limits = limits_of(
        # More would only wait for each other.
        concurrency=1,
        rate=rate,
        timeout=timeout,
        batch=batch,
    )
    return Sqlite(os.fspath(path), table, key=key_names(key), row=row, limits=limits, name=name)


class Sqlite(Target):
    """A table of SQLite that takes triggers; made by `hw.sqlite`."""

    guarantee = Guarantee.EXACT
    in_order = True

    def __init__(
        self,
        path: str,
        table: str,
        *,
        key: tuple[str, ...],
        row: Optional[type],
        limits: Limits,
        name: Optional[str] = None,
    ) -> None:
        if not isinstance(table, str) or not table or "\0" in table or table.lower().startswith("sqlite_"):
            msg = f'table={table!r} is no name of a table: write one such as "carts"'
            raise UsageError(msg)
        if path in ("", ":memory:") or path.startswith("file:"):
            msg = f"{path!r} is no path of a file that lasts: write one such as shop.db"
            raise UsageError(msg)
        self.limits = limits
        self._path = path
        self._table = table
        self._declared = DeclaredRows(key, row)
        self._name = name or f"sqlite {path} {table}"
        self._connection: Optional[sqlite3.Connection] = None
        self._insertion = ""
        self._threads: Optional[Threads] = None

    @property
    def name(self) -> str:
        """`sqlite`, the path and the table."""
        return self._name

    def takes(self, trigger_type: str, value_type: Any) -> None:
        """With `key`, make the columns of the type's fields, unless `row` has given them."""
        self._declared.take(self.name, trigger_type, value_type)

    def check(self) -> None:
        """Look whether the directory of the file is there, and whether the fields of the values are known."""
        folder = os.path.dirname(os.path.abspath(self._path))
        if not os.path.isdir(folder):
            msg = f"{self.name}: there is no directory {folder}: make it first"
            raise UsageError(msg)
        self._declared.check(self.name)

    async def open(self) -> None:
        """Look whether it can be used; the file is opened when it is needed."""
        self.check()
        self._threads = Threads(1, self._name)

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Write the batch, one transaction for each place in it."""
        assert self._threads is not None, "open() comes before deliver()"
        try:
            answers: list[Answer] = await self._threads.run(partial(self._deliver, batch))
            return answers
        except asyncio.CancelledError:
            if self._connection is not None:
                with suppress(sqlite3.Error):  # It may have been closed meanwhile.
                    self._connection.interrupt()
            raise

    async def close(self) -> None:
        """Close the file, once what is under way is over."""
        if self._threads is not None:
            await self._threads.run(self._close)
            self._threads.close()

    def _deliver(self, batch: Sequence[Delivery]) -> list[Answer]:
        answers: dict[str, list[Answer]] = {}
        for place, deliveries in by_place(batch).items():
            try:
                found = self._write(place, deliveries)
            except UsageError as error:
                found = all_retried(deliveries, str(error))
            except (sqlite3.Error, OSError) as error:
                found = all_retried(deliveries, f"{type(error).__name__}: {error}")
            if found[0].reason and self._connection is not None and self._connection.in_transaction:
                self._connection.rollback()
            answers[place] = found
        return answers_placed(batch, answers)

    def _write(self, place: str, batch: list[Delivery]) -> list[Answer]:
        connection = self._opened()
        refused: Refusals = {}
        while True:
            connection.execute("BEGIN IMMEDIATE")
            position = self._position(connection, place)
            if position == NOTHING_YET:
                position = position.going_on_from(self._position(connection, one) for one in batch[0].former_places)
            contradiction = position.contradiction(batch)
            if contradiction is not None:
                connection.rollback()
                return all_retried(batch, contradiction)
            new = [delivery for delivery in batch if delivery.number > position.number]
            # A trigger of the database may have rolled everything back: again, without the row that it did so for.
            if all(self._insert(connection, delivery, refused) for delivery in new):
                break
        if new:
            position = position.after(batch, refused)
            self._keep(connection, place, position, bool(refused))
        connection.execute("COMMIT")
        return answers_of(batch, position.refused)

    def _position(self, connection: sqlite3.Connection, place: str) -> Position:
        query = f"SELECT number, id, refused FROM {POSITIONS} WHERE target = ? AND place = ?"
        row = connection.execute(query, (self._table, place)).fetchone()
        return NOTHING_YET if row is None else Position.of_row(*row)

    def _keep(self, connection: sqlite3.Connection, place: str, position: Position, is_refusing: bool) -> None:
        """Write the position; what was refused is written again only when there is more of it."""
        values = [self._table, place, position.number, position.id, encoded(position.refused) if is_refusing else "{}"]
        refused = ", refused = excluded.refused" if is_refusing else ""
        connection.execute(
            f"INSERT INTO {POSITIONS} VALUES (?, ?, ?, ?, ?) ON CONFLICT (target, place) "
            f"DO UPDATE SET number = excluded.number, id = excluded.id{refused}",
            values,
        )

    def _insert(self, connection: sqlite3.Connection, delivery: Delivery, refused: Refusals) -> bool:
        """Insert a row, unless it is refused. False when the transaction is over because of it."""
        if delivery.number in refused:
            return True
        try:
            connection.execute(self._insertion, self._values(delivery))
        except _REFUSING as error:
            refused[delivery.number] = refusal(str(error))
        return connection.in_transaction

    def _values(self, delivery: Delivery) -> Sequence[Any]:
        rows = self._declared.rows
        if rows is None:
            return list(trigger_row(delivery, delivery.data.decode()).values())
        # SQLite itself would take rows without a key, any number of them.
        value = fields_of_row(delivery.data, rows.key)
        return [_stored(column, value.get(column.name)) for column in rows.columns]

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            is_new = not os.path.exists(self._path)
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=self.limits.timeout_s / 2)
            try:
                if is_new:
                    # Readers of the file and we do not wait for each other so.
                    connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                self._insertion = self._fitted(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _fitted(self, connection: sqlite3.Connection) -> str:
        """Make the tables where they are not there. The statement that inserts; `UsageError` where it cannot."""
        columns, key = self._columns(), ", ".join(map(_quoted, self._declared.key or ("id",)))
        declared = ", ".join(f"{_quoted(column.name)} {self._created_type(column)}" for column in columns)
        connection.execute(f"CREATE TABLE IF NOT EXISTS {_quoted(self._table)} ({declared}, PRIMARY KEY ({key}))")
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {POSITIONS} (target TEXT, place TEXT, number INTEGER NOT NULL, "
            "id TEXT NOT NULL, refused TEXT NOT NULL, PRIMARY KEY (target, place))"
        )
        with closing(connection.execute(f"PRAGMA table_info({_quoted(self._table)})")) as cursor:
            found = [
                Found(name, kind, bool(needed) and default is None) for _, name, kind, needed, default, _ in cursor
            ]
        misfit = misfit_of_columns(_DIALECT, self._table, columns, found)
        if misfit is not None:
            raise UsageError(misfit)
        insertion = self._insertion_of([column.name for column in columns], key)
        try:
            connection.execute(f"EXPLAIN {insertion}", [None] * len(columns)).close()
        except sqlite3.OperationalError as error:
            msg = f"the table {self._table} cannot take rows by {key} ({error}): CREATE UNIQUE INDEX ... ON ({key})"
            raise UsageError(msg) from None
        return insertion

    def _columns(self) -> tuple[Column, ...]:
        return TRIGGERS if self._declared.rows is None else self._declared.rows.columns

    def _created_type(self, column: Column) -> str:
        is_needed = self._declared.rows is None and column.name in NEEDED
        return _TYPES[column.kind] + (" NOT NULL" if is_needed else "")

    def _insertion_of(self, names: list[str], key: str) -> str:
        others = [_quoted(name) for name in names if self._declared.rows is not None and name not in self._declared.key]
        updates = ", ".join(f"{name} = excluded.{name}" for name in others)
        action = f"UPDATE SET {updates}" if updates else "NOTHING"
        return (
            f"INSERT INTO {_quoted(self._table)} ({', '.join(map(_quoted, names))}) "
            f"VALUES ({', '.join('?' * len(names))}) ON CONFLICT ({key}) DO {action}"
        )

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_DIALECT: Final = Dialect(_TYPES, fitting={}, not_text=frozenset(), quoted=_quoted)
"""A column of SQLite takes values of any type."""


def _as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_STORED: Final[dict[str, Callable[[Any], Any]]] = {
    "json": _as_json,
    "bytes": lambda value: base64.b64decode(value, validate=True),
    "boolean": int,
    "float": float,
}


def _stored(column: Column, value: Any) -> Any:
    """A field as SQLite has it."""
    return None if value is None else stored(column, value, _STORED)
