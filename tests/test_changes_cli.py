"""A flow that is changed between its runs: what `state check`, `run` and `state drop` say and do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from headway.cli.main import main
from headway.runtime.directory import StateDirectory
from headway.runtime.opening import drop_state
from headway.state.lock import DirectoryLock
from headway.state.manifest import Manifest
from headway.state.reader import StateReader

FLOW = """
import headway as hw

class Click(hw.Event):
    user: str
    at: hw.Time
    page: str = ""

class Seen(hw.State):
    clicks: int = 0

class Count(hw.Operator[Click, Seen]):
    def __init__(self, after="1h"):
        self.after = after

    def on_event(self, state, event, ctx):
        state.clicks += 1
        ctx.timer("idle", after=self.after)
        ctx.emit({"user": ctx.key, "clicks": state.clicks})

flow = hw.Flow("clicks")
clicks = flow.source("clicks", Click, hw.files("clicks/*.jsonl"), time="at")
counts = clicks.key_by("user").process("count", Count())
counts.to("counted", hw.to_jsonl("counted.jsonl"))
"""
STATE = Path(".headway/clicks")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("clicks").mkdir()
    Path("flow.py").write_text(FLOW)
    more(0, 30)


def more(start: int, end: int) -> None:
    """Append clicks of three users; the last one always waits for time to pass it."""
    with Path("clicks/a.jsonl").open("a") as file:
        file.writelines(json.dumps({"user": f"u{n % 3}", "at": 1_000 * n}) + "\n" for n in range(start, end))


def change(old: str, new: str) -> None:
    text = Path("flow.py").read_text()
    assert old in text
    Path("flow.py").write_text(text.replace(old, new))


def call(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> tuple[str, str]:
    assert main(list(args)) == code
    out, err = capsys.readouterr()
    return out, err


def counted() -> dict[str, int]:
    """The last count of each user."""
    lines = map(json.loads, Path("counted.jsonl").read_text().splitlines())
    return {line["user"]: line["clicks"] for line in lines}


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in STATE.rglob("*") if path.is_file() and "run" not in path.parts}


def test_check_before_the_first_run(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = call(capsys, "state", "check", "flow.py")
    assert out == ".headway/clicks holds nothing yet: the flow starts with its first run\n"
    assert not STATE.exists()


def test_check_tells_what_run_tells_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "run", "flow.py", "--quiet")
    out, _ = call(capsys, "state", "check", "flow.py")
    assert out == "clicks goes on with .headway/clicks: nothing has changed\n"
    change("Count())", 'Count("2h"))')
    before = files()
    out, _ = call(capsys, "state", "check", "flow.py")
    said = (
        "operator 'count': parameters differ from the last run: after 1h -> 2h; what it kept stays, and timers fire as "
        "they were set"
    )
    assert out == f"told  {said}\nclicks goes on with .headway/clicks: 1 change\n"
    assert files() == before
    _, err = call(capsys, "run", "flow.py")
    assert f"clicks has changed: {said}" in err
    out, _ = call(capsys, "state", "check", "flow.py")
    assert out == "clicks goes on with .headway/clicks: nothing has changed\n"


def test_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "run", "flow.py", "--quiet")
    change('key_by("user")', 'key_by("page")')
    out, _ = call(capsys, "state", "check", "flow.py", "--json", "--state", str(STATE), code=3)
    found = json.loads(out)
    assert (found["flow"], found["goes_on"]) == ("clicks", False)
    [told] = found["changes"]
    assert (told["what"], told["refused"]) == ("operator 'count'", True)
    assert told["next_step"] == "to go on without what it kept: headway state drop FLOW count"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_renamed_flow_goes_on_with_what_it_kept(capsys: pytest.CaptureFixture[str], workers: str) -> None:
    run = ("run", "flow.py", "--quiet", "--workers", workers)
    call(capsys, *run)
    assert counted() == {"u0": 10, "u1": 10, "u2": 9}
    change(
        'source("clicks", Click, hw.files("clicks/*.jsonl")',
        'source("web", Click, hw.files("clicks/*.jsonl"), was="clicks"',
    )
    change('process("count", Count())', 'process("tally", Count(), was="count")')
    change('to("counted", hw.to_jsonl("counted.jsonl"))', 'to("told", hw.to_jsonl("counted.jsonl"), was="counted")')
    more(30, 61)
    call(capsys, *run)
    assert counted() == {"u0": 20, "u1": 20, "u2": 20}
    assert len(Path("counted.jsonl").read_text().splitlines()) == 60
    change(', was="count"', "")
    more(61, 64)
    call(capsys, *run)
    assert counted() == {"u0": 21, "u1": 21, "u2": 21}


def test_a_refused_run_changes_nothing_and_a_drop_lets_it_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "run", "flow.py", "--quiet")
    change('key_by("user")', "key_by(lambda event: event.user[:1])")
    before = files()
    _, err = call(capsys, "run", "flow.py", "--quiet", code=3)
    assert "operator 'count': its key was user, now a lambda: what it kept is of other keys" in err
    assert files() == before
    out, _ = call(capsys, "state", "drop", "flow.py", "count", "--yes")
    assert out == "count: 3 rows, 3 timers, and the events that wait for it\ndropped: count\n"
    manifest = Manifest.load(STATE)
    assert manifest is not None
    assert manifest.dropped == []
    with StateReader(STATE) as reader:
        assert list(reader.rows("count")) == []
    more(30, 41)
    call(capsys, "run", "flow.py", "--quiet")
    assert counted()["u"] == 10  # Of the eleven that came since one waits, as the one from before does not any more.


def test_an_operator_that_is_gone_comes_back_unless_it_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    more_steps = 'clicks.key_by("user").silence("quiet", "1h").to("hush", hw.to_jsonl("hush.jsonl"))\n'
    Path("flow.py").write_text(FLOW + more_steps)
    call(capsys, "run", "flow.py", "--quiet")
    Path("flow.py").write_text(FLOW)
    more(30, 40)
    call(capsys, "run", "flow.py", "--quiet")
    assert call(capsys, "state", "ls", "flow.py")[0] == "count\n"
    Path("flow.py").write_text(FLOW + more_steps)
    call(capsys, "run", "flow.py", "--quiet")
    with StateReader(STATE) as reader:
        assert len(list(reader.rows("quiet"))) == 3
    Path("flow.py").write_text(FLOW)
    call(capsys, "run", "flow.py", "--quiet")
    out, _ = call(capsys, "state", "drop", str(STATE), "quiet", "hush", "--yes")
    assert out == "quiet: 3 rows, 3 timers\nhush: its position\ndropped: quiet, hush\n"
    Path("flow.py").write_text(FLOW + more_steps)
    assert "operator 'quiet': it is new" in call(capsys, "state", "check", "flow.py")[0]
    call(capsys, "run", "flow.py", "--quiet")
    with StateReader(STATE) as reader:
        assert list(reader.rows("quiet")) == []
    assert counted() == {"u0": 13, "u1": 13, "u2": 13}


CRASHES = {
    "before the new generation is written": ("headway.runtime.opening", "Evolution", 1),
    "before the switch": ("headway.runtime.opening", "Positions.store", 1),
    "at the switch": ("headway.state.manifest", "Manifest.create", 1),
    "behind the switch": ("headway.runtime.directory", "StateDirectory.remove_other_generations", 1),
    "before the rows are deleted": ("headway.runtime.opening", "erase", 1),
    "when the rows are deleted": ("headway.state.manifest", "Manifest.create", 2),
}


class Crash(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("point", CRASHES)
def test_a_drop_that_is_interrupted_leaves_the_old_or_the_new_form(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    call(capsys, "run", "flow.py", "--quiet")
    module, path, nth = CRASHES[point]
    *owners, name = path.split(".")
    target = sys.modules[module]
    for owner in owners:
        target = getattr(target, owner)
    original, calls = getattr(target, name), []

    def crashing(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            raise Crash
        return original(*args, **options)

    with monkeypatch.context() as patch, DirectoryLock.acquire(STATE), pytest.raises(Crash):
        patch.setattr(target, name, crashing)
        drop_state(StateDirectory(STATE), ["count"])
    more(30, 40)
    call(capsys, "run", "flow.py", "--quiet")
    manifest = Manifest.load(STATE)
    assert manifest is not None
    assert manifest.dropped == []
    is_new = point not in ("before the new generation is written", "before the switch", "at the switch")
    # Ten more have come of which one waits; before, there was one that waited as well.
    assert sum(counted().values()) == (9 if is_new else 39)
    with StateReader(STATE) as reader:
        assert sum(row.state["clicks"] for row in reader.rows("count")) == (9 if is_new else 39)


def test_what_a_dropped_output_has_written_is_not_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "run", "flow.py", "--quiet")
    written = Path("counted.jsonl").read_bytes()
    change('counts.to("counted", hw.to_jsonl("counted.jsonl"))', 'counts.to("other", hw.to_jsonl("other.jsonl"))')
    call(capsys, "run", "flow.py", "--quiet")
    call(capsys, "state", "drop", "flow.py", "counted", "--yes")
    Path("flow.py").write_text(FLOW)
    more(30, 40)
    call(capsys, "run", "flow.py", "--quiet")
    assert Path("counted.jsonl.1").read_bytes() == written
    assert len(Path("counted.jsonl").read_text().splitlines()) == 10


def test_drop_asks_and_does_nothing_without_an_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call(capsys, "run", "flow.py", "--quiet")
    before = files()
    monkeypatch.setattr("click.confirm", _no)
    _, err = call(capsys, "state", "drop", "flow.py", "count", code=1)
    assert "not confirmed, so nothing was changed" in err
    assert files() == before


def _no(*args: object, **options: object) -> None:
    import click

    raise click.Abort


def test_drop_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "run", "flow.py", "--quiet")
    _, err = call(capsys, "state", "drop", "flow.py", "cuont", "--yes", code=2)
    assert "nothing is kept under 'cuont': expected one of count" in err
    _, err = call(capsys, "state", "drop", "flow.py", "clicks", "--yes", code=2)
    assert "the flow reads 'clicks'" in err


def test_drop_waits_for_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "run", "flow.py", "--quiet")
    with DirectoryLock.acquire(STATE):
        _, err = call(capsys, "state", "drop", "flow.py", "count", "--yes", code=3)
    assert "is in use by process" in err
