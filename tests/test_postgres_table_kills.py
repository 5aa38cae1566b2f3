"""Snapshots of PostgreSQL tables and what ends a run: kills at any moment, loss of files, savepoints."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import Started, await_true, is_alive
from tests.kills_harness import Chaos, chance_of, lines_of
from tests.postgres_table_harness import Account, Writers, accounts, check_versions, given_of, read_on
from tests.servers import PostgresServer, postgres_server

import headway as hw
from headway.connectors.snapshots import Snapshots
from headway.errors import InputError
from headway.proving.crashes import Crashes, Kill
from headway.runtime.directory import StateDirectory
from headway.savepoints.create import create_savepoint
from headway.savepoints.restore import restore_savepoint
from headway.savepoints.shelf import Shelf

NAMES = itertools.count()
FLOW = """
import headway as hw


class Account(hw.Event):
    id: int
    n: int
    updated_at: hw.Time
    deleted: bool = False


flow = hw.Flow("accounts")
given = hw.postgres_table("DSN", "TABLE", changes="TABLE_log", notify="TABLE")
accounts = flow.source("accounts", Account, given, time="updated_at", out_of_order="100ms")
accounts.key_by("id").to("seen", hw.to_jsonl("seen.jsonl"))
accounts.late.to("late", hw.to_jsonl("late.jsonl"))
"""


@pytest.fixture
def server() -> PostgresServer:
    return postgres_server()


@pytest.fixture
def table(server: PostgresServer) -> str:
    return accounts(server, f"kept_{next(NAMES)}")


def write_flow(server: PostgresServer, table: str, folder: Path) -> Path:
    """The flow in a folder; where its histories will be."""
    (folder / "flow.py").write_text(FLOW.replace("DSN", server.dsn).replace("TABLE", table))
    return folder / ".headway" / "accounts" / "histories"


def seen_in(folder: Path) -> list[Account]:
    lines = [line for name in ("seen", "late") for line in lines_of(folder / f"{name}.jsonl")]
    decoder = hw.items([]).format.decoder(Account)
    return [decoder.convert(line) for line in lines]


def fill(server: PostgresServer, table: str, count: int) -> None:
    """So many rows that nobody changes."""
    server.query(f"INSERT INTO {table} (id, n) SELECT -i, 0 FROM generate_series(1, {count}) i")


def test_a_run_that_is_killed_at_random_sees_each_version_once(
    server: PostgresServer, table: str, tmp_path: Path
) -> None:
    chance = chance_of("postgres table kills")
    histories = write_flow(server, table, tmp_path)
    writers, chaos = Writers(server, table, chance), Chaos(tmp_path, chance, ("--follow",))
    fill(server, table, 3_000)
    for _ in range(40):
        writers.step()
    try:
        chaos.start()
        for _ in range(4):
            before = len(lines_of(tmp_path / "seen.jsonl"))

            def goes_on(before: int = before) -> bool:
                writers.step()
                return len(lines_of(tmp_path / "seen.jsonl")) > before

            chaos.await_true(goes_on, "what is new in the output")
            for _ in range(chance.randrange(40)):
                writers.step()
            chaos.kill()
        writers.end()
        chaos.stop()
        chaos.finish("--drain")
    finally:
        writers.end()
        chaos.end()
    found = seen_in(tmp_path)
    assert sorted(event.id for event in found if event.id < 0) == list(range(-3_000, 0))
    check_versions(server, table, [event for event in found if event.id >= 0], in_order=False)
    assert len(list(histories.glob("*.jsonl"))) == 1
    assert not list((histories.parent / "snapshots").glob("*"))


@pytest.mark.parametrize("point", ["copying", "snapshot.before", "replacement.after", "snapshot.after", "delta.after"])
def test_a_run_that_is_killed_around_its_snapshot_goes_on_with_one(
    server: PostgresServer, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    import psycopg

    histories = write_flow(server, table, tmp_path)
    fill(server, table, 500)
    crashes = Crashes(tmp_path / "crashes")
    if point != "copying":
        crashes.arm(Kill(point, whole_run=True))
        monkeypatch.setenv("HEADWAY_CRASHPOINTS", str(crashes.folder))
    with psycopg.connect(server.dsn) as other:
        if point == "copying":
            other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        run = Started(tmp_path, "flow.py", "--epoch", "50ms", "--key-groups", 6, "--workers", 2, "--follow")
        crashes.began(run.pid)
        try:
            if point == "copying":
                drafts = histories.parent / "snapshots"
                await_true(lambda: not is_alive(run.pid) or (drafts.is_dir() and any(drafts.iterdir())), "a draft")
                run.check_running()
                run.kill([run.pid, *run.workers()])
            run.outcome()
        finally:
            run.end()
    is_kept = len(list(histories.glob("*.snapshot.json"))) == 1
    assert is_kept == (point in ("snapshot.after", "delta.after")), "it is there before it is whole, or is not kept"
    crashes.arm(None)
    server.query(f"DELETE FROM {table} WHERE id <= -400")
    Chaos(tmp_path, chance_of(point)).finish("--drain")
    found = seen_in(tmp_path)
    there = [event.id for event in found if not event.deleted]
    assert sorted(there) == list(range(-500 if is_kept else -399, 0)), "the table was copied again"
    assert sorted(event.id for event in found if event.deleted) == (list(range(-500, -399)) if is_kept else [])
    assert len(list(histories.glob("*.jsonl"))) == 1
    assert not list((histories.parent / "snapshots").glob("*")), "a draft is left"


def test_a_snapshot_that_is_lost_or_damaged_ends_the_run(server: PostgresServer, table: str, tmp_path: Path) -> None:
    fill(server, table, 100)
    given = given_of(server, table).within(tmp_path)
    before, halfway = read_on(given, table, None, most=10)
    found, behind = read_on(given, table, halfway)
    assert len(before) + len(found) == 100 and found
    kept = tmp_path / "histories"
    [known], [rows] = kept.glob("*.snapshot.json"), kept.glob("*.jsonl")
    whole = rows.read_bytes()
    for damaged in (whole[:-1], whole.replace(b'"n":0', b'"n":1', 1), b""):
        rows.write_bytes(damaged)
        for position in (halfway, None):
            with pytest.raises(InputError, match=r"is damaged: expected .* restore the whole state directory"):
                read_on(given, table, position)
    rows.unlink()
    with pytest.raises(InputError, match=r"cannot be read: it is gone; restore the whole state directory"):
        read_on(given, table, halfway)
    known.write_text("{")
    with pytest.raises(InputError, match=r"which says what is in a snapshot of .*, cannot be read"):
        read_on(given, table, halfway)
    known.unlink()
    with pytest.raises(InputError, match=r"in which the flow stands, .*, is lost: .* has none"):
        read_on(given, table, halfway)
    assert len(read_on(given, table, None)[0]) == 100
    with pytest.raises(InputError, match=r"in which the flow stands, .*, is lost: .* has .* in its place"):
        read_on(given, table, halfway)
    shutil.rmtree(kept)
    assert read_on(given, table, behind)[0] == [], "it is needed no more"


def test_of_two_that_make_a_snapshot_the_first_one_counts(tmp_path: Path) -> None:
    ours, theirs = Snapshots("a table", tmp_path), Snapshots("a table", tmp_path)
    drafts = [one.draft() for one in (ours, theirs)]
    for number, draft in enumerate(drafts):
        draft.add([b'{"n": %d}' % number])
    first = ours.keep(drafts[0], {"seam": "1:1:"})
    assert theirs.keep(drafts[1], {"seam": "2:2:"}) == first
    for draft in drafts:
        draft.discard()
    ours.check(first)
    assert sorted(os.listdir(tmp_path / "histories")) == sorted(
        [Path(ours.rows_of(first)).name, Path(ours.rows_of(first)).name.split(".")[0] + ".snapshot.json"]
    )
    assert not os.listdir(tmp_path / "snapshots")


def test_a_disk_that_is_full_is_told(
    server: PostgresServer, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(server, table, 10)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"a snapshot of postgres table .* No space left on device; free some space"):
        read_on(given_of(server, table).within(tmp_path), table, None)
    monkeypatch.undo()
    assert not os.listdir(tmp_path / "snapshots")
    assert len(read_on(given_of(server, table).within(tmp_path), table, None)[0]) == 10


def test_a_savepoint_keeps_the_snapshot(server: PostgresServer, table: str, tmp_path: Path) -> None:
    fill(server, table, 30)

    def seen(folder: str) -> list[Any]:
        flow, found = hw.Flow("accounts"), list[Any]()
        source = flow.source("accounts", Account, given_of(server, table), time="updated_at", out_of_order="1h")
        source.key_by("id").aggregate("changes", count=hw.count(), n=hw.sum("n")).to("found", hw.to_list(found))
        hw.run(flow, state=tmp_path / folder, drain=folder == "restored")
        return found

    assert seen("one") == [], "time has not come so far"
    create_savepoint(StateDirectory(tmp_path / "one"), "a")
    server.query(f"UPDATE {table} SET n = 5 WHERE id = -7")
    (tmp_path / "restored").mkdir()
    restore_savepoint(Shelf(tmp_path / "one").path("a"), StateDirectory(tmp_path / "restored"))
    shutil.rmtree(tmp_path / "one")
    found = seen("restored")
    assert len(found) == 31
    assert sorted(row["n"] for row in found if row["count"] == 2) == [5], found
