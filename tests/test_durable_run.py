"""Groups of functions in a run: starts and their policies, signals, cancellation, children, code that has changed."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.durable_harness import PATIENCE_S, Group, start

import headway as hw
from headway import durable_workflow
from headway.delivery import dispatcher
from headway.durable.inputs import Routes
from headway.durable.messages import Cancel, Resolve, Retry, Signal, Update
from headway.errors import FlowError, UsageError
from headway.functions.tokens import read_token
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag


@durable_workflow
async def refund_order(context, order_id):  # type: ignore[no-untyped-def]
    await context.call("cancel_shipping", order_id)
    try:
        await context.call("refund_payment", order_id)
    except:  # noqa: E722 - what a user writes
        await context.call("escalate_issue", order_id)


@pytest.mark.parametrize("bank_is_down", [False, True])
def test_the_example(tmp_path: Path, bank_is_down: bool) -> None:
    called: list[str] = []

    async def cancel_shipping(order_id: str) -> None:
        called.append(f"cancel {order_id}")

    def refund_payment(order_id: str) -> None:
        called.append(f"refund {order_id}")
        if bank_is_down:
            raise OSError("the bank is down")

    async def escalate_issue(order_id: str) -> None:
        called.append(f"escalate {order_id}")

    group = Group(tmp_path, refund_order, steps=[cancel_shipping, escalate_issue])
    group.flow.step(retry=hw.RetryPolicy(initial="1ms", maximum_attempts=2))(refund_payment)
    group.tell(("refund_order/o-1", start("o-1")))
    group.run_until_ended(1)
    assert group.ended[0]["status"] == "completed"
    ways = ["cancel o-1", "refund o-1", "refund o-1", "escalate o-1"] if bank_is_down else ["cancel o-1", "refund o-1"]
    assert called == ways
    group.run(lambda: True)
    assert called == ways, "what is done is not done again"


@durable_workflow
async def greet(context: Any, name: str) -> str:
    return f"Hello, {name}"


def doing(name: str, id_reuse: Any) -> Any:
    @durable_workflow(name=name, id_reuse=id_reuse)
    async def code(context: Any, said: str) -> str:
        if said == "bad":
            raise ValueError(said)
        return said

    return code


@pytest.mark.parametrize(
    ("id_reuse", "ended", "refused"),
    [
        ("return", [(0, "failed")], 0),
        ("reject", [(0, "failed")], 2),
        ("new", [(0, "failed"), (1, "completed"), (2, "completed")], 0),
        ("new_after_failure", [(0, "failed"), (1, "completed")], 1),
    ],
)
def test_an_id_that_is_used_again(tmp_path: Path, id_reuse: str, ended: list[Any], refused: int) -> None:
    group = Group(tmp_path, doing("do", id_reuse), greet)
    group.tell(("do/1", start("bad")))
    group.run_until_ended(1)
    group.tell(("do/1", start("well")))
    group.run(lambda: len(group.ended) + len(group.unclaimed) >= 2 or id_reuse == "return")
    group.tell(("do/1", start("better")), ("greet/1", start("Ann")))
    group.run(lambda: any(one["function"] == "greet" for one in group.ended))
    assert [(one["run"], one["status"]) for one in group.ended if one["function"] == "do"] == ended
    assert ["ids are used once" in one["reason"] for one in group.unclaimed] == [True] * refused


@durable_workflow
async def listen(context: Any) -> list[int]:
    heard = []
    while (value := await context.wait("say")) >= 0:
        heard.append(value)
    return heard


def test_signals_come_in_order_and_those_that_are_too_late_are_not_lost(tmp_path: Path) -> None:
    group = Group(tmp_path, listen)
    to = "listen/1"
    signals = [(to, Signal("say", msgspec.Raw(str(number).encode()))) for number in [*range(200), -1, 7]]
    group.tell(("listen/nobody", signals[0][1]), (to, start()), *signals)
    group.run(lambda: len(group.ended) >= 1 and len(group.unclaimed) >= 2)
    assert json.loads(group.ended[0]["result"]) == list(range(200))
    assert [(one["to"], one["reason"]) for one in group.unclaimed] == [
        ("listen/nobody", "there is no such instance"),
        ("listen/1", "it is completed"),
    ]


@durable_workflow
async def book(context: Any) -> str:
    context.compensate("give_back", "seat")
    await context.call("take", "seat")
    await context.sleep("365d")
    return "booked"


def test_cancelled_and_terminated(tmp_path: Path) -> None:
    called: list[str] = []

    async def take(what: str) -> None:
        called.append(f"take {what}")

    async def give_back(what: str) -> None:
        called.append(f"give back {what}")

    group = Group(tmp_path, book, steps=[take, give_back])
    group.tell(("book/soft", start()), ("book/hard", start()))
    group.run(lambda: len(called) == 2)
    group.tell(("book/soft", Cancel("no money")), ("book/hard", Cancel("at once", terminates=True)))
    group.run_until_ended(2)
    assert {one["id"]: (one["status"], one["error"]) for one in group.ended} == {
        "soft": ("cancelled", "no money"),
        "hard": ("terminated", "at once"),
    }
    assert called == ["take seat", "take seat", "give back seat"]
    assert all(set(row.timers) == {"retention"} for row in group.rows().values())


@durable_workflow
async def hopeless(context: Any) -> None:
    await context.call("never")


def test_a_call_that_nobody_waits_for_is_not_tried_again(tmp_path: Path) -> None:
    attempts: list[int] = []

    async def never() -> None:
        attempts.append(1)
        raise OSError("down")

    group = Group(tmp_path, hopeless)
    group.flow.step(retry=hw.RetryPolicy(initial="1ms", coefficient=1.0))(never)
    group.tell(("hopeless/1", start()))
    group.run(lambda: len(attempts) >= 3)
    group.tell(("hopeless/1", Cancel("enough", terminates=True)))
    group.run_until_ended(1)
    made = len(attempts)
    group.run(lambda: group.waiting() == 0)
    assert len(attempts) <= made + 1, "an attempt that was under way may come to its end"


@durable_workflow
async def stuck(context: Any) -> None:
    await context.call("slow")


def test_slow_steps_hold_up_no_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "_LAST_ANSWERS_S", 0.0)
    release = asyncio.Event()

    async def slow() -> None:
        await release.wait()

    group = Group(tmp_path, stuck, parent, greet, steps=[slow])
    group.tell(*((f"stuck/{number}", start()) for number in range(1_100)), ("parent/1", start(1)))
    group.run(lambda: any(one["function"] == "parent" for one in group.ended))
    assert {one["function"] for one in group.ended} == {"greet", "parent"}


@durable_workflow
async def parent(context: Any, number: int) -> list[str]:
    names = [await context.child(greet, f"{number}-{part}") for part in range(2)]
    try:
        await context.call(missing, "x")
    except Exception as error:
        names.append(type(error).__name__)
    return names


@durable_workflow
async def missing(context: Any, name: str) -> None: ...


def test_children(tmp_path: Path) -> None:
    group = Group(tmp_path, parent, greet)
    group.tell(("parent/1", start(1)))
    group.run(lambda: any(one["function"] == "parent" for one in group.ended))
    [whole] = [one for one in group.ended if one["function"] == "parent"]
    assert json.loads(whole["result"]) == ["Hello, 1-0", "Hello, 1-1", "StepError"]


@durable_workflow
async def count_down(context: Any, number: int, runs: int = 0) -> int:
    if number:
        context.continue_as_new(number - 1, runs + 1)
    return runs


def test_a_run_that_continues_as_a_new_one(tmp_path: Path) -> None:
    group = Group(tmp_path, count_down)
    group.tell(("count_down/1", start(20)))
    group.run_until_ended(1)
    assert [(one["run"], one["result"]) for one in group.ended] == [(20, "20")]
    assert len(group.rows()["count_down/1"].state["history"]) == 2


def changing(*, second: str) -> Any:
    @durable_workflow(name="changing")
    async def code(context: Any) -> str:
        await context.call("first")
        await context.wait("go")
        return str(await context.call(second))

    return code


def test_code_that_does_something_else_blocks_its_instance_until_it_is_mended(tmp_path: Path) -> None:
    called: list[str] = []

    async def first() -> str:
        called.append("first")
        return "first"

    async def second() -> str:
        return "second"

    @durable_workflow(name="changing")
    async def other(context: Any) -> str:
        await context.call("second")
        return "other"

    before = Group(tmp_path, changing(second="second"), greet, steps=[first, second])
    before.tell(("changing/1", start()))
    before.run(lambda: called == ["first"])
    changed = Group(tmp_path, other, greet, steps=[first, second])
    changed.tell(("changing/1", Signal("go")), ("greet/1", start("Ann")))
    changed.run_until_ended(1)
    assert changed.ended[0]["function"] == "greet", "the others go on"
    row = changed.rows()["changing/1"]
    assert row.state["status"] == "blocked"
    assert "first" in row.state["error"] and "second" in row.state["error"]
    mended = Group(tmp_path, changing(second="second"), greet, steps=[first, second])
    mended.tell(("changing/1", Retry()))
    mended.run_until_ended(1)
    assert (mended.ended[0]["status"], mended.ended[0]["result"]) == ("completed", '"second"')


@durable_workflow
async def approve(context: Any) -> Any:
    limit = 100

    def raise_limit(cents: int) -> int:
        nonlocal limit
        limit += cents
        return limit

    context.on_update("raise", raise_limit)
    token = context.token(int)
    await context.call("mail", token.text)
    answered = await token
    return {"limit": limit, "answered": answered}


def test_updates_are_answered_and_a_call_is_by_its_token(tmp_path: Path) -> None:
    tokens: list[str] = []

    async def mail(text: str) -> None:
        tokens.append(text)

    group = Group(tmp_path, approve, steps=[mail])
    group.tell(("approve/1", start()))
    group.run(lambda: len(tokens) == 1)
    group.tell(("approve/1", Update("u1", "raise", msgspec.Raw(b"50"))))
    group.tell(("approve/1", Update("u2", "raise", msgspec.Raw(b'"much"'))), ("approve/1", Update("u3", "lower")))
    identity, call = read_token(tokens[0])
    group.tell(("approve/1", Resolve(identity.run, call, msgspec.Raw(b"7"))))
    group.tell(("approve/1", Resolve(identity.run, call, msgspec.Raw(b"8"))))
    group.run_until_ended(1)
    assert json.loads(group.ended[0]["result"]) == {"limit": 150, "answered": 7}
    updates = group.rows()["approve/1"].state["updates"]
    assert updates["u1"]["value"] == "150"
    assert "Expected `int`" in updates["u2"]["error"]
    assert "takes no update 'lower'" in updates["u3"]["error"]


def test_what_has_ended_is_forgotten_after_its_retention(tmp_path: Path) -> None:
    @durable_workflow(retention="1ms")
    async def brief(context: Any) -> None: ...

    group = Group(tmp_path, brief, greet)
    group.tell(*((f"brief/{number}", start()) for number in range(20)))
    group.run_until_ended(20)
    group.tell(("greet/1", start("Ann")))
    group.run_until_ended(21)
    assert set(group.rows()) <= {"greet/1"}


def test_streams_start_functions(tmp_path: Path) -> None:
    found: list[Any] = []
    flow = hw.Functions("carts", [greet])
    items = [{"at": at, "cart": at % 10, "user": f"u{at % 10}"} for at in range(41)]
    carts = flow.source("carts", hw.Json, hw.items(items), time="at").key_by("cart")
    carts.start(greet, id="cart", args=lambda cart: (cart["user"],))
    flow.ended.to("ended", hw.to_list(found))
    deadline = time.monotonic() + PATIENCE_S
    stop = StopFlag(lambda: len(found) >= 10 or time.monotonic() > deadline)
    run_flow(flow, RunOptions(tmp_path, key_groups=2, epoch_ms=20, follow=True), stop=stop)
    assert sorted((one["id"], one["result"]) for one in found) == [(str(n), f'"Hello, u{n}"') for n in range(10)]


def test_what_cannot_be_declared() -> None:
    with pytest.raises(FlowError, match=r"decorate it with @hw\.durable_workflow"):
        hw.Functions("group", [len])  # type: ignore[list-item]
    with pytest.raises(FlowError, match="called 'greet'"):
        hw.Functions("group", [greet, greet])
    plain = hw.Flow("plain")
    stream = plain.source("s", hw.Json, hw.items([]), time="at")
    with pytest.raises(FlowError, match="has no functions to start"):
        stream.start(greet, id="user")
    group = hw.Functions("group", [greet])
    with pytest.raises(FlowError, match="the functions of 'group' are greet"):
        group.source("s", hw.Json, hw.items([]), time="at").start(refund_order, id="user")


@pytest.mark.parametrize(
    ("parts", "body", "error", "said"),
    [
        (["nobody", "1"], b"[]", LookupError, "there is no function 'nobody'"),
        (["greet"], b"[]", LookupError, "post to one of /v1/functions/{name}/{id}"),
        (["greet", "1", "dance"], b"[]", LookupError, "post to one of /v1/functions/{name}/{id}"),
        (["greet", "1"], b"[1]", UsageError, "argument 'name'"),
        (["greet", "1"], b"{", UsageError, "JSON"),
        (["greet", "1", "signals", "say"], b"{", UsageError, "no JSON"),
        (["greet", "\0"], b"[]", UsageError, "zero byte"),
    ],
)
def test_requests_that_are_refused_at_the_door(
    parts: list[str], body: bytes, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Routes({"greet": greet}).line(parts, body)
