"""The input `postgres_log`: a table of PostgreSQL that is only appended to, such as an outbox, read as a log.

**The trap.** Numbers of rows are given out before their transactions commit: row 7 may be there while row 6 is not, and
whoever has read up to 7 never sees 6. So rows are read by the *transaction* that wrote them. A column of the table
keeps its number (`xid8`, given by `pg_current_xact_id()`), and no row is read before all transactions with lower
numbers have ended: below the *horizon*, `pg_snapshot_xmin(pg_current_snapshot())`, nothing can appear any more. What is
below it is in the order of (transaction, id), which is the same whenever it is read.

**A position** is the transaction and the id of the last row, or the horizon below which everything has been read. It
holds in one cluster only, as another one counts its transactions by itself: so it says which table of which system.

**The price**: a transaction that stays open holds back all rows that began after it, in whatever database of the
server. It is told after some seconds. Also a bounded run waits for it, when rows wait that were there as it began.

Rejected: logical replication. Its slots are a second truth beside the state, hold back the server's log for ever where
a flow is gone, and need rights that few applications have; and the client library does not speak its protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, NamedTuple, Optional

from headway.basics.dsn import Dsn
from headway.basics.needed import needed
from headway.basics.secret import hide
from headway.connectors.base import Input, Position, Session
from headway.connectors.parts import RecordPart
from headway.connectors.postgres_link import PostgresLink
from headway.connectors.postgres_queries import Columns, Queries, check_columns
from headway.connectors.queued import BATCH, QueuedReader
from headway.connectors.records import RecordsChunk
from headway.connectors.remote import ANEW, LoopSession, RemoteInput, format_without_header, one_of
from headway.errors import InputError, UsageError
from headway.formats.base import Format
from headway.formats.named import JSON, FormatLike

__all__ = ["PostgresLogInput", "PostgresSession", "moved", "postgres_log"]

_MADE_ANEW: Final = "was made anew"
_PAUSES_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Between two looks, when nothing was found; a notification begins them anew."""
_REFUSALS: Final = ("authentication failed", "does not exist", "no pg_hba.conf entry", "not permitted to log in")
"""What a server says that lets nobody in, and will not in a moment either."""
HELD_S: Final = 10.0
"""How long rows may wait for an older transaction before a person is told."""


def postgres_log(
    dsn: str,
    table: str,
    *,
    id: str = "id",  # noqa: A002 - what the column is called nearly everywhere
    xid: str = "xid",
    value: Optional[str] = None,
    key: Optional[str] = None,
    time: Optional[str] = None,
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    start: str = "earliest",
    notify: Optional[str] = None,
) -> Input:
    """Read a table of PostgreSQL that rows are only added to, such as an outbox: each row once, in a stable order.

    The table needs a column `xid` that keeps the transaction of each row, and a unique `id`; both are never null. To a
    table that is there they are added so:

        ALTER TABLE outbox ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
        CREATE INDEX ON outbox (xid, id);

    Rows come in the order of (`xid`, `id`), once all transactions have ended that began to write before. So none is
    missed however they commit, and a transaction that stays open holds back what began after it, which is told. Rows
    that were read may be deleted; one that is changed is not read again.

    A row is one record: all of its columns as a JSON object, or what the column `value` holds, in the `format` (text,
    `json`, `jsonb` or `bytea`). `key` and `time` name the columns that are `hw.record_key` and `hw.record_time`. With
    `start="latest"` what is there at the first start is not read. `notify` is a channel of NOTIFY: who writes says
    there that something has come; without it the table is asked twice a second. A NULL is JSON's null. Costs some 4 µs
    of CPU a row, beside the server.

    A run without `--follow` reads all rows that were there when it began. Where some of them wait for an older
    transaction that is still open, it waits for that one to end, and tells so. A position holds in
    the table that it was made in; a table that was made anew, or restored into another server, is refused.

    `dsn` is `postgresql://...` or `host=... dbname=...`, or where it stands: `env:DATABASE_URL`, `file:/path`. Needs
    the extra `postgres`, and PostgreSQL 13. Raises `UsageError` for an option that cannot be.

    >>> postgres_log("postgresql://app:swordfish@db.example/shop", "outbox", value="payload").describe()
    'postgres table outbox at db.example/shop'
    """
    one_of("postgres_log", "start", start, "earliest", "latest")
    named = {"table": table, "id": id, "xid": xid, "value": value, "key": key, "time": time, "notify": notify}
    for what, name in named.items():
        if not (isinstance(name, str) and name) and (name is not None or what in ("table", "id", "xid")):
            msg = f"postgres_log(..., {what}={name!r}): expected a name as text"
            raise UsageError(msg)
    form = format_without_header(format, "postgres_log")
    if value is None and form.name != "json":
        msg = (
            f"postgres_log(..., format={form.name!r}): whole rows are read as JSON; name the column that holds "
            "records of this format with value="
        )
        raise UsageError(msg)
    parts = {RecordPart.OFFSET, RecordPart.PARTITION}
    parts |= {part for part, name in ((RecordPart.KEY, key), (RecordPart.TIME, time)) if name is not None}
    columns = Columns(table, id, xid, value, key, time)
    return PostgresLogInput(Dsn(dsn), columns, start, notify, form, frozenset(parts))


@dataclass(frozen=True)
class PostgresLogInput(RemoteInput):
    """What `postgres_log` returns."""

    dsn: Dsn
    columns: Columns
    start: str
    notify: Optional[str]
    format: Format = JSON
    record_parts: frozenset[RecordPart] = frozenset()

    def session(self) -> Session:
        """One connection for the process, and one that listens."""
        needed("psycopg", "postgres", "hw.postgres_log(...)")
        return PostgresSession(self)

    def describe(self) -> str:
        """The table and the server."""
        return f"postgres table {self.columns.table} at {self.dsn.shown}"


class Row(NamedTuple):
    """A row as it is selected."""

    xid: str
    id: str
    value: Optional[bytes]
    key: Optional[str]
    time_ms: Optional[int]


class PostgresChunk(RecordsChunk):
    """Rows of the table, in the order in which they are read."""

    def __init__(self, table: str, first: int, rows: Sequence[Row]) -> None:
        self.ordinals = range(first, first + len(rows))
        self.values = [row.value for row in rows]
        self._rows = rows
        self._table = table

    def place_of(self, index: int) -> str:
        """Its id, and its transaction."""
        row = self._rows[index]
        return f"row {row.id} of transaction {row.xid}"

    def absence_of(self, index: int) -> str:
        """With `value=` a column is the value."""
        return "the column with its value is null"

    def part_of(self, part: RecordPart, index: int) -> Any:
        """What a row has besides its value."""
        if part is RecordPart.KEY:
            return self._rows[index].key
        if part is RecordPart.TIME:
            return self._rows[index].time_ms
        return self.ordinals[index] if part is RecordPart.OFFSET else self._table


def moved(at: Position, **to: Any) -> Position:
    """A later position. A snapshot that it speaks of, the seam, is forgotten once all that it knows is passed."""
    later = {**at, **to}
    if "seam" in later and int(later["xid"]) >= int(later["seam"].split(":")[1]):
        del later["seam"]
    return later


class _Held:
    """Since when rows wait for an older transaction."""

    def __init__(self, clock_s: Callable[[], float] = monotonic) -> None:
        self._clock_s = clock_s
        self._since_s: Optional[float] = None
        self._is_told = False

    def is_to_be_told(self, *, is_held: bool) -> bool:
        """Whether it has lasted, and nobody has been told."""
        if not is_held:
            self._since_s, self._is_told = None, False
        elif self._since_s is None:
            self._since_s = self._clock_s()
        elif not self._is_told and self._clock_s() - self._since_s >= HELD_S:
            self._is_told = True
            return True
        return False


class PostgresSession(LoopSession):
    """The connections of a process."""

    def __init__(self, given: PostgresLogInput, whole: Optional[Input] = None) -> None:
        """`whole` is the input of which the log is a part, if it is."""
        import psycopg

        self._input = given
        self._queries = Queries(given.columns)
        self._link: Optional[PostgresLink] = None
        self._listening: Optional[asyncio.Task[None]] = None
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._table_id = ""
        self.transient = (*LoopSession.transient, psycopg.OperationalError, psycopg.InterfaceError)
        super().__init__(whole or given)

    async def connect(self) -> None:
        """Connect, and look whether the table is one that can be read so."""
        import psycopg

        try:
            self._link = await PostgresLink.open(self._input.dsn)
            if self._input.notify is not None:
                self._listening = asyncio.ensure_future(self._listen(self._input.notify))
        except UsageError as error:
            raise InputError(str(error)) from error
        except psycopg.OperationalError as error:
            # While it connects, the library knows no SQLSTATE.
            if any(text in str(error) for text in _REFUSALS):
                msg = f"{self._given.describe()} refuses to let us in: {self.words(error)}; check the DSN"
                raise InputError(msg) from error
            raise

    async def disconnect(self) -> None:
        """Close the connections."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _listen(self, channel: str) -> None:
        """Wake the reader when something is said; a hint only, so that what breaks here is made anew, later."""
        import psycopg
        from psycopg import sql

        while True:
            with suppress(psycopg.Error, OSError, UsageError):
                async with (await PostgresLink.open(self._input.dsn)).connection as connection:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    self._news.set()
                    async for _ in connection.notifies():
                        self._news.set()
            await asyncio.sleep(_PAUSES_S[-1])

    async def names(self) -> list[str]:
        """The table, if it is there. Raises `InputError` where it cannot be read in the order of its transactions."""
        rows = await self._rows(self._queries.columns())
        if not rows:
            self.troubles.missing("the table")
            return []
        self.troubles.found("the table")
        unique = [frozenset(found[0]) for found in await self._rows(self._queries.unique())]
        misfit = check_columns(self._input.columns, rows, unique)
        if misfit is not None:
            msg = f"{self._input.describe()}: {misfit}"
            raise InputError(msg)
        self._queries.fit(rows)
        [[self._table_id]] = await self._rows(self._queries.identity())
        return [self._input.columns.table]

    def reader(self, name: str, position: Optional[Position], *, follow: bool) -> QueuedReader:
        """A reader for the table."""
        return QueuedReader(self, name, position, follow=follow)

    async def feed(self, reader: QueuedReader) -> None:
        """Read rows up to the horizon, as it moves."""
        [[found, latest, is_beyond]] = await self._rows(self._queries.end())
        if is_beyond:
            self.troubles.tell(
                "rows carry numbers of transactions that this server has not reached, as after a restore from another "
                "one; they are not read before it has"
            )
        horizon = int(found)
        # What is there now, and waits for an older transaction, belongs to a bounded run.
        end = None if reader.follow else int(latest or horizon)
        at = self._begin_at(reader, horizon)
        held, pause = _Held(), 0
        while True:
            await self.room(reader)
            if end is not None:
                horizon = min(horizon, end)
            rows = await self._next_rows(at, horizon)
            if rows:
                at = self._take(reader, at, rows)
                held, pause = _Held(), 0
                continue
            if at["id"] is not None or int(at["xid"]) < horizon:
                at = moved(at, xid=str(horizon), id=None)
                reader.reached(at)
            self.troubles.up(reader.name)
            if horizon == end:
                reader.finish()
                return
            # Also where the horizon moves: it does with any transaction of the server, whatever that writes.
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), _PAUSES_S[pause])
            pause = 0 if self._news.is_set() else min(pause + 1, len(_PAUSES_S) - 1)
            self._news.clear()
            horizon = await self._horizon(at)
            if int(at["xid"]) == horizon:
                await self._tell_what_holds(horizon, held)

    def _take(self, reader: QueuedReader, at: Position, rows: Sequence[Row]) -> Position:
        for first in range(0, len(rows), BATCH):
            some = rows[first : first + BATCH]
            chunk = PostgresChunk(reader.name, at["record"], some)
            at = moved(at, xid=some[-1].xid, id=some[-1].id, record=at["record"] + len(some))
            reader.take(chunk, at, sum(len(row.value or b"") for row in some))
        return at

    def _begin_at(self, reader: QueuedReader, horizon: int) -> Position:
        """Where to go on. Raises `InputError` where that is in another table."""
        at = reader.fetched
        if at is None:
            first = "0" if self._input.start == "earliest" else str(horizon)
            at = {"xid": first, "id": None, "record": 0, "table": self._table_id}
            reader.reached(at)
        elif at["table"] != self._table_id or int(at["xid"]) > horizon:
            raise self._another(_MADE_ANEW if at["table"] != self._table_id else "was restored from a backup")
        return at

    async def _horizon(self, at: Position) -> int:
        """The horizon as it is now. Rows below it are those of the table that a position speaks of, or it raises."""
        [[found, table]] = await self._rows(self._queries.horizon())
        if table is None:
            raise self._gone()
        if table != at["table"].rpartition("/")[2]:
            raise self._another(_MADE_ANEW)
        return int(found)

    def _gone(self) -> InputError:
        return InputError(f"{self._input.describe()} is gone while it is read; {ANEW}")

    def _another(self, why: str) -> InputError:
        return InputError(
            f"{self._input.describe()} is not the table that was read before: it {why}, or is on another server; "
            "start with a new state directory"
        )

    async def _next_rows(self, at: Position, horizon: int) -> list[Row]:
        """Rows behind a position and below the horizon, which stay the same rows whenever they are asked for."""
        import psycopg.errors

        try:
            found = await self._rows(*self._queries.rows(at["xid"], at["id"], horizon, at.get("seam")))
        except psycopg.errors.UndefinedTable as error:
            raise self._gone() from error
        return [Row(*row) for row in found]

    async def _tell_what_holds(self, horizon: int, held: _Held) -> None:
        """Tell, once it has lasted, that rows wait for an older transaction."""
        [[is_held]] = await self._rows(*self._queries.is_held(horizon))
        if held.is_to_be_told(is_held=is_held):
            oldest = await self._rows(self._queries.oldest())
            who = f", such as that of process {oldest[0][0]}, open since {oldest[0][1]}" if oldest else ""
            self.troubles.tell(f"rows wait for a transaction that began before them and has not ended{who}")

    async def _rows(self, query: str, given: Optional[Sequence[Any]] = None) -> list[Any]:
        """What a statement gives; a connection that was lost is made anew for the next one."""
        async with self._turn:
            if self._link is None or not self._link.is_open:
                self._link = await PostgresLink.open(self._input.dsn)
            return await self._link.rows(query, given)

    def words(self, error: BaseException) -> str:
        """Without what is secret."""
        return hide(super().words(error), self._input.dsn.secrets())
