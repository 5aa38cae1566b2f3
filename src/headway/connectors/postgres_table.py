"""The input `postgres_table`: a table of PostgreSQL as the versions of its rows, those of today and all that follow.

**The snapshot** is taken once, in one transaction, in the order of the versions, and written down whole before any row
of it is used (`headway.connectors.snapshots`). What a flow reads is that file, and so always the same.

**The seam.** A log that a trigger writes has each change with the number of its transaction. A transaction is in the
snapshot with all that it did, or not at all, and the server says which are: so the changes of all others, and only
these, come behind it. None is missing, and none is there twice, whatever was under way. They are read as
`headway.connectors.postgres_log` reads any log.

Rejected: reading the table in pieces, each in a transaction of its own. It can be taken up again where it stopped, and
is no state that the table ever had. Reading changes out of the table itself, by a column that each change renews: what
is deleted is not seen, nor what is between two looks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Optional, Union

from headway.basics.dsn import Dsn
from headway.basics.needed import needed
from headway.connectors.base import Chunk, Input, Position, Session
from headway.connectors.filereader import FileReader
from headway.connectors.postgres_link import PostgresLink
from headway.connectors.postgres_log import PostgresLogInput, PostgresSession, moved
from headway.connectors.postgres_queries import Columns
from headway.connectors.postgres_table_queries import (
    AHEAD_S,
    SnapshotQueries,
    VersionedTable,
    changes_sql,
    check_table,
)
from headway.connectors.queued import QueuedReader
from headway.connectors.remote import RemoteInput
from headway.connectors.snapshots import Snapshot, Snapshots
from headway.errors import InputError, UsageError
from headway.formats.base import Format
from headway.formats.named import JSON

__all__ = ["PostgresTableInput", "postgres_table"]

_ROWS: Final = 1_000
"""How many rows are written at a time."""
_SPACES: Final = re.compile(rb"\\[bfnrtv]")


def postgres_table(
    dsn: str,
    table: str,
    *,
    changes: Optional[str],
    key: Union[str, Sequence[str]] = "id",
    version: str = "updated_at",
    notify: Optional[str] = None,
) -> Input:
    """Read a table of PostgreSQL as versions of its rows: all that there are, once, and then each change of them.

    `changes` is a table that takes the changes, in the order of their transactions, with the columns `id`, `xid` and
    `row`. A trigger writes to it; where the table is not there yet, the error has the SQL that makes both. With None
    the rows of today are all that is read, and the input ends with them: what is changed later is not seen.

    An event is a row as a JSON object of all its columns. `version` is the column that says since when the row is as it
    is, a timestamp or epoch milliseconds; name it as the `time` of the source. In a change it is the time of the
    change, and where a row is deleted the event is its last version with `"deleted": true`. Rows of today come in the
    order of `version`, changes in that of their transactions, which is not quite that of time: say `out_of_order` for
    as long as a transaction may take. `key` names the column, or the columns, of the primary key. As a temporal table:
    `events.key_by("customer").asof_join("with-customer", customers.key_by("id"), delete=hw.where(deleted=True))`.

    **One snapshot.** When the flow first starts, one transaction (REPEATABLE READ) copies the table into the state
    directory, whole, before any row of it is used; a run that is killed meanwhile copies it anew. From then on the copy
    is what is read, by position, and a change comes once if its transaction is not in the copy. So the same state
    directory never sees a second snapshot: where the copy is lost while it is needed, the run ends. It is kept: it
    takes as much room as the rows do as JSON, and savepoints have it too. A row of `changes` may be removed once it has
    been read.

    Refused are a table whose `key` is not unique or may be null, a `version` that may be null or is no time, versions
    of the future, and a table that was made anew since. Memory does not depend on the number of rows; the server sorts
    them. Costs some 4 µs of CPU a row for the copy, beside the server, in which the transaction is open meanwhile.
    `notify` is a channel of NOTIFY, as for `postgres_log`. `dsn` is `postgresql://...`, or where it stands:
    `env:DATABASE_URL`, `file:/path`. Needs the extra `postgres`, and PostgreSQL 13. Raises `UsageError` for an option
    that cannot be.

    >>> postgres_table("postgresql://app@db.example/shop", "customers", changes="customers_log").describe()
    'postgres table customers at db.example/shop, then its changes in customers_log'
    """
    names = (key,) if isinstance(key, str) else key
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) and name for name in names):
        msg = f"postgres_table(..., key={key!r}): expected the name of a column, or several, as text"
        raise UsageError(msg)
    for what, name, may_be_none in (
        ("table", table, False),
        ("version", version, False),
        ("changes", changes, True),
        ("notify", notify, True),
    ):
        if not (isinstance(name, str) and name) and not (name is None and may_be_none):
            msg = f"postgres_table(..., {what}={name!r}): expected a name as text"
            raise UsageError(msg)
    if changes == table:
        msg = f"postgres_table(..., changes={changes!r}): expected another table than the one whose changes it takes"
        raise UsageError(msg)
    given, log = Dsn(dsn), None
    if changes is not None:
        columns = Columns(changes, "id", "xid", "row", None, None)
        log = PostgresLogInput(given, columns, "earliest", notify)
    return PostgresTableInput(given, VersionedTable(table, tuple(names), version), log)


@dataclass(frozen=True)
class PostgresTableInput(RemoteInput):
    """What `postgres_table` returns."""

    dsn: Dsn
    table: VersionedTable
    changes: Optional[PostgresLogInput]
    format: Format = JSON
    state_dir: Optional[Path] = None

    record_parts = frozenset()

    def session(self) -> Session:
        """One connection for the process, and for a while one that copies."""
        needed("psycopg", "postgres", "hw.postgres_table(...)")
        return TableSession(self)

    @property
    def ends(self) -> bool:
        """Whether only the rows of today are read."""
        return self.changes is None

    def within(self, directory: Path) -> Input:
        """Keep the snapshot in the state directory."""
        return replace(self, state_dir=directory)

    def prepare(self, workers: int) -> None:
        """Remove what a run that was killed has left of its copy."""
        if self.state_dir is not None:
            Snapshots(self.describe(), self.state_dir).clean()

    def describe(self) -> str:
        """The table, the server, and what takes the changes."""
        behind = "" if self.changes is None else f", then its changes in {self.changes.columns.table}"
        return f"postgres table {self.table.table} at {self.dsn.shown}{behind}"

    @property
    def shared_notes(self) -> str:
        """The snapshot."""
        return "the snapshot of a table"

    @property
    def reading(self) -> str:
        """What of the table is read."""
        return "as a snapshot" if self.changes is None else "as a snapshot, then its changes"


class TableReader(QueuedReader):
    """Reads the snapshot, once it is there, and then what the session has fetched of the changes."""

    def __init__(self, session: TableSession, name: str, position: Optional[Position], *, follow: bool) -> None:
        super().__init__(session, name, position, follow=follow)
        place = position or {}
        self.snapshot: Optional[str] = place.get("snapshot")
        """The one in which it stands."""
        self.has_seam = "xid" in place or bool(place.get("over"))
        """Whether it is known where the changes begin; the session's."""
        self._at: Optional[Position] = place.get("at")
        self._is_over = self.has_seam
        self._found: Optional[tuple[Snapshot, str, Position]] = None
        self._rows: Optional[FileReader] = None

    def begin(self, snapshot: Snapshot, path: str, seam: Position) -> None:
        """The rows can be read. Behind them is the position `seam`."""
        self.fetched = seam
        self.has_seam = True
        self._found = (snapshot, path, seam)

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next rows of the snapshot, then changes."""
        if self._is_over:
            return super().read(max_bytes)
        self._session.check()
        if self._found is None:
            if self._failure is not None:
                raise self._failure
            return None  # And not what may have come of the changes meanwhile: it is behind the rows.
        snapshot, path, seam = self._found
        if self._rows is None:
            self._rows = FileReader(path, self._at, follow=False, label="snapshot, ", held=True)
        chunk = self._rows.read(max_bytes)
        if chunk is not None:
            at = self._rows.position()
            self._position = {"snapshot": snapshot.id, "at": at, "record": self._rows.next_ordinal}
            return chunk
        self._is_over = True
        self._position = seam
        return super().read(max_bytes)

    @property
    def at_end(self) -> bool:
        """Whether all rows and, of a bounded reader, all changes have been read."""
        return self._is_over and super().at_end

    def has_more(self) -> bool:
        """Whether there are rows, or something has come."""
        return (self._found is not None and not self._is_over) or super().has_more()

    @property
    def behind(self) -> Optional[int]:
        """Rows of the snapshot that were not read; of changes nobody knows."""
        if self._is_over or self._found is None:
            return super().behind
        return self._found[0].rows - (self._rows.next_ordinal if self._rows is not None else 0)

    def close(self) -> None:
        """Fetch no more, and close the file."""
        if self._rows is not None:
            self._rows.close()
        super().close()


class TableSession(PostgresSession):
    """The connections of a process, and the snapshot."""

    def __init__(self, given: PostgresTableInput) -> None:
        self._given_table = given
        self._about = SnapshotQueries(given.table)
        self._snapshots = Snapshots(given.describe(), given.state_dir)
        self._identity = ""
        self._is_told = False
        nothing = Columns("", "", "", None, None, None)
        super().__init__(given.changes or PostgresLogInput(given.dsn, nothing, "earliest", None), given)

    async def names(self) -> list[str]:
        """The table, if it is there. Raises `InputError` where it, or the log of its changes, cannot be read."""
        given = self._given_table
        found = await self._rows(self._about.columns())
        if not found:
            self.troubles.missing(f"the table {given.table.table}")
            return []
        self.troubles.found(f"the table {given.table.table}")
        unique = [frozenset(one[0]) for one in await self._rows(self._about.unique())]
        misfit = check_table(given.table, found, unique)
        if misfit is not None:
            msg = f"{given.describe()}: {misfit}"
            raise InputError(msg)
        self._about.fit(found)
        [[self._identity]] = await self._rows(self._about.identity())
        if given.changes is not None:
            await self._look_at_changes(given.changes)
        return [given.table.table]

    async def _look_at_changes(self, changes: PostgresLogInput) -> None:
        table, log = self._given_table.table, changes.columns.table
        if not await self._rows(self._queries.columns()):
            sql = changes_sql(table, log, is_number=self._about.is_number)
            msg = (
                f"{self._given_table.describe()}: there is no table {log}, which takes the changes; make it, and the "
                f"trigger that writes to it:\n\n{sql}\n"
            )
            raise InputError(msg)
        await super().names()
        [[is_watched]] = await self._rows(self._about.is_watched())
        if not is_watched and not self._is_told:
            self._is_told = True
            self.troubles.tell(
                f"no triggers of {table.table} fire for all of INSERT, UPDATE and DELETE: changes that nobody writes "
                f"to {log} are not seen"
            )

    def reader(self, name: str, position: Optional[Position], *, follow: bool) -> QueuedReader:
        """A reader for the table."""
        return TableReader(self, name, position, follow=follow)

    async def disconnect(self) -> None:
        """Close the connections, and remove a snapshot that no state directory keeps."""
        await super().disconnect()
        if self._thread.ended.is_set():
            self._snapshots.close()

    async def feed(self, reader: QueuedReader) -> None:
        """See to it that there is a snapshot, and read the changes behind it."""
        assert isinstance(reader, TableReader)
        self._check_table(reader.fetched)
        if not reader.has_seam:
            found = self._snapshots.find() if reader.snapshot is None else self._snapshots.named(reader.snapshot)
            snapshot = found or await self._copied(reader)
            self._check_table(snapshot.about)
            if found is not None:
                await asyncio.get_running_loop().run_in_executor(None, self._snapshots.check, snapshot)
            reader.begin(snapshot, self._snapshots.rows_of(snapshot), self._seam(snapshot))
        if self._given_table.changes is None:
            self.troubles.up(reader.name)
            reader.finish()
            return
        await super().feed(reader)

    def _check_table(self, known: Optional[Position]) -> None:
        """Raise `InputError` where a position, or a snapshot, is about another table."""
        if known and known.get("of", self._identity) != self._identity:
            msg = (
                f"{self._given_table.describe()}: {self._given_table.table.table} is not the table of which the "
                "snapshot was taken: it was made anew, or is on another server; start with a new state directory"
            )
            raise InputError(msg)

    def _seam(self, snapshot: Snapshot) -> Position:
        """The position behind the rows."""
        if self._given_table.changes is None:
            return {"snapshot": snapshot.id, "over": True, "record": snapshot.rows, "of": self._identity}
        seam = snapshot.about["seam"]
        place = {"id": None, "record": snapshot.rows, "table": self._table_id, "of": self._identity, "seam": seam}
        return moved(place, xid=seam.split(":")[0])

    async def _copied(self, reader: TableReader) -> Snapshot:
        """Take the snapshot, and keep it."""
        draft = self._snapshots.draft()
        try:
            async with (await PostgresLink.open(self._input.dsn)).connection as connection:
                for statement in (self._about.begin, self._about.lock()):
                    await connection.execute(statement.encode())
                found = await connection.execute(self._about.moment().encode())
                [[seam, moment, late]] = await found.fetchall()
                if late is not None:
                    self._refuse_future(late)
                found = await connection.execute(self._about.identity().encode())
                [[identity]] = await found.fetchall()
                lines: list[bytes] = []
                async with connection.cursor().copy(self._about.copy().encode()) as rows:
                    async for row in rows:
                        lines.append(_unescaped(bytes(row)))
                        if len(lines) == _ROWS:
                            draft.add(lines)
                            lines = []
                draft.add(lines)
            about = {"seam": seam, "moment": moment, "of": identity, "table": self._table_id}
            return self._snapshots.keep(draft, about)
        finally:
            draft.discard()

    def _refuse_future(self, late: str) -> None:
        version = self._given_table.table.version
        msg = (
            f"{self._given_table.describe()}: there is a row whose {version} is {late}, more than {AHEAD_S} s ahead of "
            f"the server's clock: time would be there at once, and all that happens before would be late; correct it"
        )
        raise InputError(msg)


def _unescaped(row: bytes) -> bytes:
    r"""A row as COPY writes it, as JSON: backslashes are doubled, and line ends between values (of `json`) escaped.

    >>> _unescaped(rb'{"a": "\\n"}' + b"\n") == rb'{"a": "\n"}'
    True
    >>> _unescaped(rb'{"a":\n1}' + b"\n")
    b'{"a": 1}'
    """
    row = row[:-1]
    if b"\\" not in row:
        return row
    row = row.replace(b"\\\\", b"\0")  # Text of PostgreSQL has no NUL.
    return _SPACES.sub(b" ", row).replace(b"\0", b"\\")
