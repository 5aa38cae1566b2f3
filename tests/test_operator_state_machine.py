"""State machines: the engine against the oracle, the oracle against plain Python, and what declarations refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.machine_doors import door, run, send, whole_door
from tests.operator_harness import SLOW, Logs, check, oracle_run, values

import headway as hw
from headway.connectors.base import Input, Output

PAID_MS, PACKED_MS, KEEP_MS = 5, 3, 4


class Order(hw.State):
    paid: int = 0
    notes: list[str] = []


def enough(event: dict[str, Any], order: Order) -> bool:
    return order.paid + int(event["amount"]) >= 3


def add(event: Optional[dict[str, Any]], order: Order) -> None:
    order.paid += 0 if event is None else event["amount"]


def note(event: Optional[dict[str, Any]], order: Order) -> None:
    order.notes.append("timeout" if event is None else str(event["at"]))


def machine() -> hw.StateMachine[Order]:
    declared = hw.StateMachine(
        "order",
        states=("new", "paid", "packed", "done", "lost"),
        initial="new",
        final=("done", "lost"),
        events="kind",
        data=Order,
    )
    return (
        declared.on("new", "pay", to="paid", when=enough, do=add)
        .on("new", "pay", do=add)
        .on("paid", "pack", to="packed", do=note)
        .on("packed", "pack", to="packed")
        .on(("paid", "packed"), "cancel", to="lost")
        .on("packed", "ship", to="done")
        .timeout("new", after=PAID_MS, to="lost", do=note)
        .timeout("packed", after=PACKED_MS, to="paid", do=note)
        .timeout("paid", after=PAID_MS, to="lost")
        .ignore(("new", "packed"), "ping")
    )


def flow(
    input_of: Callable[[str], Input],
    output_of: Callable[[str], Output],
    keep: Optional[int] = None,
    expire: Optional[int] = None,
) -> hw.Flow:
    declared = hw.Flow("orders")
    events = declared.source("events", hw.Json, input_of("events"), time="at", out_of_order=40).key_by("key")
    declared_machine = machine() if keep is None else machine().ignore("done", "ping")
    orders = events.state_machine("order", declared_machine, keep_final=keep, expire_after=expire)
    orders.to("out", output_of("out"))
    orders.side("illegal").to("illegal", output_of("illegal"))
    orders.side("unknown").to("unknown", output_of("unknown"))
    return declared


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.integers(0, 40),
            "key": st.sampled_from("ab"),
            "kind": st.sampled_from(["pay", "pay", "pack", "ship", "cancel", "ping", "other"]),
            "amount": st.integers(0, 3),
        }
    ),
    max_size=25,
)

EXPIRE = st.sampled_from([None, PAID_MS - 1, PAID_MS, PAID_MS + 1])

TICK = {"at": 1000, "key": "tick", "kind": "other", "amount": 0}
"""Lets time pass until chains of timeouts have come to their end: closing the books fires no timer of a timer."""

RULES: dict[tuple[str, str], Optional[str]] = {
    ("paid", "pack"): "packed",
    ("packed", "pack"): "packed",
    ("paid", "cancel"): "lost",
    ("packed", "cancel"): "lost",
    ("packed", "ship"): "done",
}
TIMEOUTS = {"new": (PAID_MS, "lost"), "packed": (PACKED_MS, "paid"), "paid": (PAID_MS, "lost")}


class Model:
    """One key's story, told without the operator: a loop over sorted events, with what is due looked up before each."""

    def __init__(self, keep: Optional[int], expire: Optional[int]) -> None:
        self.keep = keep
        self.expire = 10**6 if expire is None else expire
        self.expires = 0
        self.out: list[tuple[Any, ...]] = []
        self.illegal: list[tuple[Any, ...]] = []
        self.unknown = 0
        self.reset()

    def reset(self) -> None:
        self.state, self.since, self.limit, self.paid, self.notes = "", 0, 0, 0, list[str]()

    def go(self, to: str, cause: str, at: int) -> None:
        self.out.append((self.state, to, cause, self.since, at, self.paid, tuple(self.notes)))
        self.state, self.since = to, at
        if to in ("done", "lost") and self.keep is None:
            self.reset()
        elif to in ("done", "lost"):
            self.limit = at + (self.keep or 0)
        else:
            self.limit, self.expires = at + TIMEOUTS[to][0], at + self.expire

    def pass_time(self, before: float) -> None:
        while self.state and min(self.limit, self.expires) < before:
            # A timeout that is due when the instance expires still moves it.
            is_final = self.state in ("done", "lost")
            if is_final and self.limit >= before:
                return
            if is_final or self.expires < self.limit:
                self.reset()
                continue
            if self.state != "paid":
                self.notes.append("timeout")
            self.go(TIMEOUTS[self.state][1], "timeout", self.limit)

    def take(self, event: dict[str, Any]) -> None:
        at, kind = event["at"], event["kind"]
        self.pass_time(at)
        here = self.state or "new"
        if kind == "other":
            self.unknown += 1
        elif kind == "ping" and (here in ("new", "packed") or (here == "done" and self.keep is not None)):
            pass
        elif (here, kind) == ("new", "pay"):
            if not self.state:
                self.state, self.since, self.limit = "new", at, at + PAID_MS
            self.expires = at + self.expire
            full = self.paid + event["amount"] >= 3
            self.paid += event["amount"]
            if full:
                self.go("paid", "pay", at)
        elif (here, kind) in RULES:
            if (here, kind) == ("paid", "pack"):
                self.notes.append(str(at))
            self.go(RULES[here, kind] or "", kind, at)
        else:
            self.illegal.append((here, kind, "state", at))


def check_against_model(written: dict[str, list[Any]], events: list[dict[str, Any]], *options: Optional[int]) -> None:
    out, illegal, unknown = [], [], 0
    for key in "ab":
        model = Model(*options)
        for event in sorted((event for event in events if event["key"] == key), key=lambda event: int(event["at"])):
            model.take(event)
        model.pass_time(float("inf"))
        out += model.out
        illegal += model.illegal
        unknown += model.unknown
    assert sorted(out) == sorted(
        (
            line["from_state"],
            line["to_state"],
            line["cause"],
            line["entered_at"],
            line["at"],
            line["data"]["paid"],
            tuple(line["data"]["notes"]),
        )
        for line in written["out"]
    )
    for line in written["out"]:
        assert line["duration_ms"] == line["at"] - line["entered_at"]
        assert (line["event"] is None) == (line["cause"] == "timeout")
    found = [(line["state"], line["cause"], line["reason"], line["event"]["at"]) for line in written["illegal"]]
    assert sorted(found) == sorted(illegal)
    assert len(written["unknown"]) == unknown + 1


@settings(max_examples=200, deadline=None)
@given(events=EVENTS, keep=st.sampled_from([None, KEEP_MS]), expire=EXPIRE)
def test_it_moves_as_the_model_does(events: list[dict[str, Any]], keep: Optional[int], expire: Optional[int]) -> None:
    result = oracle_run(lambda i, o: flow(i, o, keep, expire), {"events": {"0": [*events, TICK]}})
    check_against_model({name: values(result, name) for name in ("out", "illegal", "unknown")}, events, keep, expire)


@settings(SLOW, max_examples=8)
@given(events=EVENTS, keep=st.sampled_from([None, KEEP_MS]), expire=EXPIRE, where=conditions())
def test_the_engine_does_the_same(
    events: list[dict[str, Any]], keep: Optional[int], expire: Optional[int], where: Conditions
) -> None:
    logs: Logs = {"events": {"0": [*events, TICK]}}
    check_against_model(check(lambda i, o: flow(i, o, keep, expire), logs, where), events, keep, expire)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), events=EVENTS.map(lambda events: [{**e, "at": 2 * n} for n, e in enumerate(events)][:20]))
def test_order_of_arrival_does_not_matter(data: st.DataObject, events: list[dict[str, Any]]) -> None:
    shuffled = data.draw(st.permutations(events))
    in_order, in_disorder = ({"events": {"0": [*log, TICK]}} for log in (events, shuffled))
    assert oracle_run(flow, in_order).outputs == oracle_run(flow, in_disorder).outputs


def test_the_state_of_an_instance_can_be_queried_while_it_lives() -> None:
    test = run(whole_door().timeout("open", after=100, to="shut"), keep_final=10)
    send(test, 5, "open")
    test.advance(to=6)
    state = test.state("door", "a")
    assert (state.state, state.since) == ("open", 5)
    send(test, 7, "break")
    test.advance(to=8)
    assert test.state("door", "a").state == "gone"
    assert test.timers("door", "a") == {"final": 17}
    test.advance(to=17)
    assert test.keys("door") == []


def test_an_event_that_is_not_allowed_at_first_begins_nothing() -> None:
    test = run(whole_door())
    send(test, 5, "shut")
    test.advance(to=6)
    assert test.keys("door") == []
    [line] = test.triggers("illegal")
    assert line["data"]["reason"] == "state"
    assert line["data"]["state"] == "shut"


def test_a_guard_that_refuses_is_told_from_a_wrong_state() -> None:
    def locked(event: Any, data: None) -> bool:
        return bool(event["at"] > 5)

    machine = door().on("shut", "open", to="open", when=locked).on("open", "shut", to="shut")
    test = run(machine.on(("shut", "open"), "break", to="gone"))
    send(test, 5, "open")
    send(test, 6, "open")
    send(test, 7, "open")
    test.advance(to=8)
    assert [line["data"]["reason"] for line in test.triggers("illegal")] == ["guard", "state"]
    assert len(test.triggers("moved")) == 1


def test_the_first_declared_of_several_rules_wins() -> None:
    machine = door(events={"all": lambda event: True, "open": hw.where(kind="open")})
    machine = machine.on("shut", "open", to="open").on("shut", "all", to="gone").on("open", "all", to="gone")
    test = run(machine)
    send(test, 5, "open")
    send(test, 6, "open")
    test.advance(to=7)
    assert [line["data"]["cause"] for line in test.triggers("moved")] == ["open", "all"]


def test_an_instance_expires_when_nothing_moves_it() -> None:
    test = run(whole_door(), expire_after="1s")
    send(test, 0, "open")
    send(test, 600, "shut")
    send(test, 900, "shut")
    test.advance(to=1599)
    assert test.keys("door") == ["a"]
    test.advance(to=1600)
    assert test.keys("door") == []
