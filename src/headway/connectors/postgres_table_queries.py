"""What `headway.connectors.postgres_table` asks a server, which tables it can read, and the SQL that it needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Optional

from headway.connectors.postgres_queries import NUMBERS, TIMES, TableQueries, quoted

__all__ = ["AHEAD_S", "SnapshotQueries", "VersionedTable", "changes_sql", "check_table"]

AHEAD_S: Final = 60
"""How far versions may be ahead of the server's clock."""
_WRITES: Final = 4 | 8 | 16
"""Of a trigger in the catalogue: INSERT, DELETE, UPDATE."""


@dataclass(frozen=True)
class VersionedTable:
    """A table, what tells its rows apart, and since when each is as it is."""

    table: str
    key: tuple[str, ...]
    version: str


class SnapshotQueries(TableQueries):
    """The text of statements for a snapshot; all of them without parameters."""

    begin: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, given: VersionedTable) -> None:
        super().__init__(given.table)
        self._key = ", ".join(f"t.{quoted(name)}" for name in given.key)
        self._version = f"t.{quoted(given.version)}"
        self._version_name = given.version
        self.is_number = False
        """Whether versions are epoch milliseconds."""

    def fit(self, found: Sequence[Any]) -> None:
        """Learn the types of the columns: name, type, and whether it is never null, of each."""
        self.is_number = any(name == self._version_name and kind in NUMBERS for name, kind, _ in found)

    def lock(self) -> str:
        """Keep others from changing what the table is, before the snapshot is taken.

        TRUNCATE, and whatever writes a table anew, is seen by snapshots of before: they would find it empty.
        """
        return f"LOCK TABLE {self.name} IN ACCESS SHARE MODE"

    def moment(self) -> str:
        """What the snapshot sees, when it is, and the latest version, if that is later than can be."""
        now = "clock_timestamp()"
        limit = f"{now} + interval '{AHEAD_S} seconds'"
        if self.is_number:
            limit = f"extract(epoch FROM {limit}) * 1000"
        late = f"SELECT max({self._version})::text FROM {self.name} AS t WHERE {self._version} > {limit}"
        return f"SELECT pg_current_snapshot()::text, date_trunc('second', {now})::text, ({late})"

    def copy(self) -> str:
        """All rows as JSON, in the order of their versions, and of the key where these are equal."""
        rows = f"SELECT row_to_json(t.*) FROM {self.name} AS t ORDER BY {self._version}, {self._key}"
        return f"COPY ({rows}) TO STDOUT"

    def is_watched(self) -> str:
        """Whether triggers fire for each way in which a row can change."""
        trigger = "tgrelid = to_regclass('" + self.name.replace("'", "''") + "') AND NOT tgisinternal"
        return (
            f"SELECT coalesce(bit_or(tgtype::int) & {_WRITES} = {_WRITES}, false) "
            f"FROM pg_trigger WHERE {trigger} AND tgenabled IN ('O', 'A')"
        )


def check_table(given: VersionedTable, found: Sequence[Any], unique: Collection[frozenset[str]]) -> Optional[str]:
    """Why there cannot be a snapshot of a table; None where there can.

    `found` are its columns: name, type, and whether it is never null.
    """
    known = {name: (kind, is_never_null) for name, kind, is_never_null in found}
    missing = next((name for name in (*given.key, given.version) if name not in known), None)
    if missing is not None:
        return f"it has no column {missing!r}, its columns are {', '.join(known)}"
    for name in (*given.key, given.version):
        if not known[name][1]:
            return f"its column {name!r} may be null: ALTER TABLE {given.table} ALTER COLUMN {name} SET NOT NULL"
    if not any(index <= frozenset(given.key) for index in unique):
        names = ", ".join(map(repr, given.key))
        return f"its rows are not told apart by {names}: add a primary key, or name its columns with key="
    kind = known[given.version][0]
    if kind not in (*TIMES, *NUMBERS):
        return f"its column {given.version!r} is of type {kind}, expected a timestamp or epoch milliseconds"
    return None


def changes_sql(given: VersionedTable, changes: str, *, is_number: bool = False) -> str:
    """What makes a log of the changes of a table, and the trigger that writes to it.

    The time of a change is that of the clock at the change, and not the transaction's: of two transactions that change
    one row, the one that began first may be the one that changes it last, and the log is read in the order in which
    they began. So a transaction keeps its rows until the millisecond of its last change is over: who changes one of
    them next does so at a later time, whatever is read first.
    """
    table, log = (".".join(map(quoted, name.split("."))) for name in (given.table, changes))
    function, wait = (".".join(map(quoted, f"{changes}_{name}".split("."))) for name in ("write", "wait"))
    version = given.version.replace("'", "''")
    if is_number:
        at = now = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
        since = f"(NEW.row ->> '{version}')::bigint"
    else:
        at, now = "clock_timestamp()", "date_trunc('milliseconds', clock_timestamp())"
        since = f"date_trunc('milliseconds', (NEW.row ->> '{version}')::timestamptz)"
    old = ", ".join(f"OLD.{quoted(name)}" for name in given.key)
    new = ", ".join(f"NEW.{quoted(name)}" for name in given.key)
    return f"""CREATE TABLE {log} (
    id bigserial PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    row jsonb NOT NULL
);
CREATE INDEX ON {log} (xid, id);
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    since jsonb := jsonb_build_object('{version}', {at});
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND ({old}) IS DISTINCT FROM ({new})) THEN
        INSERT INTO {log} (row) VALUES (to_jsonb(OLD) || since || '{{"deleted": true}}');
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO {log} (row) VALUES (to_jsonb(NEW) || since);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER {quoted(changes.rpartition(".")[2])} AFTER INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION {function}();
CREATE FUNCTION {wait}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {now}
        = {since} THEN
        PERFORM pg_sleep(0.001);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER {quoted(changes.rpartition(".")[2] + "_wait")} AFTER INSERT ON {log}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {wait}();"""
