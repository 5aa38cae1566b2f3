"""The system database of DBOS, with our position in the same transaction as what DBOS is given.

The connections are ours, and DBOS's client works on them. So what it writes and the position of the triggers are there
together or not at all; `headway.targets.positions` says what a position means. The table of positions is beside the
tables of DBOS. These are never made here: whoever makes them decides about their version, and that is the application.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Optional

from headway.basics.dsn import Dsn
from headway.basics.needed import needed
from headway.basics.secret import Secret, hide
from headway.errors import OutputError, UsageError
from headway.targets.answers import REASON_MAX
from headway.targets.base import Answer, Delivery
from headway.targets.dbos_hands import Hand
from headway.targets.naming import NamelessError
from headway.targets.positions import (
    NOTHING_YET,
    POSITIONS,
    Position,
    Refusals,
    all_retried,
    answers_of,
    encoded,
    refusal,
)

if TYPE_CHECKING:
    import sqlalchemy as sa
    from dbos import DBOSClient

__all__ = ["DbosDatabase"]

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://", "postgresql+psycopg://")
_OF_A_ROW: Final = ("22", "23")
"""Classes of SQLSTATE: what PostgreSQL says of a value that it does not take."""
_NOTICING: Final = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""Settings of connections, by which it is noticed within some 30 s that the other side is gone without a word: a thread
that waits for an answer would wait for hours, and there are few threads. What the URL says counts."""
_NOT_THERE: Final = "DBOS has no tables there: start its application once, which makes them"


class DbosDatabase:
    """Where DBOS keeps its workflows: a URL or where one stands. Used from threads, each call with a connection.

    Raises `UsageError` for what is no URL of PostgreSQL or SQLite.

    >>> DbosDatabase("postgresql://app:swordfish@db.example/shop", "dbos", pool=4, timeout_s=20.0).shown
    'db.example/shop'
    """

    def __init__(self, url: str, schema: str, *, pool: int, timeout_s: float) -> None:
        self._secret = Secret(url, "url")
        self._schema = schema
        self._pool = pool
        self._timeout_s = timeout_s
        self._engine: Optional[sa.Engine] = None
        self._client: Optional[DBOSClient] = None
        self._table: Any = None
        self._lock = threading.Lock()
        self._under_way = 0
        self._is_closed = False
        if self._secret.reference is None:
            self._checked(url)
            self.shown = f"{_SQLITE}{_path_of(url)}" if url.startswith(_SQLITE) else Dsn(_plain(url)).shown
        else:
            self.shown = self._secret.reference

    def check(self) -> None:
        """Raise `UsageError` where the library or the URL is not there."""
        needed("dbos", "dbos", "hw.to_dbos(...)")
        self._checked(self._secret.one())

    def open(self) -> None:
        """Make the client; connections are made when they are needed."""
        import sqlalchemy as sa
        from dbos import DBOSClient

        url = self._secret.one()
        self._is_sqlite = url.startswith(_SQLITE)
        if self._is_sqlite:
            self._path = _path_of(url)
            engine = sa.create_engine(url, connect_args={"timeout": self._timeout_s / 2}, pool_size=self._pool)
            sa.event.listen(engine, "connect", _with_foreign_keys)
        else:
            address = sa.make_url(_plain(url)).set(drivername="postgresql+psycopg")
            ours = {"application_name": "headway", "prepare_threshold": None, **_NOTICING}
            ours["tcp_user_timeout"] = int(self._timeout_s * 1_000)
            engine = sa.create_engine(
                address,
                connect_args={name: value for name, value in ours.items() if name not in address.query},
                pool_size=self._pool,
                max_overflow=0,
            )
            sa.event.listen(engine, "do_connect", self._use_url_of_now)
        self._engine = engine
        self._client = DBOSClient(
            system_database_engine=engine, dbos_system_schema=self._schema, lazy=True, retry_connection_errors=False
        )
        self._table = sa.Table(
            POSITIONS,
            sa.MetaData(),
            sa.Column("target", sa.Text, primary_key=True),
            sa.Column("place", sa.Text, primary_key=True),
            sa.Column("number", sa.BigInteger, nullable=False),
            sa.Column("id", sa.Text, nullable=False),
            sa.Column("refused", sa.Text, nullable=False),
        )
        self._has_table = False
        self._is_closed = False

    def _use_url_of_now(self, dialect: Any, record: object, given: object, named: dict[str, Any]) -> None:
        """Called before a connection is made: it is made by the URL of this moment, which may have a new password."""
        import sqlalchemy as sa

        try:
            url = self._secret.one()
        except UsageError:  # A file may be gone for a moment: the server may still let us in as before.
            return
        if url.startswith(_POSTGRES):
            named.update(dialect.create_connect_args(sa.make_url(_plain(url)))[1])

    def close(self) -> None:
        """Close all connections: at once, or when the last call that is under way in a thread is over."""
        with self._lock:
            self._is_closed = True
            if not self._under_way:
                self._dispose()

    def _dispose(self) -> None:
        if self._client is not None and self._engine is not None:
            self._client.destroy()
            self._engine.dispose()

    def write(self, target: str, place: str, batch: Sequence[Delivery], hand: Hand) -> list[Answer]:
        """Give what is new of a batch to DBOS and keep the position, in one transaction; blocks.

        `target` tells positions of several targets apart. An error is an answer: all of the batch comes again.
        """
        with self._lock:
            if self._is_closed:
                return all_retried(batch, "the run ends")
            self._under_way += 1
        try:
            return self._attempt(target, place, batch, hand)
        finally:
            with self._lock:
                self._under_way -= 1
                if self._is_closed and not self._under_way:
                    self._dispose()

    def look(self) -> str:
        """Whether DBOS has its tables there; blocks. Raises `OutputError` where it has not."""
        import sqlalchemy as sa

        assert self._engine is not None, "open() comes before look()"
        if self._is_sqlite and not os.path.exists(self._path):
            msg = f"there is no {self._path}: {_NOT_THERE}"
            raise OutputError(msg)
        try:
            schema = None if self._is_sqlite else self._schema
            if not sa.inspect(self._engine).has_table("workflow_status", schema):
                raise OutputError(_NOT_THERE)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise OutputError(self._reason(error)) from error
        return "has the tables of DBOS"

    def _attempt(self, target: str, place: str, batch: Sequence[Delivery], hand: Hand) -> list[Answer]:
        import sqlalchemy as sa
        from dbos import error as dbos_error

        assert self._engine is not None and self._client is not None, "open() comes before deliver()"
        try:
            if self._is_sqlite and not os.path.exists(self._path):
                return all_retried(batch, f"there is no {self._path}: {_NOT_THERE}")
            self._make_table()
            with self._engine.begin() as connection:
                self._begin(connection)
                return self._write(connection, target, place, batch, hand)
        except (sa.exc.SQLAlchemyError, dbos_error.DBOSException, OSError) as error:
            return all_retried(batch, self._reason(error))

    def _write(
        self, connection: sa.Connection, target: str, place: str, batch: Sequence[Delivery], hand: Hand
    ) -> list[Answer]:
        position = self._locked(connection, target, place)
        if position == NOTHING_YET and batch[0].former_places:
            # Nobody writes under their names any more.
            formers = (self._position(connection, target, former) for former in batch[0].former_places)
            position = position.going_on_from(former for former in formers if former is not None)
        contradiction = position.contradiction(batch)
        if contradiction is not None:
            return all_retried(batch, contradiction)
        new = [delivery for delivery in batch if delivery.number > position.number]
        refused: Refusals = {}
        if new:
            self._hand_over(connection, new, hand, refused)
            position = position.after(batch, refused)
            self._keep(connection, target, place, position)
        return answers_of(batch, position.refused)

    def _hand_over(self, connection: sa.Connection, batch: Sequence[Delivery], hand: Hand, refused: Refusals) -> None:
        """Give a batch to DBOS; where one of it is refused, each half of it, down to those at fault."""
        from dbos import error as dbos_error
        from sqlalchemy.exc import DBAPIError

        assert self._client is not None
        try:
            with connection.begin_nested():
                for delivery in batch:
                    hand.give(self._client, connection, delivery)
        except (DBAPIError, dbos_error.DBOSException, NamelessError, UnicodeError) as error:
            if isinstance(error, DBAPIError) and not _is_of_a_row(error.orig):
                raise
            if len(batch) == 1:
                refused[batch[0].number] = refusal(self._reason(error))
                return
            half = len(batch) // 2
            self._hand_over(connection, batch[:half], hand, refused)
            self._hand_over(connection, batch[half:], hand, refused)

    def _begin(self, connection: sa.Connection) -> None:
        import sqlalchemy as sa

        if self._is_sqlite:
            # From the start, so that nobody else writes between the look at the position and what follows.
            connection.execute(sa.text("BEGIN IMMEDIATE"))
        else:
            limit_ms = int(self._timeout_s * 1_000)
            connection.execute(sa.text(f"SET LOCAL statement_timeout = {limit_ms}"))

    def _make_table(self) -> None:
        """Make the table of positions where it is not there."""
        import sqlalchemy as sa

        assert self._engine is not None
        if self._has_table:
            return
        if not sa.inspect(self._engine).has_table(POSITIONS):
            try:
                self._table.create(self._engine)
            except sa.exc.DBAPIError:
                if not sa.inspect(self._engine).has_table(POSITIONS):  # Another process may have made it.
                    raise
        self._has_table = True

    def _locked(self, connection: sa.Connection, target: str, place: str) -> Position:
        """The position of a place, locked: another process that still writes there is waited for.

        What is not there cannot be locked, so it is made.
        """
        from sqlalchemy.dialects import postgresql, sqlite

        position = self._position(connection, target, place)
        if position is None:
            insert = (sqlite if self._is_sqlite else postgresql).insert(self._table)
            statement = insert.values(target=target, place=place, **_row(NOTHING_YET)).on_conflict_do_nothing()
            connection.execute(statement)
            position = self._position(connection, target, place)
        assert position is not None, "it was inserted, by us or by another"
        return position

    def _position(self, connection: sa.Connection, target: str, place: str) -> Optional[Position]:
        import sqlalchemy as sa

        table = self._table
        query = sa.select(table.c.number, table.c.id, table.c.refused)
        query = query.where(table.c.target == target, table.c.place == place).with_for_update()
        row = connection.execute(query).one_or_none()
        return None if row is None else Position.of_row(*row)

    def _keep(self, connection: sa.Connection, target: str, place: str, position: Position) -> None:
        table = self._table
        statement = table.update().where(table.c.target == target, table.c.place == place)
        connection.execute(statement.values(**_row(position)))

    def _checked(self, url: str) -> None:
        if url.startswith(_SQLITE) and _path_of(url) and not _path_of(url).startswith((":memory:", "file:")):
            return
        if url.startswith(_POSTGRES):
            Dsn(_plain(url)).read()
            return
        msg = (
            f"{self._secret!r} is no URL of DBOS's system database: write postgresql://user@host/database, "
            "sqlite:///path, or where it stands, such as env:DBOS_SYSTEM_DATABASE_URL"
        )
        raise UsageError(msg)

    def _reason(self, error: Exception) -> str:
        found = getattr(error, "orig", None) or error
        text = " ".join(str(getattr(getattr(found, "diag", None), "message_primary", None) or found).split())
        if "workflow_status" in text and ("no such table" in text or "does not exist" in text):
            text = f"{_NOT_THERE} ({text})"
        return hide(text or type(found).__name__, self._secrets())[:REASON_MAX]

    def _secrets(self) -> Iterator[str]:
        for url in self._secret.known():
            with suppress(UsageError):  # What is no URL of a database has been refused without showing it.
                yield from Dsn(_plain(url)).secrets()


def _row(position: Position) -> dict[str, Any]:
    """What the table has of a position."""
    return {"number": position.number, "id": position.id, "refused": encoded(position.refused)}


def _path_of(url: str) -> str:
    """The file of a URL of SQLite; options of the library may stand behind a question mark."""
    return url.removeprefix(_SQLITE).partition("?")[0]


def _with_foreign_keys(connection: sqlite3.Connection, record: object) -> None:
    """As DBOS has it: a message to nobody is refused. SQLite asks for it in each connection."""
    connection.execute("PRAGMA foreign_keys = ON")


def _plain(url: str) -> str:
    """Without the name of a driver, of which only one is meant."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _is_of_a_row(error: Any) -> bool:
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError)):
        return True
    state = getattr(error, "sqlstate", None)
    if state is None:
        # It was not even sent, such as a text with a NUL in it.
        return type(error).__name__ == "DataError"
    return str(state).startswith(_OF_A_ROW)
