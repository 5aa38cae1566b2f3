"""A table `accounts`, those who change it, and the versions that a flow has to see of it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Optional

from tests.servers import PostgresServer

import headway as hw
from headway.connectors.base import Input
from headway.connectors.postgres_table_queries import VersionedTable, changes_sql

KEYS = 8


class Account(hw.Event):
    id: int
    n: int
    updated_at: hw.Time
    deleted: bool = False


def accounts(server: PostgresServer, name: str) -> str:
    """Make the table, and the log of its changes as the SQL of the error says."""
    at = "updated_at timestamptz NOT NULL DEFAULT clock_timestamp()"
    server.query(f"CREATE TABLE {name} (id bigint PRIMARY KEY, n bigint NOT NULL, {at})")
    server.query(changes_sql(VersionedTable(name, ("id",), "updated_at"), f"{name}_log"))
    server.query(f"CREATE TABLE {name}_all (id bigint, n bigint, deleted boolean)")
    return name


def given_of(server: PostgresServer, table: str, **options: Any) -> Input:
    return hw.postgres_table(server.dsn, table, **{"changes": f"{table}_log", **options})


def read_on(
    given: Input,
    table: str,
    position: Any,
    *,
    most: Optional[int] = None,
    chance: Optional[random.Random] = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[list[Account], Any]:
    """Read from a position: to the end, or about `most` events, or by chance while something happens."""
    found: list[Account] = []
    decoder = given.format.decoder(Account)
    until_s = time.monotonic() + 60
    with closing(given.session()) as session:
        session.partitions()
        with closing(session.open(table, position, follow=chance is not None)) as reader:
            for _ in range(40) if chance is not None else iter(int, 1):
                meanwhile()
                for _ in range(chance.randrange(4) if chance is not None else 1):
                    chunk = reader.read(1 if most is not None or chance is not None else 1 << 16)
                    found += chunk.decode(decoder).events if chunk is not None else []
                if chance is None and (reader.at_end or (most is not None and len(found) >= most)):
                    break
                assert time.monotonic() < until_s, f"no end after {len(found)}"
            return found, json.loads(json.dumps(reader.position()))


class Writers:
    """Transactions on connections of their own, which begin, change rows, and end in any order.

    Each change counts the row up, and notes it in a table beside it, in the same transaction.
    """

    def __init__(self, server: PostgresServer, table: str, chance: random.Random, count: int = 4) -> None:
        import psycopg

        self.rolled_back = 0
        self._chance = chance
        self._table = table
        self._open = [psycopg.connect(server.dsn) for _ in range(count)]
        self._held: list[set[int]] = [set() for _ in self._open]

    def step(self) -> None:
        """One of them does something; none waits for another's row."""
        which = self._chance.randrange(len(self._open))
        connection, held = self._open[which], self._held[which]
        what = self._chance.randrange(10)
        if what < 6:
            others = set().union(*(keys for number, keys in enumerate(self._held) if number != which))
            free = [key for key in range(KEYS) if key not in others]
            if free:
                key = self._chance.choice(free)
                held.add(key)
                self._change(connection, key)
        elif what == 6 and held:
            connection.rollback()
            self.rolled_back += 1
            held.clear()
        else:
            connection.commit()
            held.clear()

    def _change(self, connection: Any, key: int) -> None:
        """Count a row up; or delete it, so that the next change inserts it with the next number."""
        table = self._table
        counted = f"(SELECT coalesce(max(n), -1) + 1 FROM {table}_all WHERE id = {key} AND NOT deleted)"
        if self._chance.randrange(5) == 0:
            gone = f"DELETE FROM {table} WHERE id = {key} RETURNING id, n, true"
            connection.execute(f"WITH gone AS ({gone}) INSERT INTO {table}_all SELECT * FROM gone".encode())
            return
        put = (
            f"INSERT INTO {table} (id, n) VALUES ({key}, {counted}) "
            "ON CONFLICT (id) DO UPDATE SET n = excluded.n, updated_at = clock_timestamp() RETURNING id, n, false"
        )
        connection.execute(f"WITH put AS ({put}) INSERT INTO {table}_all SELECT * FROM put".encode())

    def end(self) -> None:
        while self._open:
            connection = self._open.pop()
            connection.commit()
            connection.close()


def check_versions(server: PostgresServer, table: str, found: list[Account], *, in_order: bool = True) -> None:
    """Each key's events are its versions from the snapshot's on, each once; the last one is what the table has.

    Without `in_order` they come from outputs, which have no order of events of the same millisecond.
    """

    def order(event: Account) -> tuple[Any, ...]:
        return (event.updated_at,) if in_order else (event.updated_at, event.n, event.deleted)

    seen: dict[int, list[tuple[int, bool]]] = {}
    for event in found:
        seen.setdefault(event.id, []).append((event.n, event.deleted))
    last = {event.id: event for event in sorted(found, key=order)}
    for key in range(KEYS):
        first = min(n for n, _ in seen.get(key, [(1 << 60, False)]))
        made = server.query(f"SELECT n, deleted FROM {table}_all WHERE id = {key} AND n >= {first}")
        assert sorted(seen.get(key, [])) == sorted(made), f"of row {key}"
        rows = [n for (n,) in server.query(f"SELECT n FROM {table} WHERE id = {key}")]
        assert rows == [last[key].n for _ in range(1) if key in last and not last[key].deleted], f"row {key}"
