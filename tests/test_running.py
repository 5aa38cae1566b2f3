"""`hw.run`: what the command does, from Python, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import headway as hw
from headway.cli import progress
from headway.declare.flow import Flow
from headway.errors import FlowError, UsageError
from headway.results import RunSummary

SCRIPT = """
import sys
import headway as hw

class Count(hw.Operator[hw.Json, dict]):
    def on_event(self, state, event, ctx):
        state["n"] = state.get("n", 0) + 1
        ctx.emit({"user": ctx.key, "n": state["n"]})
        if interrupts and event["at"] == 150:
            import os, signal
            for _ in range(int(interrupts)):
                os.kill(os.getpid(), signal.SIGINT)

flow = hw.Flow("clicks")
interrupts = flow.param("interrupts", sys.argv[2] if sys.argv[2:] and __name__ == "__main__" else "")
clicks = flow.source("clicks", hw.Json, hw.files("in-*.jsonl"), time="at")
clicks.key_by("user").process("count", Count()).to("counted", hw.to_jsonl("out.jsonl"))

if __name__ == "__main__":
    try:
        ended = hw.run(flow, state="state", workers=int(sys.argv[1]), epoch="20ms", follow=bool(interrupts))
    except KeyboardInterrupt:
        print("interrupted")
    else:
        print(ended.status, ended.events, ended.outputs["counted"], ended.resumed)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for part in range(2):
        lines = [f'{{"user": "u{at % 7}", "at": {at}}}\n' for at in range(1 + part, 201, 2)]
        Path(f"in-{part}.jsonl").write_text("".join(lines))
    Path("script.py").write_text(SCRIPT)
    return tmp_path


def clicks(found: list[object]) -> Flow:
    flow = Flow("clicks")
    flow.source("clicks", hw.Json, hw.files("in-*.jsonl"), time="at").to("found", hw.to_list(found))
    return flow


def script(*args: object) -> str:
    done = subprocess.run(
        [sys.executable, "script.py", *map(str, args)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == "", done.stderr
    assert done.returncode == 0
    return done.stdout.strip()


def test_a_run_and_the_next(capfd: pytest.CaptureFixture[str]) -> None:
    found: list[object] = []
    ended = hw.run(clicks(found), state="state")
    assert (ended.flow, ended.status, ended.events, ended.resumed) == ("clicks", "end of input", 200, False)
    assert ended.outputs["found"] == ended.triggers == 198
    again = hw.run(clicks(found), state=Path("state"), drain=True)
    assert (again.status, again.events, again.events_total, again.resumed) == ("drained", 0, 200, True)
    assert again.outputs["found"] == 200 and again.state == Path("state")
    assert repr(again).startswith("clicks: resumed after 200 events; the books are closed")
    assert capfd.readouterr() == ("", "")


def test_with_progress_it_is_shown(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    hw.run(clicks([]), progress=True)
    assert Path(".headway/clicks").is_dir()
    assert ", 200 events (" in capfd.readouterr().err


def test_in_a_running_loop_and_in_a_thread() -> None:
    async def in_loop() -> RunSummary:
        return hw.run(clicks([]), state="loop")

    async def in_thread() -> RunSummary:
        return await asyncio.to_thread(hw.run, clicks([]), state="thread")

    assert [asyncio.run(one()).events for one in (in_loop, in_thread)] == [200, 200]


def test_it_stops_when_it_is_told_to() -> None:
    flow = Flow("clicks")
    flow.source("clicks", hw.Json, hw.files("in-*.jsonl"), time="at").to("found", hw.to_jsonl("out.jsonl"))

    def has_written() -> bool:
        return Path("out.jsonl").exists() and Path("out.jsonl").stat().st_size > 0

    ended = hw.run(flow, state="state", follow=True, stop=has_written, epoch="10ms")
    assert (ended.status, ended.outputs["found"]) == ("stopped", 198)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_of_a_script(workers: int) -> None:
    assert script(workers) == "end of input 200 198 False"
    assert len(Path("out.jsonl").read_text().splitlines()) == 198


@pytest.mark.parametrize("interrupts", [1, 2])
def test_an_interrupt_stays_one(interrupts: int) -> None:
    """The first one stops gracefully and is raised then; a second one is raised at once. Nothing is lost by either."""
    assert script(1, interrupts) == "interrupted"
    assert script(1).split()[0] == "end"
    lines = Path("out.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 198


def test_an_interrupt_comes_back_as_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    stop = [False]

    def ask() -> bool:
        if not stop[0]:
            stop[0] = True
            os.kill(os.getpid(), signal.SIGINT)
        return False

    with pytest.raises(KeyboardInterrupt):
        hw.run(clicks([]), state="state", follow=True, stop=ask)
    assert signal.getsignal(signal.SIGINT) is before


def test_workers_need_a_file() -> None:
    with pytest.raises(UsageError, match=r"'clicks' exists only in the memory of this process.*top level of a \.py"):
        hw.run(clicks([]), state="state", workers=2)
    assert not Path("state").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"workers": "two"}, "workers is 'two'"),
        ({"workers": True}, "workers is True"),
        ({"key_groups": "4"}, "key_groups is '4'"),
        ({"key_groups": 257}, "key_groups is 257"),
        ({"cache_bytes": "1"}, "cache_bytes is '1'"),
        ({"cache_bytes": -5}, "cache_bytes is -5"),
        ({"stop": True}, "stop is True"),
        ({"epoch": "9ms"}, "epoch is '9ms', it must be 10ms or longer"),
        ({"drain": True, "follow": True}, "choose one of the two"),
        ({"epoch": "soon"}, "epoch"),
        ({"state": "st\udcff"}, "not UTF-8"),
        ({"state": 5}, "state is 5, it must be the path of a directory"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        hw.run(clicks([]), **{"state": "state", **options})  # type: ignore[arg-type]


def test_what_is_no_flow_is_refused() -> None:
    with pytest.raises(FlowError, match=r"what hw.run\(...\) is given is a str, not a headway.Flow"):
        hw.run("flow.py")  # type: ignore[arg-type]


def test_a_call_at_the_top_of_a_flows_file_is_refused() -> None:
    from headway.cli.main import main

    Path("top.py").write_text(SCRIPT.partition("if __name__")[0] + "hw.run(flow)\n")
    assert main(["run", "top.py", "--quiet"]) == 2
    assert not Path(".headway").exists()


IN_PACKAGE = """
from .kit import Count
import headway as hw

flow = hw.Flow("clicks")
clicks = flow.source("clicks", hw.Json, hw.files("in-*.jsonl"), time="at")
clicks.key_by("user").process("count", Count()).to("counted", hw.to_jsonl("out.jsonl"))
"""
KIT = SCRIPT.partition("flow = ")[0].replace("interrupts and ", "False and ")
TWICE = """
import shop.clicks as module
import headway as hw

if __name__ == "__main__":
    for state in ("a", "b"):
        ended = hw.run(module.flow, state=state, workers=2, epoch="20ms")
        print(ended.status, ended.outputs["counted"])
"""


@pytest.mark.parametrize("how", [["jobs/twice.py"], ["-m", "shop.own"]])
def test_workers_of_a_flow_in_a_package(how: list[str]) -> None:
    """It imports from its package relatively, and is found by its module, also where it is in the script's folder."""
    folder = Path("jobs" if "jobs" in how[0] else ".")
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "__init__.py").write_text("")
    (folder / "shop" / "kit.py").write_text(KIT)
    (folder / "shop" / "clicks.py").write_text(IN_PACKAGE)
    (folder / "shop" / "own.py").write_text(
        IN_PACKAGE + TWICE.replace("import shop.clicks as module\n", "").replace("module.", "")
    )
    (folder / "twice.py").write_text(TWICE)
    done = subprocess.run([sys.executable, *how], capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr == "", done.stderr
    assert done.returncode == 0
    assert done.stdout.split("\n") == ["end of input 198", "end of input 198", ""]
