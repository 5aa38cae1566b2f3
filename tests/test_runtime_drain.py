"""Closing the books: time goes on until nothing is armed, in steps that no interruption changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import pytest
from tests import cluster_harness as cluster

import headway as hw
from headway.errors import DrainedStateError
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.runtime.stopping import StopFlag
from headway.state.manifest import Drain, Manifest
from headway.testing import FlowTest

STEPS = 5
"""In these tests; each is a run of the engine."""

EVENTS = [{"at": at, "key": f"k{at % 7}", "delays": [10, 300, 5] if at % 2 else [50]} for at in range(40)]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.runtime.run.DRAIN_STEPS", STEPS)
    monkeypatch.setattr("headway.testing.oracle.DRAIN_STEPS", STEPS)


class Chain(hw.Operator[hw.Json, hw.Json]):
    """Each timer arms the next one: a machine with a timeout in each of its states."""

    def on_event(self, state: Any, event: Any, ctx: hw.Context) -> None:
        state["delays"] = list(event["delays"])
        ctx.timer("step", event["at"] + state["delays"].pop(0))

    def on_timer(self, state: Any, timer: hw.Timer, ctx: hw.Context) -> None:
        ctx.emit({"key": ctx.key, "at": timer.at})
        if state.get("delays"):
            ctx.timer("step", timer.at + state["delays"].pop(0))


class Heartbeat(hw.Operator[hw.Json, hw.Json]):
    """Arms itself for ever."""

    def on_event(self, state: Any, event: Any, ctx: hw.Context) -> None:
        ctx.timer("beat", event["at"] + 10)

    def on_timer(self, state: Any, timer: hw.Timer, ctx: hw.Context) -> None:
        ctx.emit({"beat": timer.at})
        ctx.timer("beat", timer.at + 10)


def flow_of(operator: Any, found: list[Any], events: list[dict[str, Any]]) -> hw.Flow:
    flow = hw.Flow("chain")
    source = flow.source("s", hw.Json, hw.items(events), time="at")
    steps = source.key_by("key").process("chained", operator)
    # What a drain makes in one stage arms timers in the next.
    again = steps.map(lambda value: {**value, "also": "x"}).key_by("also").process("lasting", Late())
    steps.to("steps", hw.to_list(found))
    again.to("last", hw.to_list(found))
    return flow


class Late(hw.Operator[hw.Json, hw.Json]):
    """Tells the time of the last event a second after it."""

    def on_event(self, state: Any, event: Any, ctx: hw.Context) -> None:
        state["n"] = state.get("n", 0) + 1
        ctx.timer("late", ctx.time + 1_000)

    def on_timer(self, state: Any, timer: hw.Timer, ctx: hw.Context) -> None:
        ctx.emit({"n": state["n"]})
        ctx.forget()


def run(
    directory: Path,
    operator: Any,
    found: list[Any],
    *,
    stop: Optional[StopFlag] = None,
    events: Any = None,
    **options: Any,
) -> RunResult:
    flow = flow_of(operator, found, EVENTS if events is None else events)
    return run_flow(flow, RunOptions(directory, key_groups=3, sync=False, **{"drain": True, **options}), stop=stop)


def test_a_chain_of_timeouts_fires_to_its_end(tmp_path: Path) -> None:
    found: list[Any] = []
    result = run(tmp_path / "state", Chain(), found)
    test = FlowTest(flow_of(Chain(), [], []))
    for event in EVENTS:
        test.send("s", event)
    test.drain()
    assert sorted(map(str, found)) == sorted(map(str, test.triggers()))
    ends = [line["at"] for line in found if "at" in line]
    assert max(ends) > 300 + 30, "the second and third timeout of the last events"
    assert any("n" in line for line in found)
    assert (result.drained, result.cut_off, result.stats.timers, result.stats.keys) == (True, 0, 0, 7)


class StopAtStep(StopFlag):
    """Stops a run in a step of its drain, or dies there."""

    def __init__(self, directory: Path, step: int, *, crash: bool) -> None:
        super().__init__()
        self._directory, self._step, self._crash = directory, step, crash

    def __call__(self) -> bool:
        found = Manifest.load(self._directory)
        if found is not None and found.drain is not None and found.drain.step >= self._step:
            if self._crash:
                raise RuntimeError
            return True
        return False


@pytest.mark.parametrize("crash", [True, False])
@pytest.mark.parametrize("operator", [Chain(), Heartbeat()])
def test_a_drain_that_is_interrupted_goes_on_with_the_same_steps(tmp_path: Path, operator: Any, crash: bool) -> None:
    undisturbed: list[Any] = []
    run(tmp_path / "once", operator, undisturbed)
    found: list[Any] = []
    state = tmp_path / "often"
    for step in (0, 1, 1, 2):
        stop = StopAtStep(state, step, crash=crash)
        if crash:
            with pytest.raises(RuntimeError):
                run(state, operator, found, stop=stop)
        else:
            assert not run(state, operator, found, stop=stop).drained
        with pytest.raises(DrainedStateError, match="is being drained"):
            run(state, operator, found, drain=False, events=[*EVENTS, {"at": 90, "key": "k1", "delays": [1]}])
    assert run(state, operator, found).drained
    assert list(dict.fromkeys(map(str, found))) == list(map(str, undisturbed))
    with pytest.raises(DrainedStateError, match="was drained"):
        run(state, operator, found)


def test_what_arms_itself_for_ever_is_cut_off_and_told(tmp_path: Path) -> None:
    found: list[Any] = []
    result = run(tmp_path / "state", Heartbeat(), found, events=[{"at": 0, "key": "a"}])
    assert (result.drained, result.cut_off) == (True, 2), "its own timer, and that of the stage behind it"
    beats = [line["beat"] for line in found if "beat" in line]
    assert beats == list(range(10, beats[-1] + 1, 10))
    assert len(beats) >= STEPS
    test = FlowTest(flow_of(Heartbeat(), [], []))
    test.send("s", {"at": 0, "key": "a"})
    test.drain()
    assert [line["data"]["beat"] if "data" in line else line.get("beat") for line in test.triggers("steps")] == beats


FLOW = """
import headway as hw

class Chain(hw.Operator[hw.Json, hw.Json]):
    def on_event(self, state, event, ctx):
        ctx.timer("reminded", event["at"] + 5)
    def on_timer(self, state, timer, ctx):
        ctx.emit({"what": timer.name, "key": ctx.key})
        if timer.name == "reminded":
            ctx.timer("expired", timer.at + 10)

flow = hw.Flow("chain")
orders = flow.source("orders", hw.Json, hw.files("in.jsonl"), time="at")
orders.key_by("key").process("chain", Chain()).trigger("order", hw.to_jsonl("out.jsonl"))
"""


def test_killed_while_the_books_are_being_closed(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"at": {at}, "key": "k{at % 50}"}}\n' for at in range(20_000)))
    assert cluster.run(tmp_path, "flow.py", "--state", "once", "--drain")["status"] == "drained"
    expected = (tmp_path / "out.jsonl").read_bytes()
    assert expected.count(b'"expired"') == expected.count(b'"reminded"')
    (tmp_path / "out.jsonl").unlink()
    for step in range(3):
        started = cluster.Started(tmp_path, "flow.py", "--state", "state", "--drain", "--workers", 1 + step % 2)

        def is_there(at: int = step) -> bool:
            found = Manifest.load(tmp_path / "state")
            return found is not None and found.drain is not None and found.drain.step >= at

        cluster.await_true(lambda: started.process.poll() is not None or is_there(), f"step {step} of the drain")  # noqa: B023
        started.end()
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write('{"at": 20001, "key": "k1"}\n')
    refused = cluster.Started(tmp_path, "flow.py", "--state", "state")
    code, told = refused.outcome()
    assert code == 3
    assert "is being drained" in told
    drain = Manifest.load(tmp_path / "state")
    if drain is not None and drain.drain is not None and not drain.drain.done:
        cluster.run(tmp_path, "flow.py", "--state", "state", "--drain")
    assert (tmp_path / "out.jsonl").read_bytes() == expected


def test_the_steps_are_kept_in_the_manifest(tmp_path: Path) -> None:
    run(tmp_path / "state", Chain(), [], events=[{"at": 0, "key": "a", "delays": [10, 20]}])
    found = Manifest.load(tmp_path / "state")
    assert found is not None
    assert found.drain == Drain(step=3, to_ms=1_030, done=True)
