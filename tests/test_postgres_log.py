"""Tables of PostgreSQL as an input: transactions that commit in any order, what is refused, and what a person reads."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from contextlib import closing
from pathlib import Path
from typing import Any, Optional

import pytest
from tests.kafka_harness import eventually
from tests.kills_harness import CLOCK, COUNTED, Chaos, chance_of, lines_of
from tests.readers import read_out, taking
from tests.servers import PostgresServer, postgres_server

import headway as hw
from headway.connectors import postgres_log as module
from headway.errors import InputError, UsageError
from headway.testing import check_transport

NAMES = itertools.count()
ROUND_MS = 10_000_000
"""Between two rounds of events that are killed: more than they may be out of order."""


class Order(hw.Event):
    n: int
    at: hw.Time = 0
    customer: str = ""


@pytest.fixture
def server() -> PostgresServer:
    return postgres_server()


def table_of(
    server: PostgresServer, columns: str = "", *, xid: str = "xid8 NOT NULL DEFAULT pg_current_xact_id()"
) -> str:
    name = f"orders_{next(NAMES)}"
    at = "at timestamptz NOT NULL DEFAULT now()"
    server.query(f"CREATE TABLE {name} (id bigserial PRIMARY KEY, n bigint, {at}, xid {xid} {columns})")
    server.query(f"CREATE INDEX ON {name} (xid, id)")
    return name


def add(server: PostgresServer, table: str, numbers: range) -> None:
    for n in numbers:
        server.query(f"INSERT INTO {table} (n, at) VALUES (%s, to_timestamp(%s))", n, n)


def test_the_contract(server: PostgresServer) -> None:
    table = table_of(server)
    add(server, table, range(1, 12))
    numbers = itertools.count(100)

    def append(name: str) -> Order:
        n = next(numbers)
        add(server, table, range(n, n + 1))
        return Order(n, 1_000 * n)

    expected = {table: [Order(n, 1_000 * n) for n in range(1, 12)]}
    check_transport(hw.postgres_log(server.dsn, table), Order, expected, append=append)


class Writers:
    """Transactions on connections of their own, which begin, write, and end in any order."""

    def __init__(self, server: PostgresServer, table: str, chance: random.Random) -> None:
        import psycopg

        self._chance = chance
        self._table = table
        self._numbers = itertools.count()
        self._open = [psycopg.connect(server.dsn) for _ in range(5)]

    def step(self) -> None:
        """One of them does something."""
        connection = self._chance.choice(self._open)
        what = self._chance.randrange(10)
        if what < 6:
            for _ in range(self._chance.randrange(1, 4)):
                self._insert(connection)
        elif what == 6:
            with connection.transaction():  # A savepoint: its rows have the number of the whole.
                self._insert(connection)
        elif what == 7:
            connection.rollback()
        else:
            connection.commit()

    def _insert(self, connection: Any) -> None:
        connection.execute(f"INSERT INTO {self._table} (n) VALUES (%s)".encode(), [next(self._numbers)])

    def end(self) -> None:
        for connection in self._open:
            connection.commit()
            connection.close()


@pytest.mark.parametrize("notify", [None, "orders"])
def test_rows_of_transactions_that_end_in_any_order_come_once_and_in_one_order(
    server: PostgresServer, notify: Optional[str]
) -> None:
    """Read while they are written, by readers that end anywhere and go on in another session."""
    chance, table = chance_of("postgres log"), table_of(server)
    writers = Writers(server, table, chance)
    given = hw.postgres_log(server.dsn, table, notify=notify)
    position: Any = None
    found: list[int] = []
    decoder = given.format.decoder(Order)
    for _ in range(8):
        with closing(given.session()) as session:
            session.partitions()
            reader = session.open(table, position, follow=True)
            for _ in range(40):
                writers.step()
                for _ in range(chance.randrange(4)):
                    chunk = reader.read(1 << 16)
                    found += [event.n for event in chunk.decode(decoder).events] if chunk else []
            position = json.loads(json.dumps(reader.position()))
    writers.end()
    with closing(given.session()) as session:
        session.partitions()
        found += read_out(session.open(table, position, follow=False), Order)
    rows = [n for (n,) in server.query(f"SELECT n FROM {table} ORDER BY xid, id")]
    assert found == rows
    assert rows != sorted(rows), "they were all written in the order of their numbers: it proves nothing"
    with closing(given.session()) as session:
        session.partitions()
        assert read_out(session.open(table, None, follow=False), Order) == rows, "the order is another one"


def test_a_transaction_that_stays_open_holds_back_what_began_after_it_and_is_told(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setattr(module, "HELD_S", 0.02)
    table = table_of(server)
    add(server, table, range(1))
    with psycopg.connect(server.dsn) as slow, closing(hw.postgres_log(server.dsn, table).session()) as session:
        slow.execute(f"INSERT INTO {table} (n) VALUES (1)".encode())
        add(server, table, range(2, 4))
        session.partitions()
        bounded = session.open(table, None, follow=False)
        has_bounded, found_bounded = taking(bounded, Order)
        eventually(lambda: has_bounded(1), "what is before it, in a bounded run")
        has, found = taking(session.open(table, None, follow=True), Order)
        eventually(lambda: has(1), "what is before it")
        told: list[str] = []
        eventually(lambda: bool(session.partitions(told.append) and told), "that it is told")
        assert (
            "rows wait for a transaction that began before them and has not ended, such as that of process " in told[0]
        )
        assert not has(2) and not has_bounded(2) and not bounded.at_end
        slow.execute(f"INSERT INTO {table} (n) VALUES (4)".encode())
        slow.commit()
        add(server, table, range(5, 6))
        eventually(lambda: has(6), "the others")
        assert found == [0, 1, 4, 2, 3, 5]
        eventually(lambda: has_bounded(5) and bounded.at_end, "the end of the bounded run")
        assert found_bounded == [0, 1, 4, 2, 3], "what came later is in the bounded run, or something is missing"


def test_a_busy_server_is_asked_no_more_often_than_one_at_rest(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, other = table_of(server), table_of(server)
    asked: list[str] = []
    ask = module.PostgresSession._rows

    async def counted(session: Any, query: str, given: Any = None) -> Any:
        asked.append(query)
        if "pg_current_snapshot" in query:  # Each look finds that some transaction has moved the horizon.
            add(server, other, range(1))
        return await ask(session, query, given)

    monkeypatch.setattr(module.PostgresSession, "_rows", counted)
    monkeypatch.setattr(module, "_PAUSES_S", (0.01, 0.02, 60.0))
    with closing(hw.postgres_log(server.dsn, table).session()) as session:
        session.partitions()
        session.open(table, None, follow=True)
        waits: list[float] = []
        wait_for = asyncio.wait_for

        async def waited(what: Any, timeout: float) -> Any:
            waits.append(timeout)
            return await wait_for(what, timeout)

        monkeypatch.setattr(asyncio, "wait_for", waited)
        eventually(lambda: 60.0 in waits, "the longest pause")
    assert sum("LIMIT" in query for query in asked) <= 6


def test_rows_that_carry_the_numbers_of_another_server_do_not_hold_up_a_bounded_run(server: PostgresServer) -> None:
    table = table_of(server)
    add(server, table, range(2))
    server.query(f"INSERT INTO {table} (n, xid) VALUES (7, '999999999999'::xid8)")
    with closing(hw.postgres_log(server.dsn, table).session()) as session:
        session.partitions()
        assert read_out(session.open(table, None, follow=False), Order) == [0, 1]
        told: list[str] = []
        session.partitions(told.append)
        assert "numbers of transactions that this server has not reached" in told[0]


def test_columns_are_the_value_the_key_and_the_time(server: PostgresServer, tmp_path: Path) -> None:
    table = table_of(server, ", payload jsonb, customer text")
    for n, at, customer in ((1, 1_000.5, "ann"), (2, 2_000, None)):
        query = f"INSERT INTO {table} (at, payload, customer) VALUES (to_timestamp(%s), %s, %s)"
        server.query(query, at, json.dumps({"n": n}), customer)
    server.query(f"INSERT INTO {table} (at) VALUES (now())")
    given = hw.postgres_log(server.dsn, table, value="payload", key="customer", time="at")
    flow = hw.Flow("orders")
    orders = flow.source("orders", Keyed, given, time=hw.record_time, fields={"customer": hw.record_key})
    found: list[Any] = []
    letters: list[Any] = []
    orders.to("found", hw.to_list(found))
    orders.dead_letters.to("letters", hw.to_list(letters))
    hw.run(flow, state=tmp_path, drain=True)
    assert found == [{"n": 1, "customer": "ann"}, {"n": 2, "customer": None}]
    assert [letter["reason"] for letter in letters] == ["the column with its value is null"]
    assert letters[0]["position"].startswith("row 3 of transaction ")
    raw = table_of(server, ", body bytea")
    server.query(f"INSERT INTO {raw} (body) VALUES (%s)", b"\x81\xa1n\x07")
    with closing(
        hw.postgres_log(server.dsn, raw, value="body", format="msgpack").open(raw, None, follow=False)
    ) as reader:
        eventually(
            lambda: (chunk := reader.read(1)) is not None and chunk.record(0)[1] == b"\x81\xa1n\x07", "the bytes"
        )
    server.query(f"INSERT INTO {raw} (n) VALUES (8)")
    latest = hw.postgres_log(server.dsn, raw, start="latest")
    with closing(latest.session()) as session:
        session.partitions()
        reader = session.open(raw, None, follow=True)
        has, found_later = taking(reader, Order)
        eventually(lambda: not has(-1) and bool(reader.position()), "that it knows where it begins")
        server.query(f"INSERT INTO {raw} (n) VALUES (9)")
        eventually(lambda: has(1), "what came later")
        assert found_later == [9]
    words = f"words_{next(NAMES)}"
    server.query(f"CREATE TABLE {words} (id text PRIMARY KEY, n int, xid xid8 NOT NULL DEFAULT pg_current_xact_id())")
    server.query(f"INSERT INTO {words} SELECT 'id' || n, n FROM generate_series(1, 5000) n")
    with closing(hw.postgres_log(server.dsn, words).session()) as session:
        session.partitions()
        in_order = [n for (n,) in server.query(f"SELECT n FROM {words} ORDER BY xid, id")]
        assert read_out(session.open(words, None, follow=False), Order) == in_order


class Keyed(hw.Event):
    n: int
    customer: Optional[str] = None


def test_a_server_that_was_killed_is_read_on_when_it_is_back() -> None:
    postgres_server()
    server = PostgresServer()
    try:
        table = table_of(server)
        add(server, table, range(20))
        with closing(hw.postgres_log(server.dsn, table, notify="orders").session()) as session:
            session.partitions()
            has, found = taking(session.open(table, None, follow=True), Order)
            eventually(lambda: has(20), "the first twenty")
            server.crash()
            assert has(20)
            server.start()
            add(server, table, range(20, 40))
            eventually(lambda: has(40), "all forty", 60)
            assert found == list(range(40))
    finally:
        server.remove()


def test_what_cannot_be_read_in_order_is_refused_with_the_way_on(server: PostgresServer) -> None:
    def why(given: Any) -> str:
        with closing(given.session()) as session, pytest.raises(InputError) as caught:
            session.partitions()
        return str(caught.value)

    def tried(table: str, **options: Any) -> Any:
        return hw.postgres_log(server.dsn, table, **options)

    server.query("CREATE TABLE bare (id int PRIMARY KEY)")
    assert "ALTER TABLE bare ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id(); CREATE INDEX" in why(
        tried("bare")
    )
    server.query("ALTER TABLE bare ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()")
    assert tried("bare").partitions() == ["bare"], "what the message says is enough"
    assert "is of type bigint, expected xid8" in why(tried(table_of(server, xid="bigint")))
    assert "'xid' may be null" in why(tried(table_of(server, xid="xid8")))
    assert "'n' may be null" in why(tried(table_of(server), id="n"))
    assert "has no column 'body'" in why(tried(table_of(server), value="body"))
    assert "'m' is not unique" in why(tried(table_of(server, ", m int NOT NULL"), id="m"))
    assert "of type text, expected a timestamp" in why(tried(table_of(server, ", t text"), time="t"))
    wrong = hw.postgres_log(server.dsn.replace("/postgres", "/no-such").replace("//postgres", "//ann:swordfish"), "x")
    assert "refuses to let us in" in (reason := why(wrong))
    assert "swordfish" not in repr(wrong) + reason
    told: list[str] = []
    with closing(tried("not_there").session()) as session:
        assert session.partitions(told.append) == []
    assert "the table is not there yet" in told[0]
    for options, reason in (
        ({"start": "tomorrow"}, "start='tomorrow'"),
        ({"format": "csv"}, "name the columns"),
        ({"format": "msgpack"}, "name the column that holds records of this format with value="),
        ({"id": ""}, "id=''"),
    ):
        with pytest.raises(UsageError, match=reason):
            tried("x", **options)
    with pytest.raises(UsageError, match="no address of a PostgreSQL database"):
        hw.postgres_log("http://a", "x")


def test_a_table_that_was_made_anew_is_refused(server: PostgresServer) -> None:
    table = table_of(server)
    add(server, table, range(3))
    with closing(hw.postgres_log(server.dsn, table).session()) as session:
        session.partitions()
        reader = session.open(table, None, follow=False)
        assert read_out(reader, Order) == [0, 1, 2]
        position = reader.position()
        server.query(f"DELETE FROM {table} WHERE n < 2")
        assert read_out(session.open(table, position, follow=False), Order) == [], "what was read may be deleted"
        ahead = {**position, "xid": str(int(position["xid"]) + 1_000_000)}
        with pytest.raises(InputError, match="it was restored from a backup, or is on another server"):
            read_out(session.open(table, ahead, follow=False), Order)
        has, _ = taking(session.open(table, position, follow=True), Order)
        server.query(f"ALTER TABLE {table} RENAME TO old_{table}")
        with pytest.raises(InputError, match="is gone while it is read; start with a new state directory"):
            eventually(lambda: has(1), "nobody notices it")
    server.query(f"CREATE TABLE {table} (LIKE old_{table} INCLUDING ALL)")
    with closing(hw.postgres_log(server.dsn, table).session()) as session, pytest.raises(InputError, match="made anew"):
        session.partitions()
        read_out(session.open(table, position, follow=False), Order)


def test_a_table_that_is_made_anew_between_two_looks_is_refused(server: PostgresServer) -> None:
    table, other = table_of(server), table_of(server)
    with closing(hw.postgres_log(server.dsn, table).session()) as session, pytest.raises(InputError, match="made anew"):
        session.partitions()
        has, _ = taking(session.open(table, None, follow=True), Order)
        server.query(f"BEGIN; DROP TABLE {table}; ALTER TABLE {other} RENAME TO {table}; COMMIT")
        eventually(lambda: has(1), "nobody notices it")


def test_a_run_that_is_killed_while_transactions_commit_in_any_order_counts_each_row_once(
    server: PostgresServer, tmp_path: Path
) -> None:
    chance = chance_of("postgres log kills")
    table = f"steps_{next(NAMES)}"
    columns = (
        'id bigserial PRIMARY KEY, at bigint, "user" text, n bigint, xid xid8 NOT NULL DEFAULT pg_current_xact_id()'
    )
    server.query(f"CREATE TABLE {table} ({columns})")
    source = f'hw.postgres_log("{server.dsn}", "{table}", notify="steps")'
    flow = COUNTED.replace('hw.files("steps-*.jsonl"), time="at"', f'{source}, time="at", out_of_order="1h"')
    (tmp_path / "flow.py").write_text(flow)
    import psycopg

    chaos = Chaos(tmp_path, chance, ("--follow",))
    written = tmp_path / "written.jsonl"

    def is_there() -> int:
        return len(lines_of(written))

    insert = f'INSERT INTO {table} (at, "user", n) VALUES (%s, %s, %s)'.encode()
    connections = [psycopg.connect(server.dsn) for _ in range(4)]
    try:
        chaos.start()
        count = 0
        for number in range(3):
            for _ in range(60):
                connection = chance.choice(connections)
                for _ in range(chance.randrange(1, 4)):
                    connection.execute(insert, [10 * count + number * ROUND_MS, f"u{count % 7}", count])
                    count += 1
                if chance.randrange(2):
                    connection.commit()
            for connection in connections:
                connection.commit()
            # Time goes on by more than `out_of_order`, so that nothing waits.
            server.query(insert.decode(), (number + 1) * ROUND_MS - 1, CLOCK, -1)
            left = count - sum(line["data"]["n"] >= 0 for line in lines_of(written))
            chaos.await_count(is_there, is_there() + chance.randrange(max(1, left)), "triggers")
            chaos.kill()
        chaos.await_count(lambda: sum(line["data"]["n"] >= 0 for line in lines_of(written)), count, "triggers")
        chaos.stop()
        chaos.finish()
    finally:
        for connection in connections:
            connection.close()
        chaos.end()
    found = [line["data"]["n"] for line in lines_of(written) if line["data"]["n"] >= 0]
    assert sorted(found) == list(range(count))
