"""Triggers into PostgreSQL: a table of triggers, or one of typed rows; each batch is one transaction, and exact.

`headway.targets.positions` says what makes it exact. A batch is one statement over one JSON list: some 30 us a row.
When the database refuses it for what is in a row (SQLSTATE of class 22, 23, 44 or 54, or what a trigger function of its
own raises), the batch is halved behind savepoints until the rows at fault stand alone; they are refused, and the others
go in. Whatever else fails concerns the table or the server, and is retried. Deferred constraints are checked at once,
so that they point at a row as well.

Connections are taken out of use by cutting them, not by asking the server to stop: a server that hangs would not hear.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Optional, Union

import msgspec

from headway.basics.dsn import Dsn
from headway.basics.needed import needed
from headway.basics.secret import hide
from headway.basics.times import Duration
from headway.errors import OutputError, UsageError
from headway.targets.base import Answer, Delivery, Guarantee, Limits, Target
from headway.targets.columns import DeclaredRows, key_names
from headway.targets.limits import limits_of
from headway.targets.positions import (
    NOTHING_YET,
    Position,
    Refusals,
    all_retried,
    answers_of,
    answers_placed,
    by_place,
    keeping,
    locking,
    refusal,
)
from headway.targets.postgres_table import Table, key_decoder
from headway.targets.sql_table import Found

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.AsyncConnection[Any]

__all__ = ["Postgres", "postgres"]

_OF_A_ROW: Final = ("22", "23", "44", "54", "P0001", "21000")
"""What SQLSTATEs begin with that say something about a row."""
_CONNECT_S: Final = 10
_CLOSING_S: Final = 2.0
"""How long connections that are being made may take to be there, and be closed. Then they are cancelled all the same:
the library may lose one that is there at that very moment, and the interpreter closes it."""

_COLUMNS: Final = """
SELECT a.attname, format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, NULL),
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = ''
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_UNIQUE: Final = """
SELECT array_agg(a.attname::text) FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY i.indexrelid
"""


def postgres(
    dsn: str,
    table: str,
    *,
    key: Union[str, Sequence[str], None] = None,
    row: Optional[type] = None,
    batch: int = 500,
    concurrency: int = 4,
    rate: Optional[float] = None,
    timeout: Duration = "30s",
    name: Optional[str] = None,
) -> Postgres:
    """Write triggers to a table of PostgreSQL, each exactly once.

    Without `key` the table holds triggers, one row each: `id`, `type`, `subject`, `time`, `data`, `source`, `sequence`.
    With `key`, a field of the value or several, it holds rows whose columns are the fields of the value, one for each
    key: the newest trigger of a key replaces its row. The fields are those of the stream's type, or of the class
    `row`. A table that is not there is made; one that is there must have these columns, and may have others.

    `dsn` is `postgresql://...` or `host=... dbname=...`, or where it stands: `env:DATABASE_URL`, `file:/path`. A row
    that the database refuses goes to the dead letters, and the others go in. `batch` triggers are one transaction, with
    our position in the table `headway_positions`; `concurrency` transactions are under way, each on a connection.
    Needs the extra `postgres`. Raises `UsageError` for an option that cannot be.

    >>> postgres("postgresql://app:swordfish@db.example/shop", "carts", key="cart")
    <Postgres postgres db.example/shop carts>
    """
    limits = limits_of(
        concurrency=concurrency,
        rate=rate,
        timeout=timeout,
        batch=batch,
        concurrency_most=100,
    )
    return Postgres(Dsn(dsn), table, key=key_names(key), row=row, limits=limits, name=name)


class _Session:
    """A connection, once there is one."""

    def __init__(self) -> None:
        self.connection: Optional[Connection] = None
        self.insertion = ""
        self.is_given_up = False

    def cut(self) -> None:
        """End the connection from this side: whoever waits for the server fails at once.

        One that is still being made is not cancelled, because the library may lose it, open, at that moment. It is cut
        when it is there.
        """
        self.is_given_up = True
        if self.connection is not None and not self.connection.closed:
            with suppress(OSError), socket.socket(fileno=os.dup(self.connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)


class Postgres(Target):
    """A table of PostgreSQL that takes triggers; made by `hw.postgres`."""

    guarantee = Guarantee.EXACT
    in_order = True

    def __init__(
        self,
        dsn: Dsn,
        table: str,
        *,
        key: tuple[str, ...],
        row: Optional[type],
        limits: Limits,
        name: Optional[str] = None,
    ) -> None:
        self.limits = limits
        self._dsn = dsn
        self._declared = DeclaredRows(key, row)
        self._table = Table(table, self._declared.rows)
        self._name = name or f"postgres {dsn.shown} {table}"
        self._idle: list[_Session] = []
        self._given_up: set[asyncio.Task[Any]] = set()
        self._keys = key_decoder(key)

    @property
    def name(self) -> str:
        """`postgres`, the host, the database and the table."""
        return self._name

    def takes(self, trigger_type: str, value_type: Any) -> None:
        """With `key`, make the columns of the type's fields, unless `row` has given them."""
        self._declared.take(self.name, trigger_type, value_type)
        self._table = Table(self._table.name, self._declared.rows)

    def check(self) -> None:
        """Look whether the library and the DSN are there."""
        needed("psycopg", "postgres", "hw.postgres(...)")
        self._dsn.read()
        self._declared.check(self.name)

    async def open(self) -> None:
        """Look whether the library is there; connections are made when they are needed."""
        self.check()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Write the batch, one transaction for each place in it."""
        return answers_placed(batch, {place: await self._deliver(place, own) for place, own in by_place(batch).items()})

    async def look(self) -> str:
        """Connect; no table is made."""
        import psycopg

        try:
            async with await psycopg.AsyncConnection.connect(
                self._dsn.read(), connect_timeout=_CONNECT_S
            ) as connection:
                return f"lets us in as {connection.info.user}"
        except (psycopg.Error, OSError) as error:
            raise OutputError(self._reason(error)) from error

    async def close(self) -> None:
        """Close all connections."""
        for session in self._idle:
            if session.connection is not None:
                await session.connection.close()
        self._idle.clear()
        if self._given_up:
            _, connecting = await asyncio.wait(self._given_up, timeout=_CLOSING_S)
            for task in connecting:
                task.cancel()
            if connecting:
                await asyncio.wait(connecting)

    async def _deliver(self, place: str, batch: list[Delivery]) -> list[Answer]:
        session = self._idle.pop() if self._idle else _Session()
        task = asyncio.ensure_future(self._attempt(session, place, batch))
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            session.cut()
            ending = asyncio.ensure_future(_end(task, session))
            self._given_up.add(ending)
            ending.add_done_callback(self._given_up.discard)
            raise
        answers, is_usable = task.result()
        if is_usable:
            self._idle.append(session)
        return answers

    async def _attempt(self, session: _Session, place: str, batch: list[Delivery]) -> tuple[list[Answer], bool]:
        """Answers, and whether the connection can be used again."""
        import psycopg

        is_usable = False
        try:
            connection = await self._connected(session)
            answers = await self._write(connection, session, place, batch)
            is_usable = True
        except UsageError as error:
            answers = all_retried(batch, str(error))
        except (psycopg.Error, OSError) as error:
            answers = all_retried(batch, self._reason(error))
        finally:
            if not is_usable and session.connection is not None:
                await session.connection.close()
        return answers, is_usable

    async def _connected(self, session: _Session) -> Connection:
        import psycopg

        if session.connection is None:
            # Statements are not prepared: poolers between us and the server would lose them.
            session.connection = await psycopg.AsyncConnection.connect(
                self._dsn.read(),
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=_CONNECT_S,
                application_name="headway",
                client_encoding="utf8",
            )
            if session.is_given_up:
                msg = "nobody waits for it any more"
                raise ConnectionError(msg)
        if not session.insertion:
            found = await self._fitted(session.connection)
            session.insertion = self._table.insertion(found)
        return session.connection

    async def _fitted(self, connection: Connection) -> list[Found]:
        """The columns of the table, made where it is not there. Raises `UsageError` where it does not fit."""
        import psycopg

        table, positions = (name.replace("%%", "%") for name in (self._table.sql, self._table.positions))
        for name, statement in zip((table, positions), self._table.creation()):
            there = await (await connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name])).fetchone()
            if there == (False,):
                # Another process may make it at the same moment.
                with suppress(psycopg.errors.DuplicateTable, psycopg.errors.UniqueViolation):
                    await connection.execute(statement.replace("%%", "%").encode())
        found = [Found(*row) for row in await (await connection.execute(_COLUMNS, [table])).fetchall()]
        unique = [frozenset(row[0]) for row in await (await connection.execute(_UNIQUE, [table])).fetchall()]
        misfit = self._table.misfit(found, unique)
        if misfit is not None:
            raise UsageError(misfit)
        return found

    async def _write(
        self, connection: Connection, session: _Session, place: str, batch: list[Delivery]
    ) -> list[Answer]:
        async with connection.transaction():
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            position = await self._position(connection, place)
            if position.number == NOTHING_YET.number and batch[0].former_places:
                position = position.going_on_from(await self._known(connection, batch[0].former_places))
            contradiction = position.contradiction(batch)
            if contradiction is not None:
                return all_retried(batch, contradiction)
            new = [delivery for delivery in batch if delivery.number > position.number]
            refused: Refusals = {}
            if new:
                await self._insert(connection, session.insertion, new, refused)
                position = position.after(batch, refused)
                query, values = keeping(
                    self._table.positions, self._table.name, place, position, is_refusing=bool(refused)
                )
                await connection.execute(query.encode(), values)
        return answers_of(batch, position.refused)

    async def _position(self, connection: Connection, place: str) -> Position:
        """The position of a place, locked: another process that still writes there is waited for."""
        given = [self._table.name, place]
        query = locking(self._table.positions)
        row = await (await connection.execute(query, given)).fetchone()
        if row is None:
            await connection.execute(
                f"INSERT INTO {self._table.positions} VALUES (%s, %s, %s, '', '{{}}') ON CONFLICT DO NOTHING",
                [*given, NOTHING_YET.number],
            )
            row = await (await connection.execute(query, given)).fetchone()
        assert row is not None, "it was inserted, by us or by another"
        return Position.of_row(*row)

    async def _known(self, connection: Connection, places: Sequence[str]) -> list[Position]:
        """The positions that there are of some places under whose names nobody writes any more."""
        query = f"SELECT number, id, refused FROM {self._table.positions} WHERE target = %s AND place = ANY(%s)"
        rows = await (await connection.execute(query, [self._table.name, list(places)])).fetchall()
        return [Position.of_row(*row) for row in rows]

    async def _insert(self, connection: Connection, insertion: str, batch: list[Delivery], refused: Refusals) -> None:
        """Insert the batch; where that is refused, each half of it, down to the rows at fault."""
        import psycopg

        try:
            async with connection.transaction():
                rows = self._newest(batch)
                await connection.execute(insertion.encode(), [self._table.parameter(rows)])
        except psycopg.Error as error:
            if not _is_of_a_row(error):
                raise
            if len(batch) == 1:
                detail = error.diag.message_detail or ""
                refused[batch[0].number] = refusal(self._reason(error), detail)
                return
            half = len(batch) // 2
            await self._insert(connection, insertion, batch[:half], refused)
            await self._insert(connection, insertion, batch[half:], refused)

    def _newest(self, batch: list[Delivery]) -> list[Delivery]:
        """The last delivery of each key: one statement writes a row once."""
        if not self._declared.key:
            return batch
        newest: dict[Any, Delivery] = {}
        for delivery in batch:
            newest[self._key_of(delivery)] = delivery
        return list(newest.values())

    def _key_of(self, delivery: Delivery) -> Any:
        try:
            found = self._keys.decode(delivery.data)
        except msgspec.DecodeError:  # It has no key, and is refused for itself.
            return delivery.number
        return tuple(bytes(part) for part in msgspec.structs.astuple(found))

    def _reason(self, error: Exception) -> str:
        state = getattr(error, "sqlstate", None)
        text = " ".join((getattr(getattr(error, "diag", None), "message_primary", None) or str(error)).split())
        return hide(f"{text} (SQLSTATE {state})" if state else text or type(error).__name__, self._dsn.secrets())


async def _end(task: asyncio.Task[Any], session: _Session) -> None:
    """Close a connection once nothing uses it any more. The task may have been over already, with it still open."""
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
    if session.connection is not None:
        await session.connection.close()


def _is_of_a_row(error: psycopg.Error) -> bool:
    import psycopg

    if error.sqlstate is None:
        # It was not even sent, such as a text with a NUL in it.
        return isinstance(error, psycopg.DataError)
    return error.sqlstate.startswith(_OF_A_ROW)
