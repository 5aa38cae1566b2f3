"""`headway state sql`: operators are tables, asked by DuckDB."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from headway.cli.main import main
from headway.runtime.directory import StateDirectory
from headway.savepoints.create import create_savepoint

FLOW = """
import headway as hw

class Seen(hw.State):
    clicks: int = 0
    share: float = 0.0
    day: str = ""
    known: bool = False
    key: str = ""
    pages: list[str] = []
    notes: hw.Log[str] = hw.Log()
    last: hw.Json | None = None

class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx):
        state.clicks += 1
        state.share = state.clicks / 2 if state.clicks > 1 else 1.0
        state.day, state.known, state.key = "2026-01-01", True, f"own-{ctx.key}"
        state.pages = [*state.pages, event["page"]]
        state.notes.append(event["page"])
        state.last = event["at"] if state.clicks == 1 else {"at": event["at"]}

flow = hw.Flow("asked")
clicks = flow.source("clicks", hw.Json, hw.files("clicks.jsonl"), time="at").key_by("user")
clicks.process("seen", Count())
clicks.process("seen-again", Count())
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("asked.py").write_text(FLOW)
    run(range(61), capsys)
    return tmp_path


def run(numbers: range, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("clicks.jsonl").open("a") as log:
        for number in numbers:
            log.write(json.dumps({"user": f"u{number % 20:02d}", "page": f"p{number}", "at": 1_000 + number}) + "\n")
    assert main(["run", "asked.py", "--quiet", "--key-groups", "3"]) == 0
    capsys.readouterr()


def asked(capsys: pytest.CaptureFixture[str], query: str, *options: str) -> list[dict[str, Any]]:
    assert main(["state", "sql", "asked.py", query, "--json", *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_fields_are_columns(capsys: pytest.CaptureFixture[str]) -> None:
    [row] = asked(capsys, "select * from seen where key = 'u03'")
    assert row.pop("group") in range(3)
    assert json.loads(row.pop("pages")) == json.loads(row.pop("notes")) == ["p3", "p23", "p43"]
    assert json.loads(row.pop("last")) == {"at": 1_043}
    day = {"day": "2026-01-01", "known": True, "state_key": "own-u03"}
    assert row == {"key": "u03", "clicks": 3, "share": 1.5, **day}
    assert asked(capsys, "select count(*) as n, sum(clicks) as clicks, avg(share) as share from seen") == [
        {"n": 20, "clicks": 60, "share": 1.5}
    ]
    assert asked(capsys, 'select count(distinct "group") as n from seen') == [{"n": 3}]
    [first] = asked(capsys, "select notes->>'$[0]' as first from SEEN where key = 'u07'")
    assert first == {"first": "p7"}


def test_two_operators_and_a_savepoint(capsys: pytest.CaptureFixture[str]) -> None:
    create_savepoint(StateDirectory(Path(".headway/asked")), "before")
    run(range(61, 101), capsys)
    total = 'select sum(a.clicks) as a, sum(b.clicks) as b from seen a join "seen-again" b using (key)'
    assert asked(capsys, total) == [{"a": 100, "b": 100}]
    assert asked(capsys, total, "--savepoint", "before") == [{"a": 60, "b": 60}]


def test_lines_for_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "sql", ".headway/asked", "select key, clicks, null from seen order by key limit 2"]) == 0
    assert capsys.readouterr().out == "u00\t3\t\nu01\t3\t\n"


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        (
            "select nothing from seen",
            '"seen" ("key", "group", "clicks", "share", "day", "known", "state_key", "pages", "notes", "last"), '
            '"seen-again"',
        ),
        ("select * from cart", '"seen", "seen-again"'),
        ("selec", '"seen", "seen-again"'),
        ('select * from "s', '"seen", "seen-again"'),
    ],
)
def test_what_cannot_be_answered(query: str, tables: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "sql", "asked.py", query]) == 2
    told = capsys.readouterr().err
    assert "the query cannot be answered" in told and f"\nThe tables are {tables}\n" in told


def test_without_the_library(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert main(["state", "sql", "asked.py", "select 1"]) == 2
    assert "pip install 'headway[sql]'" in capsys.readouterr().err


def test_nothing_is_imported_by_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    loaded = set(sys.modules)
    assert main(["state", "ls", "asked.py"]) == 0
    assert "duckdb" not in set(sys.modules) - loaded
