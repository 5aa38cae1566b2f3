"""What the kit finds is what a run finds; and what a run has kept is replayed against the code of today."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import headway as hw
from headway import durable_workflow
from headway.cli.main import main
from headway.declare.loading import FlowSpec, load_flow
from headway.durable.inputs import PATH
from headway.durable.messages import Body, Cancel, Signal, Start, message
from headway.functions.history import decode
from headway.functions.recorded import Recorded
from headway.inbox.commits import Inbox, item_of
from headway.inbox.settings import InboxSettings
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag
from headway.state.reader import StateReader
from headway.testing import FunctionTest, replay

PATIENCE_S = 30


def tell(state: Path, *messages: tuple[str, Body]) -> None:
    """Messages, as clients would post them."""
    inbox = Inbox(state / "inbox" / PATH[1:].replace("/", ".") / "0", InboxSettings())
    for to, body in messages:
        inbox.commit([[item_of(message(to, body))]])
    inbox.close()


def start(*arguments: Any) -> Start:
    return Start(msgspec.Raw(json.dumps(arguments).encode()))


def run_until(flow: hw.Flow, state: Path, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S

    def stops() -> bool:
        assert time.monotonic() < deadline, "it takes too long"
        return done()

    run_flow(flow, RunOptions(state, key_groups=2, epoch_ms=20, follow=True), stop=StopFlag(stops))


@durable_workflow
async def buy(context: Any, items: list[str]) -> dict[str, Any]:
    context.state["items"] = len(items)
    context.compensate("cancel_order", "o")
    prices = await context.gather(*(context.child(price, item, id=item) for item in items))
    approved = await context.wait("approve")
    try:
        await context.call("charge", sum(prices))
    except Exception as error:
        approved = str(error)
    await context.start(tidy, id="t")
    await context.signal(tidy, "t", "go", 5)
    return {"prices": prices, "approved": approved, "dice": context.random.randrange(10**9), "id": str(context.uuid())}


@durable_workflow
async def price(context: Any, item: str) -> int:
    cents: int = await context.call("look_up", item)
    return cents


@durable_workflow
async def tidy(context: Any) -> None:
    context.compensate("undo_tidy")
    raise ValueError(f"nothing to tidy: {await context.wait('go')}")


def group(charged: list[int]) -> hw.Functions:
    flow = hw.Functions("shop", [buy, price, tidy])

    @flow.step
    async def look_up(item: str) -> int:
        return 100 * len(item)

    @flow.step(retry=hw.RetryPolicy(initial="1ms", maximum_attempts=3))
    def charge(cents: int) -> None:
        charged.append(cents)
        raise OSError("the bank is down")

    @flow.step
    def cancel_order(order: str) -> None:
        """Nobody calls it: the order is bought."""

    @flow.step
    def undo_tidy() -> None:
        """Called once."""

    return flow


def shape(history: Any) -> list[str]:
    """A history without its times, as calls and answers of one moment come in any order."""
    return sorted(
        repr(msgspec.structs.replace(entry, at_ms=0) if hasattr(entry, "at_ms") else entry) for entry in history
    )


def test_what_the_kit_finds_is_what_a_run_finds(tmp_path: Path) -> None:
    """The third child has the id of the first: both callers get the end of one function."""
    charged: list[int] = []
    items = ["a", "bbb", "a"]
    test = FunctionTest(buy, group(charged), real_steps=True, id="7").signal("approve", "yes", at="1s")
    kit = test.with_crashes().run(items)
    assert charged == [500] * 3

    charged.clear()
    ended: list[Any] = []
    flow = group(charged)
    flow.ended.to("ended", hw.to_list(ended))
    tell(tmp_path, ("buy/7", start(items)), ("buy/7", Signal("approve", msgspec.Raw(b'"yes"'))))
    run_until(flow, tmp_path, lambda: len(ended) >= 4)
    assert charged == [500] * 3
    result = next(json.loads(one["result"]) for one in ended if one["function"] == "buy")
    assert result == kit.result
    with StateReader(tmp_path) as reader:
        rows = {row.key: [decode(data) for data in row.state["history"]] for row in reader.rows("functions")}
    assert set(rows) == {f"{one.identity.name}/{one.identity.id}" for one in kit.histories}
    for one in kit.histories:
        if one.identity.name != "buy":
            assert shape(rows[f"{one.identity.name}/{one.identity.id}"]) == shape(one.entries), one.identity
    assert replay(Recorded(kit.histories[0].identity, kit.histories[0].entries), flow).value == "completed"


FLOW = """
import headway as hw
from headway import durable_workflow


@durable_workflow
async def remind(context, user: str):
    await context.call("mail", user)
    await context.wait("go")
    await context.call("phone", user)


@durable_workflow
async def other(context):
    await context.wait("go")


flow = hw.Functions("reminders", [remind, other])


@flow.step
async def mail(user: str) -> None: ...


@flow.step
async def phone(user: str) -> None: ...
"""


def checked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["functions", "replay-check", *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_histories_under_way_against_code_that_has_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, state, saved = tmp_path / "flow.py", tmp_path / "state", tmp_path / "saved.jsonl"
    file.write_text(FLOW)
    tell(state, *((f"remind/{number}", start(f"u{number}")) for number in range(3)), ("other/1", start()))

    def waits() -> list[list[str]]:
        try:
            with StateReader(state) as reader:
                return [row.state.get("waits", []) for row in reader.rows("functions")]
        except hw.HeadwayError:
            return []

    flow = load_flow(FlowSpec(str(file)))
    run_until(flow, state, lambda: len(waits()) == 4 and all(wait == ["signal go"] for wait in waits()))
    code, out, _ = checked(capsys, file, "--state", state, "--save", saved)
    assert (code, out) == (0, "replayed: 4, all go on\n")
    assert len(saved.read_text().splitlines()) == 4

    file.write_text(FLOW.replace('context.call("mail", user)', 'context.call("mail", user.upper())'))
    code, out, _ = checked(capsys, file, "--state", state)
    assert code == 1
    lines = out.splitlines()
    assert len(lines) == 4
    assert 'its history says call("mail", ["u0"]), but the code now does call("mail", ["U0"])' in lines[0]
    assert f"{file}:8" in lines[0]
    assert lines[-1] == "replayed: 4, of which 3 could not go on"
    assert [line.split()[0] for line in lines[:3]] == ["remind/0", "remind/1", "remind/2"]

    code, out, _ = checked(capsys, file, "--from", saved, "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert (code, told[-1]) == (1, {"replayed": 4, "differ": 3})
    assert (told[0]["instance"], told[0]["expected"], told[0]["found"]) == (
        "remind/0",
        'call("mail", ["u0"])',
        'call("mail", ["U0"])',
    )
    file.write_text(FLOW.replace("[remind, other]", "[remind]"))
    code, out, _ = checked(capsys, file, "--from", saved)
    assert "other/1  there is no function 'other' any more: there are remind" in out


def test_what_replay_check_cannot_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, saved = tmp_path / "flow.py", tmp_path / "saved.jsonl"
    file.write_text(FLOW)
    saved.write_text('{"function": 3}\n')
    code, _, err = checked(capsys, file, "--from", saved)
    assert code == 3
    assert "is no recorded history" in err
    code, _, err = checked(capsys, file, "--from", tmp_path / "nowhere")
    assert (code, "the histories cannot be read: No such file" in err) == (4, True)
    code, _, err = checked(capsys, file, "--from", saved, "--ended")
    assert (code, "--from reads a file" in err) == (2, True)
    code, _, err = checked(capsys, "headway.flows.abandoned_carts")
    assert (code, "has no durable functions" in err) == (2, True)
    saved.write_text("")
    assert checked(capsys, file, "--from", saved)[:2] == (0, "replayed: 0, there is nothing under way\n")


def shipped(name: str) -> hw.Functions:
    flow = load_flow(FlowSpec(f"headway.flows.{name}"))
    assert isinstance(flow, hw.Functions)
    return flow


@pytest.mark.parametrize("number", range(8))
def test_refunds_survive_a_crash_anywhere(number: int) -> None:
    test = FunctionTest("refund_order", shipped("refund_order"), real_steps=True)
    run = test.with_crashes(steps_twice=True).run(f"o-{number}")
    assert run.result is None
    assert run.called[:2] == ["cancel_shipping", "refund_payment"]
    assert run.elapsed_ms == (500 if "escalate_issue" in run.called else 200)


@pytest.mark.parametrize(("asked_after", "stage"), [("1s", "packing"), ("3s", "shipped")])
def test_orders_are_taken_back_through_a_crash_anywhere(asked_after: str, stage: str) -> None:
    test = FunctionTest("fulfil_order", shipped("order_fulfilment"), real_steps=True).with_crashes(steps_twice=True)
    run = test.signal("cancel", "no", at=asked_after).run({"id": "o-2", "item": "lamp", "cents": 1})
    assert run.state == {"stage": stage}
    undone = ["refund", "release_stock"] if stage == "packing" else []
    assert run.called == ["reserve_stock", "charge", "pack", *undone]


@durable_workflow
async def ask_twice(context: Any, what: str) -> list[list[str]]:
    found = []
    for _ in range(2):
        try:
            found.append([await context.child(doomed, what, id=what)])
        except hw.StepError as error:
            found.append([error.type, error.message])
    return found


@durable_workflow
async def doomed(context: Any, what: str) -> str:
    if what == "fails":
        raise LookupError("nothing there")
    if what == "cancels":
        await context.signal(doomed, "cancels", "never")
        await context.wait("never", timeout="1ms")
    return what


@pytest.mark.parametrize("what", ["fails", "cancels", "works"])
def test_whoever_asks_for_an_end_again_is_told_the_same(tmp_path: Path, what: str) -> None:
    expected = FunctionTest(ask_twice, hw.Functions("group", [ask_twice, doomed])).with_crashes().run(what).result
    assert expected[0] == expected[1]
    flow = hw.Functions("group", [ask_twice, doomed])
    ended: list[Any] = []
    flow.ended.to("ended", hw.to_list(ended))
    tell(tmp_path, ("ask_twice/test", start(what)))
    run_until(flow, tmp_path, lambda: len(ended) >= 2)
    assert [json.loads(one["result"]) for one in ended if one["function"] == "ask_twice"] == [expected]


def test_a_blocked_function_can_be_terminated(tmp_path: Path) -> None:
    """Its code cannot be made again; its child is cancelled all the same."""

    def group_with(first: str) -> tuple[hw.Functions, list[Any]]:
        @durable_workflow(name="outer")
        async def outer(context: Any) -> None:
            await context.call(first)
            await context.child(inner, id="i")

        flow = hw.Functions("group", [outer, inner])
        for name in ("a", "b"):
            flow.step(name=name)(lambda: None)
        ended: list[Any] = []
        flow.ended.to("ended", hw.to_list(ended))
        return flow, ended

    @durable_workflow
    async def inner(context: Any) -> None:
        await context.sleep("365d")

    def statuses() -> dict[str, str]:
        try:
            with StateReader(tmp_path) as reader:
                return {row.key: row.state.get("status", "") for row in reader.rows("functions")}
        except hw.HeadwayError:
            return {}

    flow, _ = group_with("a")
    tell(tmp_path, ("outer/1", start()))
    run_until(flow, tmp_path, lambda: "inner/i" in statuses())
    flow, ended = group_with("b")
    tell(tmp_path, ("outer/1", Signal("go")))
    run_until(flow, tmp_path, lambda: statuses()["outer/1"] == "blocked")
    tell(tmp_path, ("outer/1", Cancel("it is of no use", terminates=True)))
    run_until(flow, tmp_path, lambda: len(ended) >= 2)
    assert {one["function"]: one["status"] for one in ended} == {"outer": "terminated", "inner": "cancelled"}
    with StateReader(tmp_path) as reader:
        row = reader.get("functions", "outer/1")
    assert row is not None
    assert (row.state["error"], row.state.get("held", []), set(row.timers)) == ("it is of no use", [], {"retention"})
