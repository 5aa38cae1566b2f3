"""Triggers into MySQL or MariaDB: a table of triggers, or one of typed rows; each batch is one transaction, and exact.

`headway.targets.positions` says what makes it exact. A batch is some statements of many rows. When the server refuses
one for what is in a row, the batch is halved behind savepoints until the rows at fault stand alone; they are refused,
and the others go in. Whatever else fails concerns the table or the server, and is retried.

The library blocks, so each connection works in a thread. To be given up it is cut from this side: a server that hangs
would not hear. The session is strict, so that no value is cut off in silence, and in UTC.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Optional, Union

from headway.basics.needed import needed
from headway.basics.times import Duration
from headway.errors import OutputError, UsageError
from headway.targets.base import Answer, Delivery, Guarantee, Limits, Target
from headway.targets.columns import DeclaredRows, key_names
from headway.targets.limits import limits_of
from headway.targets.mysql_server import fitted
from headway.targets.mysql_table import Insertion, MysqlTable
from headway.targets.mysql_url import MysqlUrl
from headway.targets.mysql_words import is_of_a_row, told
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
from headway.targets.sql_table import Found
from headway.targets.threads import Threads

__all__ = ["Mysql", "to_mysql"]

_CONNECT_S: Final = 10
_PACKET_REST: Final = 65_536
_STATEMENT_BYTES: Final = 1_000_000
"""How long a statement of several rows may get."""
_SESSION: Final = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00'"


def to_mysql(
    url: str,
    table: str,
    *,
    key: Union[str, Sequence[str], None] = None,
    row: Optional[type] = None,
    batch: int = 500,
    concurrency: int = 4,
    rate: Optional[float] = None,
    timeout: Duration = "30s",
    name: Optional[str] = None,
) -> Mysql:
    """Write triggers to a table of MySQL or MariaDB, each exactly once.

    Without `key` the table holds triggers, one row each: `id`, `type`, `subject`, `time`, `data`, `source`, `sequence`.
    With `key`, a field of the value or several, it holds rows whose columns are the fields of the value, one for each
    key: the newest trigger of a key replaces its row. The fields are those of the stream's type, or of the class
    `row`. A table that is not there is made; one that is there must have these columns, be of an engine with
    transactions, and have no other unique index.

    `url` is `mysql://user:password@host:3306/database`, with `?ssl_ca=/path`, `ssl_cert`, `ssl_key` or `ssl=true` for
    TLS; or where it stands: `env:DATABASE_URL`, `file:/path`. A row that the database refuses goes to the dead letters,
    and the others go in. `batch` triggers are one transaction, with our position in the table `headway_positions`;
    `concurrency` transactions are under way, each on a connection. Needs the extra `mysql`. Raises `UsageError` for an
    option that cannot be.

    >>> to_mysql("mysql://app:swordfish@db.example/shop", "carts", key="cart")
    <Mysql mysql db.example/shop carts>
    """
    limits = limits_of(
        concurrency=concurrency,
        rate=rate,
        timeout=timeout,
        batch=batch,
        concurrency_most=100,
    )
    return Mysql(MysqlUrl(url), table, key=key_names(key), row=row, limits=limits, name=name)


class _Session:
    """A connection, once there is one."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.insertion: Optional[Insertion] = None
        self.found: list[Found] = []
        self.packet_max = 0
        self.is_given_up = False

    def cut(self) -> None:
        """End the connection from this side: the thread that waits for the server fails at once."""
        self.is_given_up = True
        wire = getattr(self.connection, "_sock", None)
        if wire is not None:
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it, without a word to the server: what was not committed is taken back."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection._force_close()


class Mysql(Target):
    """A table of MySQL or MariaDB that takes triggers; made by `hw.to_mysql`."""

    guarantee = Guarantee.EXACT
    in_order = True

    def __init__(
        self,
        url: MysqlUrl,
        table: str,
        *,
        key: tuple[str, ...],
        row: Optional[type],
        limits: Limits,
        name: Optional[str] = None,
    ) -> None:
        self.limits = limits
        self._url = url
        self._declared = DeclaredRows(key, row)
        self._table = MysqlTable(table, self._declared.rows)
        self._name = name or f"mysql {url.shown} {table}"
        self._idle: list[_Session] = []
        self._threads: Optional[Threads] = None

    @property
    def name(self) -> str:
        """`mysql`, the host, the database and the table."""
        return self._name

    def takes(self, trigger_type: str, value_type: Any) -> None:
        """With `key`, make the columns of the type's fields, unless `row` has given them."""
        self._declared.take(self.name, trigger_type, value_type)
        self._table = MysqlTable(self._table.name, self._declared.rows)

    def check(self) -> None:
        """Look whether the library and the URL are there."""
        needed("pymysql", "mysql", "hw.to_mysql(...)")
        self._url.options()
        self._declared.check(self.name)

    async def open(self) -> None:
        """Look whether the library is there; connections are made when they are needed."""
        self.check()
        self._threads = Threads(self.limits.concurrency, self._name)

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Write the batch, one transaction for each place in it."""
        return answers_placed(batch, {place: await self._deliver(place, own) for place, own in by_place(batch).items()})

    async def look(self) -> str:
        """Connect; no table is made."""
        threads = Threads(1, self._name)
        try:
            who: str = await threads.run(self._look)
            return who
        finally:
            threads.close()

    async def close(self) -> None:
        """Close all connections."""
        for session in self._idle:
            session.close()
        self._idle.clear()
        if self._threads is not None:
            self._threads.close()

    def _look(self) -> str:
        import pymysql

        session = _Session()
        try:
            self._connect(session)
            with session.connection.cursor() as cursor:
                cursor.execute("SELECT CURRENT_USER(), VERSION()")
                user, version = cursor.fetchone()
            return f"lets us in as {user}, {version}"
        except (pymysql.MySQLError, OSError, RuntimeError) as error:
            raise OutputError(self._reason(error)) from error
        finally:
            session.close()

    async def _deliver(self, place: str, batch: list[Delivery]) -> list[Answer]:
        assert self._threads is not None, "open() comes before deliver()"
        session = self._idle.pop() if self._idle else _Session()
        try:
            answers: list[Answer] = await self._threads.run(partial(self._attempt, session, place, batch))
        except asyncio.CancelledError:
            session.cut()
            raise
        if session.connection is not None:
            self._idle.append(session)
        return answers

    def _attempt(self, session: _Session, place: str, batch: list[Delivery]) -> list[Answer]:
        """Run by a thread: what could not be used any more has no connection afterwards."""
        import pymysql

        is_usable = False
        try:
            if session.connection is None:
                self._connect(session)
            if session.insertion is None:
                self._fit(session)
            answers = self._write(session, place, batch)
            is_usable = not session.is_given_up
        except UsageError as error:
            answers = all_retried(batch, str(error))
        except (pymysql.MySQLError, OSError, RuntimeError) as error:
            # A RuntimeError of the library says that it lacks another one to be let in.
            answers = all_retried(batch, self._reason(error))
        finally:
            if not is_usable:
                session.close()
        return answers

    def _connect(self, session: _Session) -> None:
        import pymysql

        limit_s = max(1, int(self.limits.timeout_s))
        session.connection = pymysql.connect(
            **self._url.options(),
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=_CONNECT_S,
            read_timeout=limit_s,
            write_timeout=limit_s,
            init_command=_SESSION,
            program_name="headway",
        )
        if session.is_given_up:
            msg = "nobody waits for it any more"
            raise ConnectionError(msg)

    def _fit(self, session: _Session) -> None:
        """Make the tables where they are not there. Raises `UsageError` where they do not fit."""
        with session.connection.cursor() as cursor:
            session.found = fitted(cursor, self._table)
            cursor.execute("SELECT @@max_allowed_packet")
            session.packet_max = int(cursor.fetchone()[0])
        session.insertion = self._table.insertion(session.found)

    def _write(self, session: _Session, place: str, batch: list[Delivery]) -> list[Answer]:
        connection = session.connection
        with connection.cursor() as cursor:
            connection.begin()
            position = self._position(cursor, place)
            if position is None:
                # Outside of the transaction: two that insert one row within theirs would wait for each other.
                connection.rollback()
                cursor.execute(
                    f"INSERT IGNORE INTO {self._table.positions} VALUES (%s, %s, %s, '', '{{}}')",
                    (self._table.name, place, NOTHING_YET.number),
                )
                connection.begin()
                position = self._position(cursor, place) or NOTHING_YET
            if position.number == NOTHING_YET.number and batch[0].former_places:
                former = (self._position(cursor, one) for one in batch[0].former_places)
                position = position.going_on_from(one for one in former if one is not None)
            contradiction = position.contradiction(batch)
            if contradiction is not None:
                connection.rollback()
                return all_retried(batch, contradiction)
            new = [delivery for delivery in batch if delivery.number > position.number]
            refused: Refusals = {}
            if new:
                rows = self._rows_of(session, new, refused)
                self._insert(session, cursor, rows, refused)
                position = position.after(batch, refused)
                cursor.execute(
                    *keeping(self._table.positions, self._table.name, place, position, is_refusing=bool(refused))
                )
            connection.commit()
        return answers_of(batch, position.refused)

    def _position(self, cursor: Any, place: str) -> Optional[Position]:
        """The position of a place, locked: another process that still writes there is waited for. None without one."""
        cursor.execute(locking(self._table.positions), (self._table.name, place))
        row = cursor.fetchone()
        return None if row is None else Position.of_row(*row)

    def _rows_of(self, session: _Session, batch: list[Delivery], refused: Refusals) -> list[tuple[int, list[Any]]]:
        """The rows of deliveries, by their numbers, without those that are none, or that no statement can hold."""
        rows = []
        for delivery in batch:
            try:
                values = self._table.values(delivery, session.found)
                if 2 * len(delivery.data) > session.packet_max - _PACKET_REST:  # Twice, as each byte may be escaped.
                    msg = f"the value has {len(delivery.data):,} bytes, too many for max_allowed_packet of the server"
                    raise ValueError(msg)
                rows.append((delivery.number, values))
            except ValueError as error:
                refused[delivery.number] = refusal(str(error))
        return rows

    def _insert(self, session: _Session, cursor: Any, rows: list[tuple[int, list[Any]]], refused: Refusals) -> None:
        """Insert rows; where that is refused, each half of them, down to the rows at fault."""
        import pymysql

        if not rows:
            return
        cursor.execute("SAVEPOINT headway")
        try:
            for statement in _statements(session, cursor, rows):
                cursor.execute(statement)
        except pymysql.MySQLError as error:
            if not is_of_a_row(error):
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT headway")
            if len(rows) == 1:
                refused[rows[0][0]] = refusal(self._reason(error))
                return
            half = len(rows) // 2
            self._insert(session, cursor, rows[:half], refused)
            self._insert(session, cursor, rows[half:], refused)

    def _reason(self, error: Exception) -> str:
        return told(error, self._url.secrets())


def _statements(session: _Session, cursor: Any, rows: list[tuple[int, list[Any]]]) -> Iterator[bytes]:
    """The statements that insert rows, as few as the server takes.

    They are put together here, because versions of the library differ in what they take a percent sign for.
    """
    assert session.insertion is not None, "the table was looked at"
    head, row, tail = session.insertion
    most = min(_STATEMENT_BYTES, session.packet_max - _PACKET_REST)
    pieces: list[bytes] = []
    size = 0
    for _, values in rows:
        piece = cursor.mogrify(row, values).encode()
        if pieces and size + len(piece) > most:
            yield head.encode() + b",".join(pieces) + tail.encode()
            pieces, size = [], 0
        pieces.append(piece)
        size += len(piece) + 1
    yield head.encode() + b",".join(pieces) + tail.encode()
