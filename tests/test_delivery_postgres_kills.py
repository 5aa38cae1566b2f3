"""The server and the run that writes to it are killed, and connections cut: each row is inserted once.

A trigger function of the database notes each row that is inserted, in the same transaction and before anything looks
whether it is there already. So a row that is written twice is seen, though the table would keep one. A proxy
loses answers: also the one to a `COMMIT`, after which nobody knows whether it was carried out.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster_harness import await_true, children, send
from tests.cutting_proxy import CuttingProxy
from tests.kills_harness import CLOCK, COUNTED, Chaos, Feed, chance_of, lines_of
from tests.servers import PostgresServer, postgres_server

if TYPE_CHECKING:
    import psycopg

STORED = """
counted.trigger("stored", hw.postgres("DSN", "TABLE", batch=4), retry_first="50ms", retry_longest="1s")
"""
NOTED = """
CREATE TABLE {table} (id text PRIMARY KEY, type text, subject text, time timestamptz, data jsonb, source text,
    sequence text);
CREATE TABLE {table}_inserted (number bigserial, id text, subject text, nonce text);
CREATE FUNCTION {table}_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO {table}_inserted (id, subject, nonce) VALUES (NEW.id, NEW.subject, NEW.data->>'nonce');
    RETURN NEW;
END $$;
CREATE TRIGGER noting BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_note();
"""


def end_the_server(server: PostgresServer, chance: random.Random) -> None:
    """A crash and a new start; or SIGKILL of one of its processes, from which it recovers by itself."""
    processes = children(server.pid)
    if processes and chance.randrange(2):
        send(chance.choice(processes), signal.SIGKILL)
        await_true(lambda: not set(processes) & set(children(server.pid)), "the end of all others, which it decides")
        await_true(server.is_ready, "a server that has recovered")
        return
    server.crash()
    server.start()


class Counting:
    """Asks for a number again and again, on one connection as long as that lasts."""

    def __init__(self, dsn: str, query: str) -> None:
        self._dsn, self._query = dsn, query
        self._connection: psycopg.Connection[Any] | None = None

    def __call__(self) -> int:
        import psycopg

        try:
            self._connection = self._connection or psycopg.connect(self._dsn, autocommit=True)
            found = self._connection.execute(self._query.encode()).fetchone()
        except psycopg.OperationalError:
            self.close()
            return self()
        assert found is not None
        return int(found[0])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def kill_and_store(directory: Path, *, rounds: int, steps: int, cut_of: int) -> None:
    server = postgres_server()
    chance = chance_of("postgres")
    table = f"steps_{os.getpid()}_{chance.randrange(1 << 30)}"
    server.query(NOTED.format(table=table))
    feed, chaos = Feed(directory, chance, users=20), Chaos(directory, chance, ("--follow",))

    stored = Counting(server.dsn, f"SELECT count(*) FROM {table} WHERE subject NOT LIKE '{CLOCK}%'")
    with CuttingProxy(server.port, chance, cut_of) as proxy, contextlib.ExitStack() as at_the_end:
        at_the_end.callback(stored.close)
        at_the_end.callback(chaos.end)
        dsn = server.dsn.replace(str(server.port), str(proxy.port))
        (directory / "flow.py").write_text(COUNTED + STORED.replace("DSN", dsn).replace("TABLE", table))
        feed.grow(steps)
        chaos.start()
        for number in range(rounds):
            left = feed.count - stored()
            for moment in sorted(chance.randrange(max(1, left)) for _ in range(2)):
                wanted = feed.count - left + moment
                chaos.await_count(stored, wanted, "rows")
                chance.choice([lambda: end_the_server(server, chance), chaos.kill])()
            if number + 1 < rounds:
                feed.grow(steps)
        chaos.await_count(stored, feed.count, "rows")
        chaos.stop()
        chaos.finish()
    assert proxy.cut
    written = lines_of(directory / "written.jsonl")
    assert {line["data"]["n"] for line in written} == {-1, *range(feed.count)}
    expected: dict[str, list[str]] = {}
    for line in written:
        expected.setdefault(line["subject"], []).append(line["data"]["nonce"])
    inserted: dict[str, list[str]] = {}
    for subject, nonce in server.query(f"SELECT subject, nonce FROM {table}_inserted ORDER BY number"):
        inserted.setdefault(subject, []).append(nonce)
    assert inserted == expected
    assert server.query(f"SELECT count(*) FROM {table}") == [(len(written),)]


def test_rows_are_inserted_once(tmp_path: Path) -> None:
    kill_and_store(tmp_path, rounds=2, steps=250, cut_of=60)


@pytest.mark.soak
def test_rows_are_inserted_once_for_long(tmp_path: Path) -> None:
    kill_and_store(tmp_path, rounds=20, steps=1_000, cut_of=100)
