"""Texts that others have chosen: a terminal shows them and does not obey them, and programs get them as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.cli.compare import Outcome
from headway.cli.escapes import json_text, printable, printable_lines
from headway.cli.main import main
from headway.runtime.run import RunOptions, run_flow

NASTY = ["\x1b[2J\x1b]0;title\x07", "a\nb  {}", "a\rb", "\x9b31m", "\u202eabc\u202c", "\u2028", "\x7f", "tab\t", "\x00"]
VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text() | st.sampled_from(NASTY),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text() | st.sampled_from(NASTY), parts, max_size=3),
    max_leaves=8,
)


@given(st.text() | st.sampled_from(NASTY))
def test_a_text_is_one_line_that_shows(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text) == text or eval(printable(text)) == text
    lines = printable_lines(text)
    assert all(part.isprintable() for line in lines.split("\n") for part in line.split("\t"))
    assert lines.count("\n") == text.count("\n")


@given(VALUES)
def test_json_shows_and_is_the_same_json(value: Any) -> None:
    assert json_text(value).isprintable()
    assert json.loads(json_text(value)) == value


@pytest.fixture
def nasty_state(tmp_path: Path) -> Iterator[Path]:
    """A state directory whose keys, values and timers are nasty."""

    class Note(hw.Operator[dict, dict]):  # type: ignore[type-arg]
        def on_event(self, state: Any, event: Any, ctx: Any) -> None:
            state[event["k"]] = event["k"]
            ctx.timer(event["k"], 10_000)

    flow = hw.Flow("nasty")
    source = flow.source(
        "s", hw.Json, hw.items([*({"k": key, "at": 1} for key in NASTY), {"k": "later", "at": 9}]), time="at"
    )
    source.key_by("k").process("note", Note()).to("out", hw.to_list([]))
    run_flow(flow, RunOptions(tmp_path / "state", epoch_ms=20, key_groups=2))
    yield tmp_path / "state"


def shown(capsys: pytest.CaptureFixture[str], *args: object) -> list[str]:
    main([str(arg) for arg in args])
    told = capsys.readouterr()
    lines = (told.out + told.err).split("\n")
    assert all(line.isprintable() for line in lines), lines
    return [line for line in lines if line]


def test_state_that_is_listed(nasty_state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(shown(capsys, "state", "ls", nasty_state, "note")) == len(NASTY)
    found = [json.loads(line) for line in shown(capsys, "state", "ls", nasty_state, "note", "--json")]
    assert {row["key"] for row in found} == set(NASTY)
    assert all(row["state"] == {row["key"]: row["key"]} and list(row["timers"]) == [row["key"]] for row in found)


@pytest.mark.parametrize("key", [key for key in NASTY if "\x00" not in key])
def test_state_that_is_got(nasty_state: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(shown(capsys, "state", "get", nasty_state, "note", key)) >= 4
    (row,) = shown(capsys, "state", "get", nasty_state, "note", key, "--json")
    assert json.loads(row)["key"] == key
    shown(capsys, "state", "get", nasty_state, "note", key + "missing")


@pytest.mark.parametrize("options", [(), ("--quiet",), ("--json",)])
def test_names_of_files_and_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    name = tmp_path / "in\x1b[2J\u202e.jsonl"
    name.write_text('{"k": "a"}\n{"k": "b", "at": 1}\n')
    (tmp_path / "in\x1b[3J.jsonl").symlink_to("nowhere\x9b")
    (tmp_path / "o\x9b.jsonl").write_text("mine")
    (tmp_path / "f.py").write_text(
        "import headway as hw\n"
        'flow = hw.Flow("f")\n'
        f'source = flow.source("s", hw.Json, hw.files({str(tmp_path)!r} + "/in*.jsonl"), time="at")\n'
        f'source.key_by("k").aggregate("n", n=hw.count()).to("o", hw.to_jsonl({str(tmp_path)!r} + "/o\\x9b.jsonl"))\n'
    )
    for command in ("run", "explain"):
        more = ["--state", tmp_path / "state", *options] if command == "run" else []
        told = "\n".join(shown(capsys, command, tmp_path / "f.py", *more))
        assert command == "explain" or all(part in told for part in ("is a dead letter", "was moved to", "is a link"))
    shown(capsys, "generate", "check", tmp_path, name)
    shown(capsys, "run", tmp_path / "no\x1b[2J.py")


def test_records_that_differ() -> None:
    records = [("2026-01-01T00:00:00Z", text, text, json.dumps(text)) for text in NASTY]
    lines = Outcome(0, 3, [], records).as_text().split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == len(NASTY) + 2
