"""SQLite as a target when things break, and when several write to one file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.targets_harness import deliver, deliver_with_kills, delivery_of, outcomes, run, with_target

import headway as hw
from headway.errors import UsageError
from headway.targets.base import Outcome, Target

DONE, RETRY = Outcome.DONE, Outcome.RETRY
AUDITED = """
CREATE TABLE audited (id TEXT PRIMARY KEY, type TEXT, subject TEXT, time TEXT, data TEXT, source TEXT, sequence TEXT);
CREATE TABLE audit (place INTEGER PRIMARY KEY, number INTEGER);
CREATE TRIGGER note BEFORE INSERT ON audited BEGIN INSERT INTO audit (number) VALUES (new.data ->> 'number'); END;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file whose table notes each insertion in another one, which has no key that would hide repeats."""
    found = tmp_path / "shop.db"
    with closing(sqlite3.connect(found)) as connection:
        connection.executescript(AUDITED)
    return found


def noted(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM audit ORDER BY place")]


@pytest.mark.parametrize("total", [1_200, pytest.param(20_000, marks=pytest.mark.soak)])
def test_a_process_that_is_killed_at_any_moment(path: Path, tmp_path: Path, total: int) -> None:
    deliver_with_kills("sqlite", str(path), tmp_path / "acknowledged", total)
    assert noted(path) == list(range(total))


def test_cancelled_at_any_step(path: Path) -> None:
    async def all_of(opened: Target) -> None:
        for steps in range(20):
            batch = [delivery_of(number) for number in range(steps * 3, steps * 3 + 3)]
            task = asyncio.ensure_future(opened.deliver(batch))
            for _ in range(steps % 7):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            answers = await opened.deliver(batch)
            # What interrupts the one before may interrupt this one too.
            while outcomes(answers) != [DONE] * 3:
                assert set(outcomes(answers)) <= {DONE, RETRY}
                answers = await opened.deliver(batch)

    with_target(hw.sqlite(path, "audited"), all_of)
    assert noted(path) == list(range(60))


def test_several_workers_write_to_one_file(path: Path) -> None:
    """Each has places of its own; who finds the file busy waits, and none of it is lost."""

    async def worker(place: str, numbers: range) -> None:
        target = hw.sqlite(path, "audited")
        await target.open()
        for number in numbers:
            answers: Sequence[hw.Answer] = []
            while outcomes(answers) != [DONE]:
                answers = await target.deliver([delivery_of(number, {"number": number}, place=place)])
        await target.close()

    async def both() -> None:
        await asyncio.gather(*(worker(f"place-{each}", range(each * 100, each * 100 + 40)) for each in range(3)))

    run(both())
    found = noted(path)
    assert sorted(found) == [each * 100 + number for each in range(3) for number in range(40)]
    for each in range(3):
        own = [number for number in found if number // 100 == each]
        assert own == sorted(own)


def test_a_file_that_somebody_holds(path: Path) -> None:
    """Whoever has it for too long is told of, and then it goes on."""
    target = hw.sqlite(path, "audited", timeout="100ms")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        async def twice(opened: Target) -> list[hw.Answer]:
            before = await opened.deliver([delivery_of(0)])
            other.execute("ROLLBACK")
            return [*before, *await opened.deliver([delivery_of(0)])]

        before, after = with_target(target, twice)
    assert (before.outcome, after.outcome) == (RETRY, DONE) and "database is locked" in before.reason


def test_files_that_cannot_be(tmp_path: Path) -> None:
    for wrong in ("", ":memory:", "file:shop.db?mode=memory"):
        with pytest.raises(UsageError, match="is no path of a file that lasts"):
            hw.sqlite(wrong, "carts")
    with pytest.raises(UsageError, match="there is no directory"):
        hw.sqlite(tmp_path / "none" / "shop.db", "carts").check()
    (tmp_path / "text.db").write_text("no database, and longer than a header of one would be" * 10)
    [answer] = deliver(hw.sqlite(tmp_path / "text.db", "carts"), [delivery_of(0)])
    assert answer.outcome is RETRY and "file is not a database" in answer.reason
