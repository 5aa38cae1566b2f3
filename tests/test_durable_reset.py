"""Resetting functions to an earlier call: what stays, what is done again, and what is refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.durable_harness import Group, start

import headway as hw
from headway import durable_workflow
from headway.cli.main import main
from headway.durable.messages import Reset, Resolve, Signal
from headway.errors import UsageError
from headway.functions.cutting import cut_before
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    Entry,
    Failed,
    Failure,
    Fired,
    Signalled,
    Started,
    TimerSet,
)
from headway.functions.tokens import read_token
from headway.testing import FunctionTest


def test_what_stays_of_a_history() -> None:
    entries: list[Entry] = [
        Started(0),
        Called(1, "step", "a"),
        Called(2, "step", "b"),
        TimerSet(3, 900),
        Called(4, "step", "late"),
        Answered(10, 1, b"1"),
        Called(5, "step", "c"),
        Signalled(20, "go"),
        Answered(30, 5),
        Called(6, "step", "c"),
        Answered(40, 2, b"2"),
        Fired(900, 3),
        Failed(950, 6, Failure("Error", "no")),
    ]
    cut = cut_before(entries, "c")
    assert (cut.before.number, cut.entries) == (6, entries[:8])
    assert cut.happenings == [Answered(30, 5), Answered(40, 2, b"2")]
    assert ([one.number for one in cut.calls], cut.timers) == ([4], [TimerSet(3, 900)])
    cut = cut_before(entries, "5")
    assert (cut.entries, cut.calls) == (entries[:5], [entries[4]])
    assert cut.happenings == [Answered(10, 1, b"1"), Signalled(20, "go"), Answered(40, 2, b"2")]
    cut = cut_before(entries, "a")
    assert (cut.entries, cut.calls, cut.timers) == ([], [], [])
    assert cut.happenings == [Started(0), Signalled(20, "go")]
    for to in ("7", "3", "d"):
        with pytest.raises(UsageError, match=f"has no call '{to}'.*it has 1 a, 2 b, 4 late, 5 c, 6 c"):
            cut_before(entries, to)
    taken_back: list[Entry] = [*entries[:5], Answered(10, 1), CallCancelled(4), Called(7, "step", "d")]
    assert [one.number for one in cut_before(taken_back, "d").calls] == [2, 4], "not cancelled before the cut"


@durable_workflow
async def errand(context: Any, count: int) -> Any:
    found: list[Any] = [str(context.uuid())]
    for number in range(count):
        found.append(await context.call("work", number, context.random.randrange(1_000)))
        if number == 1:
            found.append(await context.wait("go", returns=int))
    return found


class Work:
    """A step that fails for a number as long as it is told to."""

    def __init__(self) -> None:
        self.bad: set[int] = set()
        self.done: list[int] = []

    def group(self, state: Path, *functions: Any) -> Group:
        group = Group(state, *(functions or (errand,)))

        @group.flow.step(retry=hw.RetryPolicy(maximum_attempts=1))
        async def work(number: int, dice: int) -> list[int]:
            self.done.append(number)
            if number in self.bad:
                raise ValueError(number)
            return [number, dice]

        return group


def test_one_that_has_failed_goes_on_from_the_step_that_failed(tmp_path: Path) -> None:
    world = Work()
    world.bad = {3}
    group = world.group(tmp_path)
    group.tell(("errand/1", start(5)), ("errand/1", Signal("go", msgspec.Raw(b"7"))))
    group.run_until_ended(1)
    assert (group.ended[0]["status"], world.done) == ("failed", [0, 1, 2, 3])
    world.bad = set()
    group.tell(("errand/1", Reset("work")))
    group.run_until_ended(2)
    assert (group.ended[1]["status"], group.ended[1]["run"]) == ("completed", 1)
    assert world.done == [0, 1, 2, 3, 3, 4], "what was done before is not done again"
    test = FunctionTest(errand, steps={"work": lambda number, dice: [number, dice]}, id="1").signal("go", 7)
    assert json.loads(group.ended[1]["result"]) == test.run(5).result, "ids and chance are those of the first run"
    row = group.rows()["errand/1"]
    assert (row.state["run"], row.state["resets"], set(row.timers)) == (1, 1, {"retention"})


def test_again_and_from_the_very_beginning(tmp_path: Path) -> None:
    world = Work()
    group = world.group(tmp_path)
    group.tell(("errand/1", start(3)), ("errand/1", Signal("go", msgspec.Raw(b"7"))))
    group.run_until_ended(1)
    for number, (to, done) in enumerate(((2, [1, 2]), (1, [0, 1, 2]), (3, [2])), start=2):
        del world.done[:]
        group.tell(("errand/1", Reset(str(to))))
        group.run_until_ended(number)
        assert (world.done, group.ended[-1]["run"]) == (done, number - 1)
        assert json.loads(group.ended[-1]["result"])[3] == 7, "the signal is given again"


def test_late_answers_are_those_of_another_run(tmp_path: Path) -> None:
    calls: list[int] = []

    @durable_workflow
    async def slow(context: Any) -> list[Any]:
        return [await context.call("first"), await context.call("second")]

    async def first() -> int:
        return 1

    async def second() -> int:
        calls.append(len(calls))
        while len(calls) < 2:
            await asyncio.sleep(0.001)
        return len(calls)

    group = Group(tmp_path, slow, steps=[first, second])
    group.tell(("slow/1", start()))
    told: list[bool] = []

    def proceeds() -> bool:
        if calls and not told:
            told.append(True)
            group.tell(("slow/1", Reset("second")), ("slow/1", Resolve(0, 2, msgspec.Raw(b'"of the run before"'))))
        return bool(group.ended)

    group.run(proceeds)
    assert group.ended[0]["result"] == "[1,2]", group.ended


def test_tokens_stay_good(tmp_path: Path) -> None:
    texts: list[str] = []

    @durable_workflow
    async def confirm(context: Any) -> list[Any]:
        token = context.token()
        await context.call("mail", token.text)
        await context.call("note")
        return [await token]

    async def mail(text: str) -> None:
        texts.append(text)

    async def note() -> None: ...

    group = Group(tmp_path, confirm, steps=[mail, note])
    group.tell(("confirm/1", start()))
    group.run(lambda: group.has_state() and "token" in str([row.state["waits"] for row in group.rows().values()]))
    group.tell(("confirm/1", Reset("note")))
    identity, call = read_token(texts[0])
    group.tell(("confirm/1", Resolve(identity.run, call, msgspec.Raw(b"9"), by_token=True)))
    group.run_until_ended(1)
    assert (json.loads(group.ended[0]["result"]), len(texts)) == ([9], 1)


@durable_workflow
async def parent(context: Any) -> Any:
    inner = context.child(child, id="c")
    await context.sleep("1ms")
    await context.call("work", 0, 0)
    return await inner


@durable_workflow
async def child(context: Any) -> str:
    return str(await context.wait("done", returns=str))


def test_children_are_left_alone_and_their_ends_come_to_the_new_run(tmp_path: Path) -> None:
    world = Work()
    group = world.group(tmp_path, parent, child)
    group.tell(("parent/1", start()))
    group.run(lambda: len(world.done) == 1)
    group.tell(("parent/1", Reset("work")))
    group.run(lambda: len(world.done) == 2)
    group.tell(("child/c", Signal("done", msgspec.Raw(b'"well"'))))
    group.run_until_ended(2)
    assert [(one["function"], one["result"], one["run"]) for one in group.ended] == [
        ("child", '"well"', 0),
        ("parent", '"well"', 1),
    ]


def test_blocked_and_refused(tmp_path: Path) -> None:
    world = Work()
    before = world.group(tmp_path)
    before.tell(("errand/1", start(3)))
    before.run(lambda: world.done == [0, 1])

    @durable_workflow(name="errand")
    async def changed(context: Any, count: int) -> str:
        context.uuid()
        await context.call("work", 0, context.random.randrange(1_000))
        return "changed"

    after = world.group(tmp_path, changed)
    after.tell(("errand/1", Signal("go", msgspec.Raw(b"1"))))
    after.run(lambda: after.rows()["errand/1"].state["status"] == "blocked")
    after.tell(*(("errand/1", Reset(to)) for to in ("3", "7", "nobody")), ("errand/none", Reset("1")))
    after.run(lambda: len(after.unclaimed) == 4)
    reasons = sorted(one["reason"] for one in after.unclaimed)
    assert all("it has 1 work, 2 work" in one for one in reasons[:3]), reasons
    assert reasons[3] == "there is no such instance"
    assert after.rows()["errand/1"].state["status"] == "blocked", "it is as it was"
    after.tell(("errand/1", Reset("2")))
    after.run_until_ended(1)
    assert (after.ended[0]["result"], after.ended[0]["run"]) == ('"changed"', 1)


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "flow.py"
    file.write_text(FLOW)
    from headway.declare.loading import FlowSpec, load_flow

    group = Group(tmp_path / "state")
    group.flow = load_flow(FlowSpec(str(file)))  # type: ignore[assignment]
    group.flow.ended.to("ended-here", hw.to_list(group.ended))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["functions", "reset", str(file), *arguments, "--state", str(group.state)])
        return code, *capsys.readouterr()

    group.tell(("chain/1", start(3)))
    group.run_until_ended(1)
    assert run("chain/2", "--to", "1") == (1, "", "there is no instance 'chain/2'\n")
    assert "has no call '9'" in run("chain/1", "--to", "9")[2]
    assert run("chain/1", "--to", "2") == (0, "taken: chain/1\n", "")
    group.run_until_ended(2)
    assert [(one["run"], one["result"]) for one in group.ended] == [(0, "3"), (1, "3")]
    file.write_text(FLOW.replace('"one"', '"two"'))
    assert "cannot go on before '2'" in run("chain/1", "--to", "2")[2]


FLOW = """
import headway as hw
from headway import durable_workflow

@durable_workflow
async def chain(context, length: int) -> int:
    found = 0
    for number in range(length):
        found += await context.call("one")
    return found

flow = hw.Functions("chains", [chain])

@flow.step(name="one")
async def one() -> int:
    return 1
"""


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_a_history_that_is_cut_goes_on_to_the_same_end(width: int, depth: int, data: st.DataObject) -> None:
    """Wherever it is cut: the code, given what stays and the same answers, comes to the same result."""

    @durable_workflow
    async def grid(context: Any) -> list[Any]:
        found = []
        for row in range(depth):
            found.append(await context.gather(*(context.call("cell", row, column) for column in range(width))))
        return found

    whole = FunctionTest(grid, steps={"cell": lambda row, column: [row, column]}).run()
    entries = list(whole.history.entries) if hasattr(whole.history, "entries") else list(whole.history)
    number = data.draw(st.integers(1, width * depth))
    cut = cut_before(entries, str(number))
    from headway.functions.instance import Instance

    instance = Instance(grid, whole.histories[0].identity)
    instance.restore(cut.entries)
    pending: list[Any] = list(cut.at(instance.now_ms))
    known = {one.call: one for one in entries if isinstance(one, Answered)}
    pending += [known[call.number] for call in cut.calls]
    while pending:
        for entry in instance.take(pending.pop(0)):
            if isinstance(entry, Called):
                [row, column] = msgspec.json.decode(entry.arguments)
                pending.append(Answered(0, entry.number, msgspec.json.encode([row, column])))
    assert instance.outcome is not None and msgspec.json.decode(instance.outcome.value) == whole.result  # type: ignore[union-attr]
