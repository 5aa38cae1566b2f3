"""State machines: the engine against the oracle, the oracle against plain Python, and what declarations refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, Logs, check, oracle_run, values

import headway as hw
from headway.connectors.base import Input, Output
from headway.testing import FlowTest

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
    )


def flow(input_of: Callable[[str], Input], output_of: Callable[[str], Output], keep: Optional[int] = None) -> hw.Flow:
    declared = hw.Flow("orders")
    events = declared.source("events", hw.Json, input_of("events"), time="at", out_of_order=40).key_by("key")
    orders = events.state_machine("order", machine(), keep_final=keep)
    orders.to("out", output_of("out"))
    orders.side("illegal").to("illegal", output_of("illegal"))
    orders.side("ignored").to("ignored", output_of("ignored"))
    return declared


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.integers(0, 40),
            "key": st.sampled_from("ab"),
            "kind": st.sampled_from(["pay", "pay", "pack", "ship", "cancel", "other"]),
            "amount": st.integers(0, 3),
        }
    ),
    max_size=25,
)

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

    def __init__(self, keep: Optional[int]) -> None:
        self.keep = keep
        self.out: list[tuple[Any, ...]] = []
        self.illegal: list[tuple[Any, ...]] = []
        self.ignored = 0
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
            self.limit = at + TIMEOUTS[to][0]

    def pass_time(self, before: float) -> None:
        while self.state and self.limit < before:
            if self.state in ("done", "lost"):
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
            self.ignored += 1
        elif (here, kind) == ("new", "pay"):
            if not self.state:
                self.state, self.since, self.limit = "new", at, at + PAID_MS
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


def check_against_model(written: dict[str, list[Any]], events: list[dict[str, Any]], keep: Optional[int]) -> None:
    out, illegal, ignored = [], [], 0
    for key in "ab":
        model = Model(keep)
        for event in sorted((event for event in events if event["key"] == key), key=lambda event: int(event["at"])):
            model.take(event)
        model.pass_time(float("inf"))
        out += model.out
        illegal += model.illegal
        ignored += model.ignored
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
    assert len(written["ignored"]) == ignored + 1


@settings(max_examples=200, deadline=None)
@given(events=EVENTS, keep=st.sampled_from([None, KEEP_MS]))
def test_it_moves_as_the_model_does(events: list[dict[str, Any]], keep: Optional[int]) -> None:
    result = oracle_run(lambda i, o: flow(i, o, keep), {"events": {"0": [*events, TICK]}})
    check_against_model({name: values(result, name) for name in ("out", "illegal", "ignored")}, events, keep)


@settings(SLOW, max_examples=8)
@given(events=EVENTS, keep=st.sampled_from([None, KEEP_MS]), where=conditions())
def test_the_engine_does_the_same(events: list[dict[str, Any]], keep: Optional[int], where: Conditions) -> None:
    logs: Logs = {"events": {"0": [*events, TICK]}}
    check_against_model(check(lambda i, o: flow(i, o, keep), logs, where), events, keep)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), events=EVENTS.map(lambda events: [{**e, "at": 2 * n} for n, e in enumerate(events)][:20]))
def test_order_of_arrival_does_not_matter(data: st.DataObject, events: list[dict[str, Any]]) -> None:
    shuffled = data.draw(st.permutations(events))
    in_order, in_disorder = ({"events": {"0": [*log, TICK]}} for log in (events, shuffled))
    assert oracle_run(flow, in_order).outputs == oracle_run(flow, in_disorder).outputs


def door(**options: Any) -> hw.StateMachine[None]:
    given: dict[str, Any] = {"states": ("shut", "open", "gone"), "initial": "shut", "final": ("gone",)}
    events = {"open": hw.where(kind="open"), "shut": hw.where(kind="shut"), "break": hw.where(kind="break")}
    return hw.StateMachine("door", **{**given, "events": events, **options})


def whole_door() -> hw.StateMachine[None]:
    return door().on("shut", "open", to="open").on("open", "shut", to="shut").on(("shut", "open"), "break", to="gone")


def run(machine: hw.StateMachine[Any], **options: Any) -> FlowTest:
    declared = hw.Flow("doors")
    doors = declared.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    moves = doors.state_machine("door", machine, **options)
    moves.trigger("moved", hw.to_list([]))
    moves.side("illegal").trigger("illegal", hw.to_list([]))
    return FlowTest(declared)


def send(test: FlowTest, at: int, kind: str) -> None:
    test.send("events", {"key": "a", "at": at, "kind": kind})


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


def test_the_declaration_can_be_drawn() -> None:
    assert machine().mermaid() == "\n    ".join(
        [
            "stateDiagram-v2",
            "[*] --> new",
            "new --> paid : pay [enough]",
            "new --> new : pay",
            "new --> lost : after 5ms",
            "paid --> packed : pack",
            "paid --> lost : cancel",
            "paid --> lost : after 5ms",
            "packed --> packed : pack",
            "packed --> lost : cancel",
            "packed --> done : ship",
            "packed --> paid : after 3ms",
            "done --> [*]",
            "lost --> [*]",
        ]
    )
    assert machine().table().splitlines()[:3] == [
        "state   event         to",
        "new     pay [enough]  paid",
        "new     pay           (stays)",
    ]


def test_names_that_mermaid_does_not_take_stand_for_themselves_in_quotes() -> None:
    odd = hw.StateMachine("odd", states=("on hold", "end"), initial="on hold", final="end", events={"a;b": bool})
    assert odd.on("on hold", "a;b", to="end", when=lambda event, data: True).mermaid().splitlines() == [
        "stateDiagram-v2",
        '    state "on hold" as on_20_hold',
        '    state "end" as end_',
        "    [*] --> on_20_hold",
        "    on_20_hold --> end_ : a#59;b [guard]",
        "    end_ --> [*]",
    ]


def test_a_machine_is_a_value() -> None:
    first = door()
    second = first.on("shut", "open", to="open")
    assert (len(first.moves), len(second.moves)) == (0, 1)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: door(states="shut"), "different names"),
        (lambda: door(states=("a", "a")), "different names"),
        (lambda: door(initial="ajar"), "initial names the state 'ajar', its states are shut, open, gone"),
        (lambda: door(final=("ajar",)), "final names the state 'ajar'"),
        (lambda: door(final=("shut",)), "the initial state 'shut' is final"),
        (lambda: door(events={}), "has no events"),
        (lambda: door(data=dict), "derived from hw.State"),
        (lambda: door().on("ajar", "open", to="open"), "on names the state 'ajar'"),
        (lambda: door().on("shut", "open", to="ajar"), "to names the state 'ajar'"),
        (lambda: door().on("shut", "kick", to="open"), "no such event, its events are open, shut, break"),
        (lambda: door().on("gone", "open", to="open"), "on('gone'): the state is final"),
        (lambda: door().on("shut", "open"), "does nothing"),
        (lambda: door().on("shut", "open", do=print), "no data to change"),
        (lambda: door().on("shut", "open", to="open").on("shut", "open", to="gone"), "put it last"),
        (lambda: door().timeout("shut", after="1x", to="gone"), "timeout('shut'): after '1x'"),
        (lambda: door().timeout("shut", after=0, to="gone"), "no time at all"),
        (lambda: door().timeout("gone", after=1, to="shut"), "the state is final"),
        (lambda: door().timeout("shut", after=1, to="gone").timeout("shut", after=2, to="open"), "two timeouts"),
        (lambda: door().timeout("shut", after=1, to="gone").check(), "'open' cannot be reached from 'shut'"),
        (
            lambda: door().on("shut", "open", to="open").on("shut", "break", to="gone").check(),
            "no final state can be reached from 'open'",
        ),
        (lambda: door(final=()).on("shut", "open", to="open").on("open", "shut", to="gone").check(), "no way out"),
        (
            lambda: door().on("shut", "open", to="open").on("open", "shut", to="gone").check(),
            "the event 'break' is declared, but leads nowhere",
        ),
    ],
)
def test_what_a_declaration_refuses(declare: Callable[[], Any], message: str) -> None:
    with pytest.raises(hw.FlowError) as caught:
        declare()
    assert message in str(caught.value)


def test_mistakes_are_told_at_the_line_of_the_flow() -> None:
    declared = hw.Flow("doors")
    doors = declared.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    with pytest.raises(hw.FlowError, match=r"test_operator_state_machine\.py:\d+: .*cannot be reached"):
        doors.state_machine("door", door().timeout("shut", after=1, to="gone"))
    with pytest.raises(hw.FlowError, match="is not a machine"):
        doors.state_machine("door", "door")  # type: ignore[arg-type]
