"""`headway state set`, `delete` and `import`: what is set is as if a handler had left it so."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from headway.cli.main import main
from headway.errors import LockedStateError
from headway.runtime.directory import StateDirectory
from headway.savepoints.create import create_savepoint
from headway.savepoints.editing import edit_state
from headway.savepoints.shelf import KEPT_BEFORE, Shelf
from headway.state.queries import plain_state, timers
from headway.state.reader import StateReader

FLOW = """
import headway as hw

class Kept(hw.State):
    clicks: int = 0
    pages: list[str] = []

class Count(hw.Operator[hw.Json, Kept, hw.Json]):
    def on_event(self, state, event, ctx):
        state.clicks += 1
        state.pages = [*state.pages, event["page"]]
        ctx.timer("idle", event["at"] + 1_000)
        ctx.emit({"user": ctx.key, "clicks": state.clicks})

    def on_timer(self, state, timer, ctx):
        ctx.emit({"user": ctx.key, "clicks": state.clicks, "idle": timer.at})
        ctx.forget()

flow = hw.Flow("clicks")
clicks = flow.source("clicks", hw.Json, hw.files("clicks.jsonl"), time="at").key_by("user")
clicks.process("count", Count()).to("out", hw.to_jsonl("out.jsonl"))
clicks.process("again", Count()).to("out-again", hw.to_jsonl("again.jsonl"))
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("clicks.py").write_text(FLOW)
    events(range(100, 130))
    assert main(["run", "clicks.py", "--quiet", "--key-groups", "2"]) == 0
    return tmp_path


def events(times: range) -> None:
    with Path("clicks.jsonl").open("a") as log:
        for at in times:
            log.write(json.dumps({"user": f"u{at % 7}", "page": f"p{at}", "at": at}) + "\n")


def rows(operator: str = "count") -> dict[str, tuple[object, dict[str, int]]]:
    with StateReader(".headway/clicks") as reader:
        return {row.key: (row.state, row.timers) for row in reader.rows(operator)}


def drained() -> list[dict[str, object]]:
    """What comes of it, and that nothing is left, as the counts say too."""
    events(range(200, 201))
    assert main(["run", "clicks.py", "--quiet", "--drain"]) == 0
    stats = StateDirectory(Path(".headway/clicks")).last_run()
    assert stats is not None
    assert (stats.rows, stats.timers, stats.keys) == (0, 0, 0)
    assert not rows() and not rows("again")
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


def test_set(capsys: pytest.CaptureFixture[str]) -> None:
    before = rows()
    assert main(["state", "set", "clicks.py", "count", "u3", '{"clicks": 70}']) == 0
    assert "1 row changed; what was there before is the savepoint before-edit-" in capsys.readouterr().out
    assert rows() == {**before, "u3": ({"clicks": 70, "pages": []}, before["u3"][1])}
    assert main(["state", "set", "clicks.py", "count", "new", '{"clicks": 5, "pages": ["a"]}']) == 0
    assert rows()["new"] == ({"clicks": 5, "pages": ["a"]}, {})
    with StateReader(".headway/clicks") as reader:
        assert [timer.key for timer in timers(reader, ["count"])] == [
            key for key, (_, armed) in sorted(before.items(), key=lambda item: item[1][1]["idle"]) if armed
        ]
    assert main(["state", "delete", "clicks.py", "count", "new", "--yes"]) == 0
    assert {"user": "u3", "clicks": 71} in drained()
    assert len(Shelf(Path(".headway/clicks")).names()) == 3


def test_delete(capsys: pytest.CaptureFixture[str]) -> None:
    before = rows()
    assert main(["state", "delete", "clicks.py", "count", "u1", "u2", "--yes"]) == 0
    assert main(["state", "delete", "clicks.py", "count", "u1", "--yes"]) == 1
    assert "1 row not there" in capsys.readouterr().out
    assert rows() == {key: row for key, row in before.items() if key not in ("u1", "u2")}
    assert rows("again") == before
    idle = [line["user"] for line in drained() if "idle" in line]
    assert "u1" not in idle and "u0" in idle


def test_import_of_an_export_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = rows()
    capsys.readouterr()
    assert main(["state", "export", "clicks.py", "count"]) == 0
    Path("rows.jsonl").write_text(capsys.readouterr().out)
    assert main(["state", "import", "clicks.py", "count", "rows.jsonl"]) == 0
    assert rows() == before
    drained()


def test_import_after_a_deletion_brings_everything_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = rows()
    capsys.readouterr()
    assert main(["state", "export", "clicks.py", "count"]) == 0
    Path("rows.jsonl").write_text(capsys.readouterr().out)
    assert main(["state", "delete", "clicks.py", "count", *before, "--yes"]) == 0
    assert rows() == {}
    assert main(["state", "import", "clicks.py", "count", "rows.jsonl"]) == 0
    assert rows() == before
    idle = {str(line["user"]) for line in drained() if "idle" in line}
    assert idle == set(before)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["set", "clicks.py", "count", "u1", '{"clicks": "many"}'], "the state given cannot be a state of 'count'"),
        (["set", "clicks.py", "nothing", "u1", "{}"], "has no operator 'nothing' that keeps rows of keys"),
        (["import", "clicks.py", "count", "bad.jsonl"], "bad.jsonl, line 2"),
    ],
)
def test_what_cannot_be_set(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.jsonl").write_text('{"key": "u1", "state": {"clicks": 3}}\n{"key": "u2", "state": {"clicks": null}}\n')
    before = rows()
    assert main(["state", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert rows() == before


def test_a_running_flow_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with StateDirectory(Path(".headway/clicks")).locked():
        assert main(["state", "set", "clicks.py", "count", "u1", "{}"]) == 3
    assert "is in use by process" in capsys.readouterr().err
    assert not Shelf(Path(".headway/clicks")).names()


LOGGED = """
import headway as hw

class Kept(hw.State):
    total: int = 0
    pages: hw.Log[str] = hw.Log()
    raw: hw.Log[bytes] = hw.Log()

class Keep(hw.Operator[hw.Json, Kept, hw.Json]):
    def on_event(self, state, event, ctx):
        state.total += 1
        state.pages.append(event["page"])
        ctx.emit({"user": ctx.key, "pages": list(state.pages)})

flow = hw.Flow("logged")
clicks = flow.source("clicks", hw.Json, hw.files("clicks.jsonl"), time="at").key_by("user")
clicks.process("keep", Keep()).to("out", hw.to_jsonl("logged.jsonl"))
"""


def kept_logs() -> dict[str, object]:
    with StateReader(".headway/logged") as reader:
        return {row.key: plain_state(row.state) for row in reader.rows("keep")}


def test_states_with_logs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("logged.py").write_text(LOGGED)
    assert main(["run", "logged.py", "--quiet", "--key-groups", "2"]) == 0
    before = kept_logs()
    assert len(before["u1"]["pages"]) == 4  # type: ignore[index]
    capsys.readouterr()
    assert main(["state", "export", "logged.py", "keep"]) == 0
    Path("rows.jsonl").write_text(capsys.readouterr().out)

    given = {"total": 2, "pages": ["x", "y"], "raw": ["YWI="]}
    assert main(["state", "set", "logged.py", "keep", "u1", json.dumps(given)]) == 0
    assert main(["state", "set", "logged.py", "keep", "new", '{"pages": ["z"]}']) == 0
    assert main(["state", "set", "logged.py", "keep", "u2", '{"total": 5}']) == 0
    assert main(["state", "delete", "logged.py", "keep", "u3", "--yes"]) == 0
    changed = kept_logs()
    assert changed["u1"] == {"total": 2, "pages": ["x", "y"], "raw": [b"ab"]}
    assert changed["new"] == {"total": 0, "pages": ["z"], "raw": []}
    assert changed["u2"] == {"total": 5, "pages": [], "raw": []}
    assert "u3" not in changed and changed["u0"] == before["u0"]
    for wrong in ('{"pages": "x"}', '{"pages": [1]}', '{"raw": ["?"]}', '{"pages": {"length": 1}}'):
        assert main(["state", "set", "logged.py", "keep", "u1", wrong]) == 2
        assert "cannot be a state of 'keep'" in capsys.readouterr().err

    with Path("clicks.jsonl").open("a") as log:
        log.writelines(json.dumps({"user": f"u{n}", "page": "last", "at": 300 + n}) + "\n" for n in range(5))
    assert main(["run", "logged.py", "--quiet"]) == 0
    told = {line["user"]: line["pages"] for line in map(json.loads, Path("logged.jsonl").read_text().splitlines())}
    assert told["u1"] == ["x", "y", "last"]
    assert told["u2"] == ["last"] and told["u3"][-1] == "last" and len(told["u3"]) <= 2

    assert main(["state", "delete", "logged.py", "keep", "new", "--yes"]) == 0
    assert main(["state", "import", "logged.py", "keep", "rows.jsonl"]) == 0
    after = kept_logs()
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("due", [253_402_300_800_000, -(1 << 62), 1 << 62, 1 << 70])
def test_timers_that_cannot_be(due: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows()
    Path("bad.jsonl").write_text(json.dumps({"key": "u1", "state": {"clicks": 3}, "timers": {"idle": due}}) + "\n")
    assert main(["state", "import", "clicks.py", "count", "bad.jsonl"]) == 2
    told = capsys.readouterr().err
    assert "bad.jsonl, line 1" in told and "nothing was changed" in told
    assert str(due) in told or due == 1 << 70
    assert rows() == before


def test_a_key_that_is_not_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    for edit in (["set", "clicks.py", "count", "u\udce9", "{}"], ["delete", "clicks.py", "count", "u\udce9", "--yes"]):
        assert main(["state", *edit]) == 2
        assert "is not UTF-8" in capsys.readouterr().err


def test_the_last_savepoints_of_edits_are_kept() -> None:
    create_savepoint(StateDirectory(Path(".headway/clicks")), "mine")
    for clicks in range(KEPT_BEFORE + 2):
        assert main(["state", "set", "clicks.py", "count", "u1", json.dumps({"clicks": clicks})]) == 0
    names = Shelf(Path(".headway/clicks")).names()
    assert len(names) == KEPT_BEFORE + 1 and "mine" in names
    with StateReader(Shelf(Path(".headway/clicks")).path(names[-2])) as reader:
        row = reader.get("count", "u1")
        assert row is not None and row.state["clicks"] == KEPT_BEFORE


def test_nothing_comes_between_an_edit_and_its_savepoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may run the flow, or make a savepoint of it, between the two would lose what he does."""
    directory = StateDirectory(Path(".headway/clicks"))

    def intrude(*_: object, **__: object) -> None:
        with pytest.raises(LockedStateError), directory.locked():
            pass
        with pytest.raises(LockedStateError):
            create_savepoint(directory, "between", wait_s=0)
        raise RuntimeError("intruded")

    monkeypatch.setattr("headway.savepoints.editing.settled_manifest", intrude)
    with pytest.raises(RuntimeError, match="intruded"):
        edit_state(directory, "count", [], b"\x80")
