"""Tables of PostgreSQL as temporal tables: one snapshot, then all changes, each once, whatever was under way."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Optional

import pytest
from tests.kills_harness import chance_of, lines_of
from tests.postgres_table_harness import Account, Writers, accounts, check_versions, given_of, read_on
from tests.readers import read_out
from tests.servers import PostgresServer, postgres_server

import headway as hw
from headway.connectors.postgres_log import PostgresChunk, Row
from headway.connectors.postgres_table import TableReader
from headway.connectors.postgres_table_queries import VersionedTable, changes_sql
from headway.connectors.snapshots import Draft, Snapshots
from headway.errors import InputError, UsageError
from headway.testing import check_transport

NAMES = itertools.count()


@pytest.fixture
def server() -> PostgresServer:
    return postgres_server()


@pytest.fixture
def table(server: PostgresServer) -> str:
    return accounts(server, f"accounts_{next(NAMES)}")


def set_to(server: PostgresServer, table: str, key: int, n: int) -> Account:
    """Change a row; the event of it."""
    server.query(f"INSERT INTO {table} (id, n) VALUES ({key}, {n}) ON CONFLICT (id) DO UPDATE SET n = {n}")
    [(row,)] = server.query(f"SELECT row FROM {table}_log ORDER BY xid DESC, id DESC LIMIT 1")
    return given_of(server, table).format.decoder(Account).decode_record(json.dumps(row).encode())  # type: ignore[no-any-return]


def rows_of(server: PostgresServer, table: str) -> list[Account]:
    decoder = given_of(server, table).format.decoder(Account)
    found = server.query(f"SELECT row_to_json(t.*)::text FROM {table} AS t ORDER BY updated_at, id")
    return [decoder.decode_record(text.encode()) for (text,) in found]


@pytest.mark.parametrize("count", [9, 0])
def test_the_contract(server: PostgresServer, table: str, tmp_path: Path, count: int) -> None:
    for n in range(count):
        set_to(server, table, n % 7, n)
    numbers = itertools.count(100)
    given = given_of(server, table).within(tmp_path)
    expected = rows_of(server, table)
    # The snapshot is what was there when it was first read; what comes then is its changes.
    assert read_on(given, table, None)[0] == expected
    expected += [set_to(server, table, key, 50 + key) for key in (3, 8, 3)]
    check_transport(
        given, Account, {table: expected}, append=lambda _: set_to(server, table, next(numbers) % 5, next(numbers))
    )


def test_each_change_comes_once_whatever_was_under_way_as_the_snapshot_was_taken(
    server: PostgresServer, table: str, tmp_path: Path
) -> None:
    """Transactions that were open, are rolled back, or end in another order; sessions that end anywhere."""
    chance = chance_of("postgres table")
    writers = Writers(server, table, chance)
    for _ in range(60):
        writers.step()
    given = given_of(server, table).within(tmp_path)
    position: Any = None
    found: list[Account] = []
    for _ in range(8):
        some, position = read_on(given, table, position, chance=chance, meanwhile=writers.step)
        found += some
    assert writers.rolled_back, "nothing was rolled back: it proves less"
    writers.end()
    found += read_on(given, table, position)[0]
    check_versions(server, table, found)
    # From its start it is the same log again.
    assert read_on(given, table, None)[0] == found


@pytest.mark.parametrize("kind", ["timestamptz", "bigint"])
def test_who_changes_a_row_next_does_so_in_a_later_millisecond(server: PostgresServer, kind: str) -> None:
    """Also where the one that began first changes it last, so that its change is read first."""
    import psycopg

    name = f"times_{kind}"
    server.query(f"CREATE TABLE {name} (id int PRIMARY KEY, at {kind})")
    server.query(changes_sql(VersionedTable(name, ("id",), "at"), f"{name}_log", is_number=kind == "bigint"))
    with psycopg.connect(server.dsn) as early, psycopg.connect(server.dsn) as late:
        for number in range(30):
            early.execute(f"INSERT INTO {name} (id) VALUES ({number + 1})")  # From now on it has a number.
            late.execute(f"INSERT INTO {name} (id) VALUES (0)")
            late.execute(f"DELETE FROM {name} WHERE id = 0")
            late.commit()
            early.execute(f"INSERT INTO {name} (id) VALUES (0)")
            early.commit()
            late.execute(f"DELETE FROM {name} WHERE id = 0")
            late.commit()
    at = (
        "(row ->> 'at')::bigint"
        if kind == "bigint"
        else "floor(extract(epoch FROM (row ->> 'at')::timestamptz) * 1000)"
    )
    found = server.query(f"SELECT xid::text, {at} FROM {name}_log WHERE row ->> 'id' = '0' ORDER BY id")
    assert len(found) == 120
    for (xid, at_ms), (next_xid, next_ms) in itertools.pairwise(found):
        assert at_ms <= next_ms and (xid == next_xid or at_ms < next_ms)


def test_changes_that_come_as_the_reader_looks_are_read_behind_the_rows(tmp_path: Path) -> None:
    snapshots = Snapshots("a table", tmp_path)
    draft = snapshots.draft()
    draft.add([b'{"n": 1}', b'{"n": 2}'])
    snapshot = snapshots.keep(draft, {})
    draft.discard()

    class Begins:
        """The session's thread, which does all of its work while the reader looks at it for the first time."""

        is_done = False

        def check(self) -> None:
            if not self.is_done:
                self.is_done = True
                reader.begin(snapshot, snapshots.rows_of(snapshot), {"xid": "7", "record": 2})
                reader.take(PostgresChunk("t", 2, [Row("7", "1", b'{"n": 3}', None, None)]), {"xid": "7"}, 8)
                reader.finish()

        def release(self, reader: Any) -> None:
            pass

    reader: TableReader = TableReader(Begins(), "t", None, follow=False)  # type: ignore[arg-type]
    with closing(reader):
        assert [event["n"] for event in rows_in(reader, hw.Json)] == [1, 2, 3]


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_transaction_that_was_open_comes_behind_the_snapshot(
    server: PostgresServer, table: str, tmp_path: Path, is_kept: bool
) -> None:
    """Its number is lower than those of others that are in the snapshot. What is rolled back does not come."""
    import psycopg

    given = given_of(server, table).within(tmp_path)
    with psycopg.connect(server.dsn) as slow:
        slow.execute(f"INSERT INTO {table} (id, n) VALUES (1, 1)".encode())
        set_to(server, table, 2, 2)
        set_to(server, table, 3, 3)
        found, position = read_on(given, table, None, most=1)
        set_to(server, table, 2, 4)
        slow.commit() if is_kept else slow.rollback()
    later, _ = read_on(given, table, position)
    assert [event.n for event in found + later] == [2, 3, *([1] if is_kept else []), 4]


def test_what_was_copied_stays_what_is_read(server: PostgresServer, table: str, tmp_path: Path) -> None:
    for n in range(20):
        set_to(server, table, n, n)
    given = given_of(server, table).within(tmp_path)
    before, position = read_on(given, table, None, most=5)
    assert set(position) == {"snapshot", "at", "record"}
    server.query(f"DELETE FROM {table} WHERE id >= 2")
    later, _ = read_on(given, table, position)
    assert len(before) < 20
    assert [event.n for event in before + later][:20] == list(range(20))
    assert [(event.n, event.deleted) for event in later[20 - len(before) :]] == [(n, True) for n in range(2, 20)]


def test_rows_are_what_they_are_as_json(server: PostgresServer, tmp_path: Path) -> None:
    """Backslashes, line ends, quotes and percent signs, in values and in names."""
    name = f'odd "%t_{next(NAMES)}'
    quoted = '"' + name.replace('"', '""') + '"'
    server.query(
        f'CREATE TABLE {quoted} (a text, b int, "c%%d" text, t json, at bigint NOT NULL, PRIMARY KEY (b, a))'.replace(
            "%%", "%"
        )
    )
    texts = ["\\", "\\n", "a\nb\tc", '"', "\\\\\\", "ü\u2028", "\b\f\v\r", "%s"]
    for number, text in enumerate(texts):
        insert = f"INSERT INTO {quoted.replace('%', '%%')} VALUES (%s, 1, %s, %s, %s)"
        server.query(insert, text, text, '{"x":\n[1,\t2],\r\n "y": "\\\\\\n"}', 1_000 + number)
    given = hw.postgres_table(server.dsn, name, key=("a", "b"), version="at", changes=None).within(tmp_path)
    with closing(given.session()) as session:
        session.partitions()
        reader = session.open(name, None, follow=True)
        found = []
        for row in rows_in(reader, hw.Json):
            assert row.pop("t") == {"x": [1, 2], "y": "\\\n"}
            found.append(row)
    assert found == [{"a": text, "b": 1, "c%d": text, "at": 1_000 + n} for n, text in enumerate(texts)]


def rows_in(reader: Any, event_type: Any) -> Iterator[Any]:
    decoder = hw.items([]).format.decoder(event_type)
    while not reader.at_end:
        chunk = reader.read(1 << 16)
        if chunk is not None:
            yield from chunk.decode(decoder).events


def test_a_table_alone_is_read_once_and_may_be_a_history(server: PostgresServer, table: str, tmp_path: Path) -> None:
    for n in range(5):
        set_to(server, table, n, n)
    (tmp_path / "live.jsonl").write_text('{"id": 3, "n": 7, "updated_at": 2000000000000}\n')
    given = hw.then(hw.postgres_table(server.dsn, table, changes=None), hw.files(str(tmp_path / "live.jsonl"))).within(
        tmp_path
    )
    flow, found = hw.Flow("both"), list[Any]()
    flow.source("both", Account, given, time="updated_at").to("found", hw.to_list(found))
    hw.run(flow, state=tmp_path / "state", drain=True)
    assert [event["n"] for event in found] == [0, 1, 2, 3, 4, 7]
    alone = hw.postgres_table(server.dsn, table, changes=None)
    assert alone.ends
    with closing(alone.session()) as session:
        session.partitions()
        reader = session.open(table, None, follow=True)
        assert read_out(reader, Account) == [0, 1, 2, 3, 4]
        position = reader.position()
        set_to(server, table, 9, 9)
        assert read_out(session.open(table, position, follow=True), Account) == []


def test_an_event_meets_the_version_of_its_time(server: PostgresServer, table: str, tmp_path: Path) -> None:
    """In three runs over a log that grows, as in one; a row is changed, and one deleted, between them."""

    class Spent(hw.Event):
        account: int
        at: hw.Time

    def now_ms() -> int:
        [(at,)] = server.query("SELECT ceil(extract(epoch FROM clock_timestamp()) * 1000)::bigint + 1")
        server.query("SELECT pg_sleep(0.005)")
        return int(at)

    found: dict[str, list[Any]] = {"parts": [], "whole": []}

    def run(which: str, **options: Any) -> None:
        flow = hw.Flow("spent")
        given = given_of(server, table)
        versions = flow.source("versions", Account, given, time="updated_at", out_of_order="1ms")
        spent = flow.source("spent", Spent, hw.files(str(tmp_path / "spent.jsonl")), time="at")
        joined = spent.key_by("account").asof_join(
            "joined", versions.key_by("id"), how="left", delete=hw.where(deleted=True)
        )
        shown = joined.map(lambda pair: {"at": pair.left.at, "n": pair.right.n if pair.right else None}, into=hw.Json)
        shown.to("out", hw.to_jsonl(str(tmp_path / f"{which}.jsonl")))
        hw.run(flow, state=tmp_path / which, **options)
        found[which] = [line["n"] for line in lines_of(tmp_path / f"{which}.jsonl")]

    set_to(server, table, 1, 10)
    set_to(server, table, 2, 20)
    expected: list[Optional[int]] = []

    def spend(account: int, n: Optional[int]) -> None:
        with (tmp_path / "spent.jsonl").open("a") as file:
            file.write(json.dumps({"account": account, "at": now_ms()}) + "\n")
        expected.append(n)

    with (tmp_path / "spent.jsonl").open("a") as file:
        file.write('{"account": 1, "at": 5}\n')
    expected.append(None)
    spend(1, 10)
    run("parts")
    run("whole")  # Both have taken their snapshots here.
    spend(2, 20)
    set_to(server, table, 1, 11)
    spend(1, 11)
    run("parts")
    server.query(f"DELETE FROM {table} WHERE id = 2")
    spend(2, None)
    set_to(server, table, 2, 21)
    spend(2, 21)
    run("parts", drain=True)
    run("whole", drain=True)
    assert found["parts"] == found["whole"] == expected


def test_tables_that_cannot_be_read_so_are_refused_with_the_way_on(server: PostgresServer, table: str) -> None:
    def why(**options: Any) -> str:
        given = hw.postgres_table(server.dsn, **{"table": table, "changes": f"{table}_log", **options})
        with closing(given.session()) as session, pytest.raises(InputError) as caught:
            session.partitions()
            read_out(session.open(table, None, follow=False), Account)
        return str(caught.value)

    bare = f"bare_{next(NAMES)}"
    server.query(f"CREATE TABLE {bare} (id int NOT NULL, k int, t text NOT NULL, updated_at timestamptz NOT NULL)")
    assert "rows are not told apart by 'id': add a primary key" in why(table=bare)
    server.query(f"ALTER TABLE {bare} ADD PRIMARY KEY (id), ADD UNIQUE (k)")
    assert "'k' may be null: ALTER TABLE" in why(table=bare, key="k")
    assert "rows are not told apart by 't'" in why(table=bare, key="t")
    assert "has no column 'since', its columns are id, k, t, updated_at" in why(table=bare, version="since")
    assert "'t' is of type text, expected a timestamp" in why(table=bare, version="t")
    without = why(table=bare, changes=f"{bare}_log")
    assert f"there is no table {bare}_log, which takes the changes; make it" in without
    server.query(without.partition("\n\n")[2])
    given = hw.postgres_table(server.dsn, bare, changes=f"{bare}_log")
    assert given.partitions() == [bare], "what the message says is not enough"
    server.query(f"INSERT INTO {bare} VALUES (1, 1, 'x', now() + interval '1 hour')")
    assert "ahead of the server's clock: time would be there at once" in why(table=bare, changes=f"{bare}_log")
    server.query(f"UPDATE {bare} SET updated_at = 'infinity'")
    assert "updated_at is infinity, more than 60 s ahead" in why(table=bare, changes=f"{bare}_log")
    wrong = hw.postgres_table(
        server.dsn.replace("/postgres", "/none").replace("//postgres", "//ann:swordfish"), "x", changes=None
    )
    with closing(wrong.session()) as session, pytest.raises(InputError, match="refuses to let us in") as caught:
        session.partitions()
    assert "swordfish" not in repr(wrong) + str(caught.value)
    for options, reason in (
        ({"key": ""}, "key=''"),
        ({"key": ()}, r"key=\(\)"),
        ({"key": 7}, "key=7"),
        ({"version": ""}, "version=''"),
        ({"changes": "x"}, "expected another table than the one whose changes"),
        ({"notify": ""}, "notify=''"),
    ):
        with pytest.raises(UsageError, match=reason):
            hw.postgres_table(server.dsn, "x", **{"changes": None, **options})  # type: ignore[arg-type]


def test_triggers_that_are_not_there_are_told_once(server: PostgresServer, table: str) -> None:
    told: list[str] = []
    with closing(given_of(server, table).session()) as session:
        session.partitions(told.append)
        assert not told
    server.query(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    with closing(given_of(server, table).session()) as session:
        session.partitions(told.append)
    assert len(told) == 1
    assert "no triggers of accounts_" in told[0] and "changes that nobody writes to" in told[0]
    missing = hw.postgres_table(server.dsn, "not_there", changes=None)
    with closing(missing.session()) as session:
        assert session.partitions(told.append) == []
    assert "the table not_there is not there yet" in told[1]


def test_another_table_in_its_place_is_refused(server: PostgresServer, table: str, tmp_path: Path) -> None:
    for n in range(20):
        set_to(server, table, n, n)
    given = given_of(server, table).within(tmp_path)
    _, halfway = read_on(given, table, None, most=5)
    _, behind = read_on(given, table, None)
    server.query(f"ALTER TABLE {table} RENAME TO old_{table}")
    server.query(f"CREATE TABLE {table} (LIKE old_{table} INCLUDING ALL)")
    for position in (None, halfway, behind):
        with pytest.raises(InputError, match="it was made anew, or is on another server"):
            read_on(given, table, position)


def test_a_table_with_millions_of_rows_is_copied_in_bounded_memory(
    server: PostgresServer, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more rows are held than are written at a time."""
    server.query(f"INSERT INTO {table} (id, n) SELECT i, i FROM generate_series(1, 25000) i")
    most = 0
    add = Draft.add

    def counted(draft: Any, rows: list[bytes]) -> None:
        nonlocal most
        most = max(most, len(rows))
        add(draft, rows)

    monkeypatch.setattr(Draft, "add", counted)
    found, position = read_on(given_of(server, table).within(tmp_path), table, None)
    assert len(found) == 25_000 and position["record"] == 25_000
    assert 0 < most <= 1_000
    random.Random(0).shuffle(found)
    assert sorted(event.id for event in found) == list(range(1, 25_001))


def test_the_sql_of_the_docs_is_that_of_the_error() -> None:
    page = (Path(__file__).parents[1] / "docs" / "edges.md").read_text()
    sql = changes_sql(VersionedTable("customers", ("id",), "updated_at"), "customers_log")
    assert f"```sql\n{sql}\n```" in page
