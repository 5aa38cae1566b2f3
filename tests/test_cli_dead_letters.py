"""`headway dead-letters`: what is listed and shown, and that a mended letter becomes input once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests import cluster_harness as cluster

from headway.cli.main import main
from headway.runtime import letterbox as letterbox_module
from headway.runtime.letterbox import Letterbox
from headway.runtime.redrive import redrive_path

FLOW = """
import headway as hw

class Counter(hw.Operator[hw.Json, hw.State, hw.Json]):
    def on_event(self, state, event, ctx):
        if event.get("bad") and BROKEN:
            raise ValueError("bad \\x1b[2J event")
        ctx.emit({"n": event["n"], "time": ctx.time})
        ctx.timer("t", after="5ms")

    def on_timer(self, state, timer, ctx):
        if ctx.key == "unlucky":
            raise RuntimeError("unlucky")

flow = hw.Flow("box", on_error="dead-letter")
log = flow.source("log", hw.Json, hw.files("log.jsonl"), time="at")
log.to("all", hw.to_jsonl("all.jsonl"))
log.key_by("key").process("count", Counter()).to("out", hw.to_jsonl("out.jsonl"))
"""
LINES = [
    {"at": 10, "key": "a", "n": 1},
    {"at": 11, "key": "a", "n": 2, "bad": True},
    {"at": 12, "n": 3},
    {"at": 13, "key": "unlucky", "n": 4},
    {"at": 14, "key": "b", "n": 5, "bad": True},
    {"at": 100, "key": "b", "n": 6},
]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_flow(tmp_path, broken=True)
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES) + "{\n")
    run(tmp_path)
    return tmp_path


def write_flow(directory: Path, *, broken: bool) -> None:
    (directory / "flow.py").write_text(FLOW.replace("BROKEN", str(broken)))


def run(directory: Path, *options: str) -> dict[str, Any]:
    return cluster.run(directory, "flow.py", "--key-groups", "2", *options)


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["dead-letters", *arguments]) == 0
    return capsys.readouterr().out


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_ls_and_show(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = [json.loads(line) for line in called(capsys, "ls", "flow.py", "--json").splitlines()]
    assert [(one["source"], one["partition"], one["step"], one["count"]) for one in listed] == [
        ("log", "log.jsonl", None, 1),
        ("log", "log.jsonl", None, 1),
        ("log", "log.jsonl", "count", 2),
        ("", "", "count", 1),
    ]
    assert listed[2]["first"] == "record 1"
    assert listed[2]["last"] == "record 4"
    table = called(capsys, "ls", ".headway/box")
    assert "5 dead letters, 0 redriven" in table
    assert "\x1b" not in table
    shown = called(capsys, "show", "flow.py", "--step", "count", "--reason", "bad", "--limit", "1")
    assert "\x1b" not in shown
    assert "key a" in shown
    assert "and more" in shown
    assert called(capsys, "show", "flow.py", "--source", "other") == ""
    letter = json.loads(called(capsys, "show", "flow.py", "--reason", "unlucky", "--json"))
    assert letter["timer"] == "t"


def test_redriven_letters_are_input_once(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_flow(box, broken=False)
    before = lines_of(box / "all.jsonl")
    first = json.loads(called(capsys, "redrive", "flow.py", "--step", "count", "--json"))
    assert (first["redriven"], first["before"]) == (2, 0)
    assert list(first["refused"].values()) == [1]
    assert "2 had been before" in called(capsys, "redrive", "flow.py", "--step", "count")
    run(box, "--drain")
    # The stage that has undone them gets them, at the first moment that had not passed; nobody else does.
    assert sorted(line["n"] for line in lines_of(box / "out.jsonl")) == [1, 2, 4, 5, 6]
    assert [line["time"] for line in lines_of(box / "out.jsonl") if line["n"] in (2, 5)] == [100, 100]
    assert lines_of(box / "all.jsonl") == [*before, LINES[-1]]


def test_mended_records_go_through_all_steps(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    letters = [json.loads(line) for line in called(capsys, "show", "flow.py", "--reason", "key", "--json").splitlines()]
    letters[0]["raw"] = json.dumps({"at": 12, "key": "c", "n": 30})
    (box / "mended.jsonl").write_text(json.dumps(letters[0]) + "\n")
    for expected in ("1 redriven, 0 had", "0 redriven, 1 had"):
        assert expected in called(capsys, "redrive", "flow.py", "--from", "mended.jsonl")
    run(box)
    run(box, "--drain")
    assert {"n": 30, "time": 100} in lines_of(box / "out.jsonl")
    assert [line["n"] for line in lines_of(box / "all.jsonl")].count(30) == 1


def test_what_is_no_letter_is_refused(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = {"source": "log", "partition": "other", "position": "line 1, byte 0", "reason": "", "raw": "{}"}
    (box / "mended.jsonl").write_text(json.dumps(foreign) + "\n")
    assert main(["dead-letters", "redrive", "flow.py", "--from", "mended.jsonl"]) == 2
    assert "mended.jsonl, line 1" in capsys.readouterr().err
    assert not redrive_path(box / ".headway" / "box", "log").exists()


def test_a_call_that_is_killed_loses_and_doubles_nothing(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state_dir = box / ".headway" / "box"
    path = redrive_path(state_dir, "log")
    whole = _redrive(state_dir, monkeypatch)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert sorted(_redrive(state_dir, monkeypatch).splitlines()) == sorted(whole.splitlines())


def _redrive(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(letterbox_module, "_BATCH", 1)
    monkeypatch.setattr(os, "fsync", lambda file: None)
    Letterbox(state_dir).redrive(lambda letter: letter.step == "count")
    return redrive_path(state_dir, "log").read_bytes()


def test_a_letter_that_fails_again_is_one_again(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called(capsys, "redrive", "flow.py", "--reason", "bad")
    run(box, "--drain")
    again = [json.loads(line) for line in called(capsys, "show", "flow.py", "--reason", "bad", "--json").splitlines()]
    assert sorted((one["partition"], one["position"]) for one in again[2:]) == [
        ("(redriven)", "record 0"),
        ("(redriven)", "record 1"),
    ]


def test_only_text_and_key_of_a_mended_letter_count(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = called(capsys, "show", "flow.py", "--reason", "bad", "--limit", "1", "--json")
    mended = {**json.loads(shown), "key": "other", "raw": '{"n": 20}', "time": 10**20, "timer": "t"}
    (box / "mended.jsonl").write_text(json.dumps(mended) + "\n")
    assert "1 redriven" in called(capsys, "redrive", "flow.py", "--from", "mended.jsonl")
    run(box, "--drain")
    assert {"n": 20, "time": 100} in lines_of(box / "out.jsonl")


def test_a_damaged_file_is_named(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called(capsys, "redrive", "flow.py", "--step", "count")
    with redrive_path(box / ".headway" / "box", "log").open("ab") as file:
        offset = file.tell()
        file.write(b'{"letter":"x","raw":"\xff"}\n')
    assert main(["dead-letters", "ls", "flow.py"]) == 3
    told = capsys.readouterr().err
    assert f"redrive/log.jsonl, byte {offset}, is no redriven letter" in told
    assert "restore it from a backup" in told
    code, told = cluster.Started(box, "flow.py", "--key-groups", "2").outcome()
    assert (code, f"byte {offset}, is no redriven letter" in told) == (3, True)
    assert "error of Headway" not in told


def test_nothing_is_put_into_what_was_drained(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(box, "--drain")
    assert main(["dead-letters", "redrive", "flow.py"]) == 3
    assert "was drained" in capsys.readouterr().err
    assert not redrive_path(box / ".headway" / "box", "log").exists()


def test_a_letter_that_cannot_be_read_stays_one_of_its_operator(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    letter = json.loads(called(capsys, "show", "flow.py", "--reason", "bad", "--limit", "1", "--json"))
    (box / "mended.jsonl").write_text(json.dumps({**letter, "raw": '{"n": 20'}) + "\n")
    called(capsys, "redrive", "flow.py", "--from", "mended.jsonl")
    run(box)
    letters = [json.loads(line) for line in called(capsys, "show", "flow.py", "--json").splitlines()]
    (again,) = [letter for letter in letters if letter["partition"] == "(redriven)"]
    assert again["raw"] == '{"n": 20'
    assert (again["into"], again["key"], again["time"]) == ("count", "a", 11)
    before = lines_of(box / "all.jsonl")
    (box / "mended.jsonl").write_text(json.dumps({**again, "raw": '{"at": 0, "key": "a", "n": 20}'}) + "\n")
    called(capsys, "redrive", "flow.py", "--from", "mended.jsonl")
    run(box, "--drain")
    assert {"n": 20, "time": 100} in lines_of(box / "out.jsonl")
    assert lines_of(box / "all.jsonl") == [*before, LINES[-1]]


SEVERAL = """
import headway as hw

class Told(hw.Operator[hw.Json, hw.State, hw.Json]):
    def on_event(self, state, event, ctx):
        ctx.emit({"n": event["n"]})

flow = hw.Flow("several")
log = flow.source("log", hw.Json, hw.files("log.jsonl"), time="at")
log.flat_map(lambda event: event["all"]).key_by("key").process("told", Told()).to("out", hw.to_jsonl("out.jsonl"))
"""


def test_a_record_with_several_letters_goes_in_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.py").write_text(SEVERAL)
    (tmp_path / "log.jsonl").write_text('{"at": 1, "all": [{"n": 1, "key": "a"}, {"n": 2}, {"n": 3}]}\n')
    run(tmp_path)
    letters = [json.loads(line) for line in called(capsys, "show", "flow.py", "--json").splitlines()]
    assert [letter["position"][-10:] for letter in letters] == [", result 1", ", result 2"]
    done = json.loads(called(capsys, "redrive", "flow.py", "--json"))
    assert (done["redriven"], done["before"]) == (1, 1)
    run(tmp_path, "--drain")
    assert [line["n"] for line in lines_of(tmp_path / "out.jsonl")] == [1, 1]


READ = """
import headway as hw
from headway.types.letters import DeadLetter

class Counter(hw.Operator[hw.Json, hw.State, hw.Json]):
    def on_event(self, state, event, ctx):
        raise ValueError("never")

class Told(hw.Operator[DeadLetter, hw.State, hw.Json]):
    def on_event(self, state, letter, ctx):
        ctx.emit({"position": letter.position, "time": ctx.time})

flow = hw.Flow("read", on_error="dead-letter")
log = flow.source("log", hw.Json, hw.files("log.jsonl"), time="at", out_of_order=3)
log.key_by("key").process("count", Counter()).to("out", hw.to_jsonl("out.jsonl"))
log.dead_letters.key_by("source").process("tell", Told()).to("told", hw.to_jsonl("told.jsonl"))
"""


def test_the_letter_of_what_was_redriven_is_not_of_the_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.py").write_text(READ)
    (tmp_path / "log.jsonl").write_text('{"at": 10, "key": "a"}\n{\n{"at": 100, "key": "a"}\n')
    run(tmp_path)
    (letter,) = [json.loads(line) for line in called(capsys, "show", "flow.py", "--json").splitlines()]
    (tmp_path / "mended.jsonl").write_text(json.dumps({**letter, "raw": "{"}) + "\n")
    called(capsys, "redrive", "flow.py", "--from", "mended.jsonl")
    run(tmp_path, "--drain")
    told = [(line["position"], line["time"]) for line in lines_of(tmp_path / "told.jsonl")]
    assert told == [("line 2, byte 23", 7), ("record 0", 97)]


WAYS = """
import headway as hw

class First(hw.Operator[hw.Json, hw.State, hw.Json]):
    def on_event(self, state, event, ctx):
        if BROKEN:
            raise ValueError("broken")
        ctx.emit({"n": event["n"], "by": "first"})

class Second(hw.Operator[hw.Json, hw.State, hw.Json]):
    inputs = {"other": hw.Json}

    def on_event(self, state, event, ctx):
        ctx.emit(event)

    def on_other(self, state, event, ctx):
        ctx.emit({"n": event["n"], "by": "second"})

flow = hw.Flow("ways", on_error="dead-letter")
log = flow.source("log", hw.Json, hw.files("log.jsonl"), time="at")
keyed = log.key_by("key")
first = keyed.merge(log.late.key_by("key")).process("first", First())
first.process("second", Second(), other=keyed).to("out", hw.to_jsonl("out.jsonl"))
"""


def test_a_letter_goes_back_on_the_way_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.py").write_text(WAYS.replace("BROKEN", "True"))
    lines = [{"at": at, "key": "a", "n": n} for n, at in enumerate((10, 20, 5, 30))]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(tmp_path)
    letters = [json.loads(line) for line in called(capsys, "show", "flow.py", "--json").splitlines()]
    assert [(one["position"], one["into"]) for one in letters] == [
        ("record 0", "first"),
        ("record 1", "first"),
        ("record 2", "first@late"),
    ]
    called(capsys, "redrive", "flow.py")
    (tmp_path / "flow.py").write_text(WAYS.replace("BROKEN", "False"))
    run(tmp_path, "--drain")
    found = {(line["n"], line["by"]) for line in lines_of(tmp_path / "out.jsonl")}
    assert found == {(n, by) for n in range(4) for by in ("first", "second") if (n, by) != (2, "second")}
