"""What a start reads of the state: as little of much as of little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.test_state_stage import open_stage, put

from headway.state.database import Database
from headway.state.group import GroupStore


def kept(path: Path, keys: int) -> Path:
    """A directory with a row, a timer and a waiting event for each of so many keys; the last change is pending."""
    group, stage = open_stage(path)
    with group:
        stage.resume(None)
        for number in range(keys):
            put(stage, f"k{number}", number)
            stage.tables[0].set_timer(stage.tables[0].fetch(f"k{number}"), "idle", number)
            stage.waiting.add(0, "p", [(number, f"k{number}", number)])
        stage.commit(1)
        stage.settle()
        put(stage, "last", 1)
        stage.commit(2)
    return path


def read_by_a_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many values a start reads, and how many rows it then knows of."""
    count = [0]
    get, scan = Database.get, Database.scan

    def counted_get(self: Database, family: str, key: bytes) -> bytes | None:
        count[0] += 1
        return get(self, family, key)

    def counted_scan(self: Database, family: str, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        for pair in scan(self, family, start, end):
            count[0] += 1
            yield pair

    with monkeypatch.context() as patched:
        patched.setattr(Database, "get", counted_get)
        patched.setattr(Database, "scan", counted_scan)
        group, stage = open_stage(path)
        with group:
            stage.resume(2)
            read = count[0]
            return read, stage.row_count


def test_a_start_reads_as_much_of_many_keys_as_of_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (read_by_a_start(kept(tmp_path / str(keys), keys), monkeypatch) for keys in (3, 3_000))
    assert (few[1], many[1]) == (4, 3_001), "they know how much there is"
    assert few[0] == many[0]
    assert 0 < many[0] < 30, "and something was counted"


def test_what_is_counted_is_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that reads all rows would be seen."""
    resume = GroupStore.stage

    def greedy(self: GroupStore, *arguments: object) -> object:
        list(self._database.scan("rows", b"", b"\xff"))
        return resume(self, *arguments)  # type: ignore[arg-type]

    path = kept(tmp_path, 300)
    monkeypatch.setattr(GroupStore, "stage", greedy)
    assert read_by_a_start(path, monkeypatch)[0] > 300
