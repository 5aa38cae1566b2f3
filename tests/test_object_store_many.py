"""`hw.object_store` with very many objects: files that are open are bounded, and nothing is looked through again."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import await_true

import headway as hw
from headway.connectors.base import PartitionReader
from headway.connectors.objects import copies
from headway.connectors.objects import session as session_module
from headway.types.decoding import LineCodec

pytest.importorskip("obstore", reason="obstore is not installed: pip install 'headway[objects]'")
CODEC: LineCodec[Any] = LineCodec(hw.Json)
LINES = 12


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def put(store: Path, number: int) -> None:
    lines = "".join(f'{{"n": {number * LINES + line}}}\n' for line in range(LINES))
    (store / f"{number}.jsonl.new").write_text(lines)
    (store / f"{number}.jsonl.new").rename(store / f"{number}.jsonl")


def given(store: Path, **options: Any) -> Any:
    return hw.object_store(f"file://{store}", match="*.jsonl", **options).within(store.parent / "state")


def copies_of(store: Path) -> list[str]:
    return [name for _, _, names in os.walk(store.parent / "state") for name in names]


def open_below(folder: Path) -> int:
    """How many files of a folder this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith(str(folder))
        except OSError:  # It was that of the listing.
            continue
    return found


def taken(reader: PartitionReader, found: list[int]) -> bool:
    """Read some lines; whether there were some."""
    chunk = reader.read(40)
    if chunk is None:
        return False
    found += [event["n"] for event in chunk.decode(CODEC).events]
    return True


def take(reader: PartitionReader, found: list[int], count: int) -> None:
    """Read until there are so many."""

    def are_all() -> bool:
        while taken(reader, found):
            pass
        return len(found) >= count

    await_true(are_all, f"{count} records")


@pytest.mark.parametrize("kind", ["by turns", "one after the other"])
def test_two_thousand_objects(store: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """By turns, as their times would have it if they overlapped; all of them are half read then, and few are open."""
    total, most = 2_000, 50
    monkeypatch.setattr(session_module, "open_most", lambda: most)
    for number in range(total):
        put(store, number)
    found: list[list[int]] = [[] for _ in range(total)]
    with closing(given(store).session()) as session, ExitStack() as closings:
        names = session.partitions()
        assert open_below(store.parent) == 0
        readers = [session.open(name, None, follow=False) for name in names]
        for reader in readers:
            closings.callback(reader.close)
        assert copies_of(store) == [], "what is not read is not copied"
        left, seen = dict(enumerate(readers)), 0

        def over() -> bool:
            nonlocal seen
            for number, reader in list(left.items()):
                while taken(reader, found[number]) and kind != "by turns":
                    pass
                if reader.at_end:
                    del left[number]
                if number % 100 == 0:
                    seen = max(seen, open_below(store.parent))
            return not left

        await_true(over, "the end of all")
        assert 0 < seen <= most + 2 * 3, "the others are those that are being copied, from one file to the other"
        assert len(session.open_copies) == 0 and copies_of(store) == []
    assert names == [f"{number}.jsonl" for number in range(total)]
    assert found == [list(range(number * LINES, number * LINES + LINES)) for number in range(total)]


class Counted(dict[str, Any]):
    """A listing that counts how often it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[str]:
        type(self).times += 1
        return super().__iter__()


class Looked(list[str]):
    """Names that count how often one is looked for."""

    times = 0

    def index(self, *given: Any) -> int:
        type(self).times += 1
        return super().index(*given)


def test_one_log_looks_at_nothing_twice(store: Path) -> None:
    total = 300
    for number in range(total):
        put(store, number)
    with closing(given(store, one_log=True, poll="1h").session()) as session:
        session.partitions()
        session.objects = Counted(session.objects)
        with closing(session.open("objects", None, follow=True)) as reader:
            reader._names = Looked(reader._names)
            Counted.times = Looked.times = 0
            found: list[int] = []
            take(reader, found, total * LINES)
            for _ in range(100):
                assert not taken(reader, found)
            assert (Counted.times, Looked.times) == (0, 0)
            assert reader.position()["count"] == total
    assert found == list(range(total * LINES))


def test_a_copy_that_was_made_too_early_is_removed(store: Path) -> None:
    put(store, 1)
    put(store, 3)
    with closing(given(store, one_log=True, poll="100ms").session()) as session:
        session.partitions()
        with closing(session.open("objects", None, follow=True)) as reader:
            found: list[int] = []
            await_true(lambda: taken(reader, found), "the first lines")
            await_true(lambda: any(name.endswith("-3.jsonl") for name in copies_of(store)), "the copy of the next")
            put(store, 2)
            await_true(lambda: len(session.objects) == 3, "a listing")
            take(reader, found, 3 * LINES)
            assert found == list(range(LINES, 4 * LINES))
            await_true(lambda: not taken(reader, found) and copies_of(store) == [], "that no copy is left")


def test_a_reader_that_is_closed_leaves_no_copy(store: Path) -> None:
    for number in range(4):
        put(store, number)
    with closing(given(store).session()) as session:
        readers = [session.open(name, None, follow=False) for name in session.partitions()]
        for reader in readers:
            taken(reader, [])
        for reader in readers:
            reader.close()
        await_true(lambda: copies_of(store) == [] and session._copying._work_queue.empty(), "that no copy is left")
        assert open_below(store.parent) == 0


def test_copies_leave_files_for_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed, most in ((20, 32), (1_024, 256), (1 << 20, 2_000), (-1, 2_000)):
        monkeypatch.setattr("resource.getrlimit", lambda _, allowed=allowed: (allowed, allowed))
        assert copies.open_most() == most


@pytest.mark.parametrize("kind", ["jsonl.gz", "csv", "parquet"])
def test_copies_that_are_put_away_go_on_where_they_were(
    store: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    class Row(hw.Event):
        n: int

    monkeypatch.setattr(session_module, "open_most", lambda: 3)
    for number in range(10):
        rows = range(number * LINES, number * LINES + LINES)
        path = store / f"{number}.{kind}"
        if kind == "csv":
            path.write_text("n\n" + "".join(f"{n}\n" for n in rows))
        elif kind == "parquet":
            parquet = pytest.importorskip("pyarrow.parquet")
            pa = pytest.importorskip("pyarrow")
            parquet.write_table(pa.table({"n": rows}), path, row_group_size=5)
        else:
            path.write_bytes(gzip.compress("".join(f'{{"n": {n}}}\n' for n in rows).encode()))
    format_of = {"jsonl.gz": "json"}.get(kind, kind)
    whole = hw.object_store(f"file://{store}", format=format_of)
    codec = whole.format.decoder(Row)
    found: dict[str, list[int]] = {}
    with closing(whole.session()) as session:
        opened = session.open_copies  # type: ignore[attr-defined]
        readers = {name: session.open(name, None, follow=False) for name in session.partitions()}

        def are_over() -> bool:
            for name, reader in readers.items():
                chunk = reader.read(10)
                if chunk is not None:
                    found.setdefault(name, []).extend(event.n for event in chunk.decode(codec).events)
                assert len(opened) <= 3
            return all(reader.at_end for reader in readers.values())

        await_true(are_over, "the end of all")
        for reader in readers.values():
            reader.close()
    assert found == {f"{n}.{kind}": list(range(n * LINES, n * LINES + LINES)) for n in range(10)}
