"""A history and a live log behind it give what one log gives, wherever the seam is and the run was stopped."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any, Optional

import pytest
from tests.kills_harness import chance_of

import headway as hw
from headway.connectors.base import PartitionReader
from headway.errors import InputError, UsageError
from headway.runtime.directory import StateDirectory
from headway.savepoints.create import create_savepoint
from headway.savepoints.restore import restore_savepoint
from headway.savepoints.shelf import Shelf
from headway.testing import check_transport

Line = dict[str, Any]


class Step(hw.Event):
    at: int
    user: str
    kind: str
    n: int


class Numbered(hw.Event):
    n: int


def log_of(chance: random.Random, count: int = 300) -> list[Line]:
    at, lines = 0, []
    for n in range(count):
        at += chance.randrange(0, 400)
        kind = chance.choice(["add", "add", "view", "checkout"])
        time_ms = max(0, at - chance.randrange(0, 900))
        lines.append({"at": time_ms, "user": f"u{chance.randrange(8)}", "kind": kind, "n": n})
    return lines


def write(path: Path, lines: list[Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def run(given: Any, folder: Path, **options: Any) -> dict[str, list[bytes]]:
    """Run a flow on an input; the lines of its outputs, in no order where they come straight from the source."""
    folder.mkdir(exist_ok=True)
    flow = hw.Flow("steps")
    steps = flow.source("steps", Step, given, time="at", out_of_order="200ms")
    carts = steps.filter(hw.where(kind=("add", "checkout"))).key_by("user")
    left = carts.absence("left", start=hw.where(kind="add"), end=hw.where(kind="checkout"), within="2s")
    left.trigger("cart.left", hw.to_jsonl(folder / "left.jsonl"))
    carts.window("counted", hw.tumbling("5s"), steps=hw.count(), n=hw.sum("n")).to(
        "counts", hw.to_jsonl(folder / "counts.jsonl")
    )
    steps.late.to("late", hw.to_jsonl(folder / "late.jsonl"))
    hw.run(flow, state=folder / "state", **options)
    found = {path.name: path.read_bytes().splitlines() for path in sorted(folder.glob("*.jsonl"))}
    found["late.jsonl"].sort()
    return found


@pytest.mark.parametrize(
    ("partitions", "form", "overlap"), [(1, "lines", 0), (3, "lines", 25), (1, "parquet", 25), (3, "parquet", 0)]
)
def test_the_same_triggers_as_from_one_log(tmp_path: Path, partitions: int, form: str, overlap: int) -> None:
    """One run over one log; and three over a history and a live log that grows, with the seam anywhere."""
    chance = chance_of("then")
    logs = {f"part-{part + 9}": log_of(chance) for part in range(partitions)}
    for name, lines in logs.items():
        write(tmp_path / "whole" / f"{name}.jsonl", lines)
    expected = run(hw.files(tmp_path / "whole"), tmp_path / "one", drain=True)
    assert all(len(lines) > 5 for lines in expected.values())
    seams = {name: chance.randrange(overlap, 250) for name in logs}
    history: Any = hw.files(tmp_path / "history")
    for name, lines in logs.items():
        if form == "lines":
            write(tmp_path / "history" / f"{name}.jsonl", lines[: seams[name]])
        else:
            pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            (tmp_path / "history").mkdir(exist_ok=True)
            table = pa.Table.from_pylist(lines[: seams[name]], pa.schema(SCHEMA(pa)))
            parquet.write_table(table, tmp_path / "history" / f"{name}.parquet", row_group_size=40)
            history = hw.parquet(tmp_path / "history")
    # With an overlap the live log has all records, and without one those behind the history.
    number: Optional[str] = "n" if overlap else None
    given = hw.then(history, hw.files(tmp_path / "live"), number=number)
    for stage in range(3):
        for name, lines in logs.items():
            first = 0 if overlap else seams[name]
            until = len(lines) if stage == 2 else first + (len(lines) - first) * stage // 3
            write(tmp_path / "live" / f"{name}.jsonl", lines[first:until])
        found = run(given, tmp_path / "two", drain=stage == 2)
    assert found == expected


def SCHEMA(pa: Any) -> dict[str, Any]:  # noqa: N802 - as constant as a library that may be missing lets it be.
    return {"at": pa.int64(), "user": pa.string(), "kind": pa.string(), "n": pa.int64()}


@pytest.mark.parametrize("number", [None, "n"])
def test_the_contract_of_both_as_one(tmp_path: Path, number: Optional[str]) -> None:
    lines = [{"n": n} for n in range(12)]
    write(tmp_path / "history" / "a.jsonl", lines[:7])
    write(tmp_path / "live" / "a.jsonl", lines[0 if number else 7 :])
    given = hw.then(hw.files(tmp_path / "history"), hw.files(tmp_path / "live"), number=number)
    count = len(lines)

    def append(name: str) -> Numbered:
        nonlocal count
        with (tmp_path / "live" / name).open("a") as file:
            file.write(json.dumps({"n": count}) + "\n")
        count += 1
        return Numbered(count - 1)

    check_transport(given, Numbered, {"a.jsonl": [Numbered(n) for n in range(12)]}, append=append)


def test_each_side_has_its_format_and_numbers_go_on_over_the_seam(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("n\n0\n1\nx\n3\n")
    write(tmp_path / "new.jsonl", [{"n": 3}, {"n": 4}])
    given = hw.then(hw.files(tmp_path / "old.csv", format="csv"), hw.files(tmp_path / "new.jsonl"))
    decoder = given.format.decoder(Numbered)
    events: list[Any] = []
    numbers: list[int] = []
    bad: list[Any] = []
    with closing(given.open("new.jsonl", None, follow=False)) as reader:
        while (chunk := reader.read(1 << 16)) is not None:
            decoded = chunk.decode(decoder)
            events += decoded.events
            numbers += decoded.ordinals
            bad += decoded.bad
            assert all(chunk.record(number)[1] for number in decoded.ordinals)
    assert [event.n for event in events] == [0, 1, 3, 3, 4]
    assert numbers + [one.ordinal for one in bad] == [1, 2, 4, 5, 6, 3]
    assert decoder.decode_record(b'{"n": 5}') == Numbered(5), "what was set aside is put back in as either"


def test_partitions_that_cannot_be_paired_and_inputs_that_cannot_be_one_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "two" / f"{name}.jsonl", [{"n": 1}])
    write(tmp_path / "one" / "a.jsonl", [{"n": 2}])
    two, one = hw.files(tmp_path / "two"), hw.files(tmp_path / "one")
    with pytest.raises(InputError, match=r"history has 2 partitions, and the live log 1: expected no more"):
        hw.then(two, one).partitions()
    assert hw.then(one, two).partitions() == ["a.jsonl", "b.jsonl"], "one of the live log has no history"
    with pytest.raises(InputError, match="expected as many"):
        hw.then(one, hw.items({"a": [], "b": []}), number="n").partitions()
    given = hw.then(hw.items([{"m": 1}]), hw.items([]), number="n")
    with closing(given.open("items", None, follow=False)) as reader:
        chunk = reader.read(1)
        assert chunk is not None
        with pytest.raises(InputError, match="events of the history have no whole number there"):
            chunk.decode(given.format.decoder(hw.Json))
    for wrong in (1.0, True, "7", None):
        given = hw.then(hw.items([{"n": 0}, {"n": wrong}]), hw.items([]), number="n")
        with closing(given.open("items", None, follow=False)) as reader:
            chunk = reader.read(1 << 16)
            assert chunk is not None
            with pytest.raises(InputError, match=f"events of the history have no whole number there, but {wrong!r}:"):
                chunk.decode(given.format.decoder(hw.Json))
    for unusable in ("", 7):
        with pytest.raises(UsageError, match=f"number={unusable!r}"):
            hw.then(one, one, number=unusable)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is a log that the run writes itself"):
        hw.then(one, hw.http_source("/steps"))
    with pytest.raises(UsageError, match="expected an input"):
        hw.then("a.jsonl", one)  # type: ignore[arg-type]


def read_all(
    reader: PartitionReader, decoder: Any, max_bytes: int = 1 << 16
) -> tuple[list[int], list[tuple[int, bytes]]]:
    """The numbers of the events, and what cannot be decoded."""
    found: list[int] = []
    bad: list[tuple[int, bytes]] = []
    while (chunk := reader.read(max_bytes)) is not None:
        decoded = chunk.decode(decoder)
        found += [event.n for event in decoded.events]
        bad += [(one.ordinal, one.raw) for one in decoded.bad]
    return found, bad


def test_a_live_partition_that_comes_later_moves_no_history(tmp_path: Path) -> None:
    """Neither while the flow runs, nor between two runs; and a history that has been read may be gone."""
    write(tmp_path / "history" / "a.jsonl", [{"n": 0}, {"n": 1}])
    write(tmp_path / "live" / "b.jsonl", [{"n": 2}])
    state = tmp_path / "state"
    state.mkdir()
    given = hw.then(hw.files(tmp_path / "history"), hw.files(tmp_path / "live")).within(state)
    decoder = given.format.decoder(Numbered)
    with closing(given.session()) as session:
        assert session.partitions() == ["b.jsonl"]
        with closing(session.open("b.jsonl", None, follow=False)) as reader:
            chunk = reader.read(1)
            assert chunk is not None and chunk.decode(decoder).events[0] == Numbered(0)
            within_history = json.loads(json.dumps(reader.position()))
        write(tmp_path / "live" / "a.jsonl", [{"n": 3}])
        write(tmp_path / "history" / "0.jsonl", [{"n": 9}])
        assert session.partitions() == ["a.jsonl", "b.jsonl"]
        with closing(session.open("a.jsonl", None, follow=False)) as reader:
            assert read_all(reader, decoder) == ([3], [])
    with closing(given.session()) as session:
        assert session.partitions() == ["a.jsonl", "b.jsonl"]
        with closing(session.open("a.jsonl", None, follow=False)) as reader:
            assert read_all(reader, decoder) == ([3], [])
        with closing(session.open("b.jsonl", within_history, follow=False)) as reader:
            assert read_all(reader, decoder) == (list(range(within_history["count"], 3)), [])
            behind = reader.position()
    shutil.rmtree(tmp_path / "history")
    with closing(given.session()) as session:
        assert session.partitions() == ["a.jsonl", "b.jsonl"]
        with closing(session.open("b.jsonl", behind, follow=False)) as reader:
            assert read_all(reader, decoder) == ([], [])


@pytest.mark.parametrize("max_bytes", [1, 1 << 16])
def test_what_is_passed_over_brings_no_dead_letters_however_it_is_cut(tmp_path: Path, max_bytes: int) -> None:
    write(tmp_path / "history.jsonl", [{"n": n} for n in range(4)])
    (tmp_path / "live.jsonl").write_text("x\ny\n" + "".join(json.dumps({"n": n}) + "\n" for n in (2, 3, 4)) + "z\n")
    given = hw.then(hw.files(tmp_path / "history.jsonl"), hw.files(tmp_path / "live.jsonl"), number="n")
    with closing(given.open("live.jsonl", None, follow=False)) as reader:
        assert read_all(reader, given.format.decoder(Numbered), max_bytes) == ([0, 1, 2, 3, 4], [(5, b"z")])


def test_how_far_behind_it_is_says_the_log_that_is_read() -> None:
    given = hw.then(hw.items([{"n": 0}]), hw.items([{"n": 1}]))
    with closing(given.open("items", None, follow=False)) as reader:
        for _ in range(2):
            side = reader._live or reader._history  # type: ignore[attr-defined]
            assert (reader.behind, reader.has_more()) == (side.behind, side.has_more())
            reader.read(1)


def test_a_file_of_pairs_that_is_damaged_is_refused(tmp_path: Path) -> None:
    for folder in ("history", "live"):
        write(tmp_path / folder / "a.jsonl", [{"n": 1}])
    given = hw.then(hw.files(tmp_path / "history"), hw.files(tmp_path / "live")).within(tmp_path)
    with closing(given.session()) as session:
        session.partitions()
    [kept] = (tmp_path / "histories").iterdir()
    kept.write_text("{")
    with pytest.raises(InputError, match=r"cannot be read: .*restore the whole state directory"):
        given.partitions()


def test_a_savepoint_keeps_what_belongs_together(tmp_path: Path) -> None:
    """In a directory that goes on from it, a live partition that came in between gets no history of another."""
    lines = [{"at": 10_000 * n, "user": "ann", "kind": "add", "n": n} for n in range(6)]
    write(tmp_path / "history" / "b.jsonl", lines[:2])
    write(tmp_path / "live" / "b.jsonl", lines[2:4])
    given = hw.then(hw.files(tmp_path / "history"), hw.files(tmp_path / "live"))

    def counted(folder: str, **options: Any) -> Any:
        flow = hw.Flow("counted")
        steps = flow.source("steps", Step, given, time="at", out_of_order="1h")
        steps.to("out", hw.to_jsonl(tmp_path / f"{folder}.jsonl"))
        return hw.run(flow, state=tmp_path / folder, **options)

    counted("one")
    create_savepoint(StateDirectory(tmp_path / "one"), "a")
    (tmp_path / "two").mkdir()
    restore_savepoint(Shelf(tmp_path / "one").path("a"), StateDirectory(tmp_path / "two"), outputs="new")
    write(tmp_path / "live" / "a.jsonl", lines[4:])
    counted("two", drain=True)
    written = [line for name in ("one", "two") for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert sorted(json.loads(line)["n"] for line in written) == list(range(6))
