"""`hw.object_store`: objects as partitions or as one log, on a directory and on a server of S3."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import Started, await_true

import headway as hw
from headway.connectors.base import PartitionReader
from headway.errors import InputError, UsageError
from headway.testing import check_transport
from headway.types.decoding import LineCodec

obstore = pytest.importorskip("obstore", reason="obstore is not installed: pip install 'headway[objects]'")
NAMES = itertools.count()


@dataclass
class Place:
    """A prefix of a store, into which the test puts objects."""

    url: str
    options: dict[str, str] = field(default_factory=dict)

    def input(self, **given: Any) -> Any:
        return hw.object_store(self.url, options=self.options, **given)

    def put(self, name: str, data: bytes) -> None:
        from obstore.store import from_url

        config: Any = self.options or None
        client: Any = {"allow_http": True} if self.options else None
        obstore.put(from_url(self.url, config=config, client_options=client), name, data)

    def delete(self, name: str) -> None:
        from obstore.store import from_url

        config: Any = self.options or None
        client: Any = {"allow_http": True} if self.options else None
        obstore.delete(from_url(self.url, config=config, client_options=client), name)


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    pytest.importorskip("moto", reason="moto is not installed: make setup")
    from tests.backups_harness import s3_server

    with s3_server() as values:
        yield {
            "aws_access_key_id": values["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": values["AWS_SECRET_ACCESS_KEY"],
            "aws_region": values["AWS_REGION"],
            "aws_endpoint": values["AWS_ENDPOINT_URL"],
        }


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "file":
        (tmp_path / "store").mkdir()
        return Place(f"file://{tmp_path / 'store'}")
    return Place(f"s3://kept/t{next(NAMES)}", request.getfixturevalue("s3"))


def lines(first: int, count: int) -> bytes:
    return b"".join(b'{"n": %d}\n' % n for n in range(first, first + count))


def numbers(first: int, count: int) -> list[dict[str, int]]:
    return [{"n": n} for n in range(first, first + count)]


def test_it_keeps_the_contract_object_by_object(place: Place) -> None:
    place.put("a/1.jsonl", lines(0, 700))
    place.put("a/2.jsonl.gz", gzip.compress(lines(700, 30)))
    place.put("b.jsonl", lines(800, 1))
    place.put("_open/x.jsonl", b"no")
    expected = {"a/1.jsonl": numbers(0, 700), "a/2.jsonl.gz": numbers(700, 30), "b.jsonl": numbers(800, 1)}

    def new_partition() -> str:
        place.put("c.jsonl", lines(900, 1))
        return "c.jsonl"

    check_transport(place.input(poll="100ms"), hw.Json, expected, new_partition=new_partition)


def test_it_keeps_the_contract_as_one_log(place: Place) -> None:
    for day in (9, 10, 11):
        place.put(f"day-{day}.jsonl", lines(day * 100, 60))
    expected = [each for day in (9, 10, 11) for each in numbers(day * 100, 60)]
    more = itertools.count(12)

    def append(partition: str) -> dict[str, int]:
        day = next(more)
        place.put(f"day-{day}.jsonl", lines(day * 100, 1))
        return {"n": day * 100}

    check_transport(place.input(one_log=True, poll="100ms"), hw.Json, {"objects": expected}, append=append)


def drained(reader: PartitionReader, until: Callable[[], bool] = lambda: False) -> list[int]:
    """The numbers that come, until the reader is at its end, or `until` says so."""
    found: list[int] = []
    codec: LineCodec[Any] = LineCodec(hw.Json)

    def over() -> bool:
        while (chunk := reader.read(200)) is not None:
            found.extend(event["n"] for event in chunk.decode(codec).events)
            if until():
                return True
        return reader.at_end or until()

    await_true(over, "the end")
    return found


def test_formats(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    place = Place(f"file://{tmp_path}")

    class Row(hw.Event):
        n: int
        text: str = ""

    for part in range(3):
        place.put(f"{part}.csv", b"n,text\n" + b"".join(b"%d,x\n" % n for n in range(part * 10, part * 10 + 10)))
        table = pa.table({"n": range(part * 10, part * 10 + 10), "text": ["x"] * 10})
        parquet.write_table(table, tmp_path / f"{part}.parquet", row_group_size=4)
    rows = [Row(n, "x") for n in range(30)]
    for kind, match in (("csv", "*.csv"), ("parquet", "*.parquet")):
        whole = hw.object_store(place.url, match=match, format=kind, one_log=True)
        check_transport(whole, Row, {"objects": rows})
        parts = hw.object_store(place.url, match=match, format=kind)
        check_transport(parts, Row, {f"{part}.{kind}": rows[part * 10 : part * 10 + 10] for part in range(3)})


def test_an_object_that_was_changed_is_refused_where_it_was_begun_and_told_where_it_was_read(place: Place) -> None:
    place.put("1.jsonl", lines(0, 50))
    place.put("2.jsonl", lines(50, 50))
    given = place.input(one_log=True, poll="100ms")
    with closing(given.session()) as session:
        session.partitions()
        reader = session.open("objects", None, follow=False)
        some: list[int] = []
        codec: LineCodec[Any] = LineCodec(hw.Json)

        def in_the_second() -> bool:
            chunk = reader.read(100)
            some.extend([] if chunk is None else [event["n"] for event in chunk.decode(codec).events])
            return bool(len(some) > 60)

        await_true(in_the_second, "sixty records")
        position = json.loads(json.dumps(reader.position()))
        place.put("1.jsonl", lines(1_000, 50))
        told: list[str] = []

        def is_told() -> bool:
            session.notices(told.append)
            return bool(told)

        await_true(is_told, "a notice")
        assert "1.jsonl was changed after it was read; it is not read again" in told[0]
        reader.close()
    with closing(given.session()) as session:
        assert some + drained(session.open("objects", position, follow=False)) == list(range(100))
    place.put("2.jsonl", lines(50, 51))
    with (
        closing(given.session()) as session,
        pytest.raises(InputError, match=r"2\.jsonl of .* was changed while it was"),
    ):
        drained(session.open("objects", position, follow=False))


def test_objects_may_go_once_they_are_read_and_may_not_come_before_the_last(place: Place) -> None:
    for day in (1, 2, 4):
        place.put(f"day-{day}.jsonl", lines(day * 10, 10))
    given = place.input(one_log=True)
    with closing(given.session()) as session:
        reader = session.open("objects", None, follow=False)
        assert len(drained(reader)) == 30
        position = reader.position()
        reader.close()
    place.delete("day-1.jsonl")
    place.delete("day-4.jsonl")
    place.put("day-5.jsonl", lines(50, 10))
    with closing(given.session()) as session:
        assert drained(session.open("objects", position, follow=False)) == list(range(50, 60))
    place.put("day-1.jsonl", lines(10, 10))
    place.put("day-3.jsonl", lines(30, 10))
    with closing(given.session()) as session, pytest.raises(InputError, match="may only be added behind the last one"):
        session.open("objects", position, follow=False)


def test_one_that_comes_before_the_last_is_refused_while_following(place: Place) -> None:
    place.put("2.jsonl", lines(0, 3))
    with closing(place.input(one_log=True, poll="100ms").session()) as session:
        session.partitions()
        reader = session.open("objects", None, follow=True)
        found: list[int] = []
        found += drained(reader, lambda: len(found) == 3 or reader.position().get("over", False))
        place.put("1.jsonl", lines(10, 3))
        with pytest.raises(InputError, match=r"up to 2\.jsonl, and 1\.jsonl has come before it"):
            drained(reader)
        reader.close()


def test_one_that_is_gone_before_it_was_read_is_told(place: Place) -> None:
    place.put("1.jsonl", lines(0, 3))
    with closing(place.input().session()) as session:
        session.partitions()
        place.delete("1.jsonl")
        with pytest.raises(InputError, match=r"1\.jsonl of .* is gone before it was read"):
            drained(session.open("1.jsonl", None, follow=False))


def test_few_copies_are_there_and_none_is_left(tmp_path: Path) -> None:
    place = Place(f"file://{tmp_path / 'store'}")
    (tmp_path / "store").mkdir()
    for day in range(20):
        place.put(f"{day}.jsonl", lines(day, 1))
    given = place.input(one_log=True).within(tmp_path / "state")
    given.prepare(1)
    with closing(given.session()) as session:
        reader = session.open("objects", None, follow=False)
        most = 0
        codec: LineCodec[Any] = LineCodec(hw.Json)
        found: list[int] = []

        def over() -> bool:
            nonlocal most
            chunk = reader.read(100)
            found.extend([] if chunk is None else [event["n"] for event in chunk.decode(codec).events])
            most = max(most, sum(len(files) for _, _, files in os.walk(tmp_path / "state" / "objects")))
            return bool(reader.at_end)

        await_true(over, "the end")
        reader.close()
    assert found == list(range(20)) and most <= 2
    assert os.listdir(tmp_path / "state" / "objects") == []


FLOW = """
import headway as hw

flow = hw.Flow("objects")
steps = flow.source("steps", hw.Json, hw.object_store({url!r}, {given}), time="at", out_of_order="1s")
steps.key_by("user").aggregate("seen", count=hw.count(), last=hw.last("n")).to("out", hw.to_jsonl("out.jsonl"))
"""


def kill_behind(directory: Path, lines_there: int, *options: str) -> None:
    """Run, and kill it when so many lines are out."""
    started, out = Started(directory, "flow.py", "--quiet", "--epoch", "20ms", *options), directory / "out.jsonl"
    try:
        await_true(lambda: out.exists() and out.read_bytes().count(b"\n") > lines_there, "lines")
    finally:
        started.end()


@pytest.mark.parametrize("given", ["one_log=True", ""])
def test_a_run_that_is_killed_gives_what_an_undisturbed_one_gives(tmp_path: Path, given: str) -> None:
    place = Place(f"file://{tmp_path / 'store'}")
    (tmp_path / "store").mkdir()
    for part in range(6):
        mine = range(part * 500, part * 500 + 500) if given else range(part, 3_000, 6)
        steps = [{"at": n * 20, "user": f"u{n % 7}", "n": n} for n in mine]
        place.put(f"{part}.jsonl.gz", gzip.compress("".join(json.dumps(one) + "\n" for one in steps).encode()))
    results = []
    for workers in (1, 2, 0):
        directory = tmp_path / f"run-{workers}"
        directory.mkdir()
        (directory / "flow.py").write_text(FLOW.format(url=place.url, given=given))
        if not workers:  # Killed some times before it comes to its end.
            for lines_there in (200, 900, 1_800):
                kill_behind(directory, lines_there, *(["--follow"] if given else []))
        command = [sys.executable, "-m", "headway", "run", "flow.py", "--quiet", "--drain", "--epoch", "20ms"]
        command += ["--workers", str(workers or 1)]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        results.append((directory / "out.jsonl").read_bytes())
    assert results[0].count(b"\n") == 3_000
    assert results[1] == results[0] and results[2] == results[0]


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    options = {"aws_access_key_id": "a", "aws_secret_access_key": "swordfish", "aws_region": "x"}
    given = hw.object_store("s3://kept/x", options={**options, "aws_endpoint": "http://127.0.0.1:1"}, poll="100ms")
    assert "swordfish" not in repr(given) + given.describe()
    with closing(given.session()) as session, pytest.raises(InputError, match="cannot be listed") as raised:
        session.partitions()
    assert "swordfish" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"url": "orders"}, "expected the URL of a store"),
        ({"url": "s3://key:swordfish@bucket"}, "credentials are given by options="),
        ({"url": "s3://bucket", "match": ""}, "a pattern of names"),
        ({"url": "s3://bucket", "poll": "1ms"}, "100 ms or more"),
        ({"url": "s3://bucket", "format": "msgpack"}, "may have line ends"),
    ],
)
def test_options_that_cannot_be(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as raised:
        hw.object_store(**arguments)
    assert "swordfish" not in str(raised.value)
