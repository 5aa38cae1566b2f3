"""`headway state scan`, `timers`, `stats`, `diff` and `export`, compared with all rows that a reader gives."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from headway.cli.main import main
from headway.state.queries import timers
from headway.state.reader import StateReader, StoredRow

FLOW = """
import headway as hw

class Kept(hw.State):
    clicks: int = 0
    page: str = ""
    pages: list[str] = []

class Count(hw.Operator[hw.Json, Kept]):
    def on_event(self, state, event, ctx):
        state.clicks += 1
        state.page = event["page"]
        state.pages = [*state.pages, event["page"]][-3:]
        ctx.timer("idle", event["at"] + event["idle"])
        if event["idle"] % 3 == 0:
            ctx.timer("other", event["at"] + 7 * event["idle"])
        if event["idle"] % 5 == 0:
            ctx.cancel("other")

    def on_timer(self, state, timer, ctx):
        pass

flow = hw.Flow("clicks")
clicks = flow.source("clicks", hw.Json, hw.files("clicks.jsonl"), time="at")
clicks.key_by("user").process("count", Count()).to("out", hw.to_list([]))
clicks.key_by("page").process("by-page", Count()).to("out-by-page", hw.to_list([]))
"""


def event(rng: Random, at: int) -> str:
    """Idle times go up and down, so that timers are moved both ways."""
    user, page = f"user{rng.randrange(40):02d}", f'p,{rng.randrange(9)}"é'
    return json.dumps({"user": user, "page": page, "at": at, "idle": rng.randrange(1, 9_000)}) + "\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("queries")
    (folder / "clicks.py").write_text(FLOW)
    rng = Random(7)
    lines = [event(rng, 10 * at) for at in range(800)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", sys.path[:])
        (folder / "clicks.jsonl").write_text("".join(lines[:500]))
        assert main(["run", "clicks.py", "--quiet", "--key-groups", "3"]) == 0
        assert main(["savepoint", "create", "clicks.py", "a"]) == 0
        (folder / "clicks.jsonl").write_text("".join(lines))
        assert main(["run", "clicks.py", "--quiet"]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", sys.path[:])


def lines(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> list[str]:
    capsys.readouterr()
    assert main(["state", *args]) == code
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def rows() -> Iterator[dict[str, list[StoredRow]]]:
    with StateReader(".headway/clicks") as reader:
        yield {operator: list(reader.rows(operator)) for operator in reader.operators()}


def test_timers_come_in_the_order_in_which_they_fire(rows: dict[str, list[StoredRow]]) -> None:
    expected = sorted(
        (due_ms, row.key, operator, name)
        for operator, found in rows.items()
        for row in found
        for name, due_ms in row.timers.items()
    )
    with StateReader(".headway/clicks") as reader:
        assert list(timers(reader, reader.operators())) == expected
        until_ms = expected[len(expected) // 2][0]
        assert list(timers(reader, reader.operators(), until_ms)) == [one for one in expected if one[0] <= until_ms]


def test_the_command_of_timers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = [json.loads(line) for line in lines(capsys, "timers", "clicks.py", "--json", "--limit", "0")]
    assert [one["due_ms"] for one in found] == sorted(one["due_ms"] for one in found)
    plain = lines(capsys, "timers", "clicks.py", "--operator", "count", "--limit", "2")
    assert [line.count("\t") for line in plain] == [3, 3]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert lines(capsys, "timers", "clicks.py", "--limit", "2")[0].split() == ["due", "operator", "key", "timer"]


def test_scan(capsys: pytest.CaptureFixture[str], rows: dict[str, list[StoredRow]]) -> None:
    keys = [json.loads(line)["key"] for line in lines(capsys, "scan", "clicks.py", "count", "--limit", "0")]
    assert keys == [row.key for row in rows["count"]]
    chosen = ["scan", "clicks.py", "count", "--from", "user07", "--to", "user2", "--limit", "0"]
    assert [json.loads(line)["key"] for line in lines(capsys, *chosen)] == [k for k in keys if "user07" <= k < "user2"]
    clicks = rows["count"][3].state["clicks"]
    same = ["scan", "clicks.py", "count", "--where", f"clicks={clicks}", "--limit", "0"]
    assert [json.loads(line)["state"]["clicks"] for line in lines(capsys, *same)] == [
        clicks for row in rows["count"] if row.state["clicks"] == clicks
    ]
    page = rows["count"][3].state["page"]
    assert lines(capsys, "scan", "clicks.py", "count", "--where", f"page={page}")
    assert not lines(capsys, "scan", "clicks.py", "count", "--where", "nothing=1")
    assert len(lines(capsys, "scan", "clicks.py", "count", "--limit", "3")) == 3
    assert main(["state", "scan", "clicks.py", "count", "--where", "clicks"]) == 2


def test_stats(capsys: pytest.CaptureFixture[str], rows: dict[str, list[StoredRow]]) -> None:
    found = {one["operator"]: one for one in map(json.loads, lines(capsys, "stats", "clicks.py", "--json"))}
    for operator, kept in rows.items():
        told = found[operator]
        assert (told["rows"], told["timers"]) == (len(kept), sum(len(row.timers) for row in kept))
        assert told["touched_last_ms"] == max(row.touched_ms for row in kept)
        assert told["fewest"] <= len(kept) / 3 <= told["most"]
        assert told["largest_bytes"] * told["rows"] >= told["bytes"] > 0
    assert len(lines(capsys, "stats", "clicks.py")) == 2


def test_diff(capsys: pytest.CaptureFixture[str], rows: dict[str, list[StoredRow]]) -> None:
    with StateReader(".headway/clicks/savepoints/a") as reader:
        before = {row.key: row for row in reader.rows("count")}
    after = {row.key: row for row in rows["count"]}
    expected = [
        key
        for key in sorted({*before, *after})
        if key not in before
        or key not in after
        or (before[key].state, before[key].timers) != (after[key].state, after[key].timers)
    ]
    arguments = ["diff", "clicks.py", "a", "--operator", "count", "--limit", "0"]
    found = [json.loads(line) for line in lines(capsys, *arguments, "--json", code=1)]
    assert [one["key"] for one in found] == expected
    assert all(one["after"]["state"] == after[one["key"]].state for one in found)
    assert lines(capsys, *arguments, code=1)[0] == f"count  {expected[0]}"
    assert lines(capsys, "diff", "clicks.py", "a", "a") == ["no row differs"]
    assert lines(capsys, "diff", "clicks.py", ".headway/clicks/savepoints/a", "a") == ["no row differs"]


def test_a_savepoint_is_asked_like_a_directory(capsys: pytest.CaptureFixture[str]) -> None:
    by_name = lines(capsys, "export", "clicks.py", "count", "--savepoint", "a")
    assert by_name == lines(capsys, "export", ".headway/clicks/savepoints/a", "count")
    assert by_name != lines(capsys, "export", "clicks.py", "count")


def test_export(capsys: pytest.CaptureFixture[str], rows: dict[str, list[StoredRow]]) -> None:
    found = [json.loads(line) for line in lines(capsys, "export", "clicks.py", "count")]
    assert [(one["key"], one["state"], one["timers"]) for one in found] == [
        (row.key, row.state, row.timers) for row in rows["count"]
    ]
    text = "\n".join(lines(capsys, "export", "clicks.py", "count", "--format", "csv"))
    table = list(csv.DictReader(io.StringIO(text)))
    assert list(table[0]) == ["key", "clicks", "page", "pages", "timers", "touched_ms"]
    for record, row in zip(table, rows["count"], strict=True):
        state = {name: record[name] for name in ("clicks", "page", "pages")}
        assert {**state, "clicks": int(state["clicks"]), "pages": json.loads(state["pages"])} == row.state
        assert json.loads(record["timers"]) == row.timers


def test_parquet_goes_through_a_pipe(rows: dict[str, list[StoredRow]]) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'headway[parquet]'")
    from pyarrow import parquet

    arguments = ["state", "export", "clicks.py", "count", "--format", "parquet"]
    done = subprocess.run([sys.executable, "-m", "headway", *arguments], capture_output=True, check=True, timeout=60)
    found = parquet.read_table(pa.BufferReader(done.stdout)).to_pylist()
    assert [(one["key"], one["clicks"], json.loads(one["pages"])) for one in found] == [
        (row.key, row.state["clicks"], row.state["pages"]) for row in rows["count"]
    ]
