"""State machines as values: what they ignore, how they are drawn, and what their declarations refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.machine_doors import door, run, send, whole_door
from tests.test_operator_state_machine import Order, machine

import headway as hw


def test_what_is_ignored_does_nothing_and_everything_else_stays_illegal() -> None:
    machine = whole_door().ignore("open", "open").ignore("gone", "open", "break")
    test = run(machine, expire_after=100, keep_final=10)
    for at, kind in ((0, "open"), (50, "open"), (101, "open"), (102, "open"), (103, "break"), (104, "open")):
        send(test, at, kind)
    send(test, 105, "shut")
    test.advance(to=106)
    # The event at 50 did not put off the end at 100: the one at 101 began another instance.
    moved = [(line["data"]["at"], line["data"]["to_state"]) for line in test.triggers("moved")]
    assert moved == [(0, "open"), (101, "open"), (103, "gone")]
    assert [(line["data"]["event"]["at"], line["data"]["state"]) for line in test.triggers("illegal")] == [
        (105, "gone")
    ]


def test_an_event_that_is_ignored_at_first_begins_nothing() -> None:
    test = run(whole_door().ignore("shut", "shut"))
    send(test, 5, "shut")
    test.advance(to=6)
    assert (test.keys("door"), test.triggers()) == ([], [])


def test_some_events_of_a_kind_can_be_ignored() -> None:
    machine = whole_door().ignore("open", "open", when=lambda event, data: event["at"] < 5)
    test = run(machine)
    for at in (1, 2, 6):
        send(test, at, "open")
    test.advance(to=7)
    assert [line["data"]["event"]["at"] for line in test.triggers("illegal")] == [6]
    assert "open --> open : open [guard] (ignored)" in machine.mermaid()


def test_an_event_may_be_known_only_to_be_ignored() -> None:
    machine = hw.StateMachine("m", states=("a", "b"), initial="a", final="b", events="kind")
    test = run(machine.on("a", "go", to="b").ignore("a", "ping"))
    send(test, 1, "ping")
    send(test, 2, "pong")
    test.advance(to=3)
    assert test.triggers() == []


def test_an_action_that_returns_other_data_is_refused() -> None:
    def reduced(event: Any, data: Any) -> Any:
        return Order(paid=7)

    machine = hw.StateMachine("m", states=("a", "b"), initial="a", final="b", events="kind", data=Order)
    test = run(machine.on("a", "go", to="b", do=reduced))
    send(test, 1, "go")
    with pytest.raises(hw.HeadwayError) as caught:
        test.advance(to=2)
    assert "an action changes the data that it is given" in str(caught.value.__cause__)


def test_the_declaration_can_be_drawn() -> None:
    assert machine().mermaid() == "\n    ".join(
        [
            "stateDiagram-v2",
            "[*] --> new",
            "new --> paid : pay [enough]",
            "new --> new : pay",
            "new --> new : ping (ignored)",
            "new --> lost : after 5ms",
            "paid --> packed : pack",
            "paid --> lost : cancel",
            "paid --> lost : after 5ms",
            "packed --> packed : pack",
            "packed --> lost : cancel",
            "packed --> done : ship",
            "packed --> packed : ping (ignored)",
            "packed --> paid : after 3ms",
            "done --> [*]",
            "lost --> [*]",
        ]
    )
    assert machine().table().splitlines()[:4] == [
        "state   event         to",
        "new     pay [enough]  paid",
        "new     pay           (stays)",
        "new     ping          (ignored)",
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


async def awaits(event: Any, data: Any) -> Any:
    return True


def yields(event: Any, data: Any) -> Any:
    yield event


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
        (lambda: door().on("shut", "open"), "write ignore('shut', 'open')"),
        (lambda: door().ignore("shut"), "needs the names of the events"),
        (lambda: door().ignore("shut", "kick"), "ignore('shut', 'kick'): no such event"),
        (lambda: door().ignore("ajar", "open"), "ignore names the state 'ajar'"),
        (lambda: door().ignore("shut", "open").on("shut", "open", to="open"), "put it last"),
        (lambda: door().on("shut", "open", to="open").ignore("open", "shut", "break").check(), "'gone' cannot"),
        (lambda: run(whole_door().ignore("gone", "open")), "ignore('gone', 'open') never applies"),
        (lambda: door().on("shut", "open", to="open", when=awaits), "when= is async"),  # type: ignore[arg-type]
        (lambda: door(data=Order).on("shut", "open", do=yields), "do= yields"),
        (lambda: door(data=Order).timeout("shut", after=1, to="open", do=yields), "do= yields"),
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
    with pytest.raises(hw.FlowError, match=r"test_operator_machine\.py:\d+: .*cannot be reached"):
        doors.state_machine("door", door().timeout("shut", after=1, to="gone"))
    with pytest.raises(hw.FlowError, match="is not a machine"):
        doors.state_machine("door", "door")  # type: ignore[arg-type]
