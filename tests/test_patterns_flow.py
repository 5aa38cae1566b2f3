"""Patterns in flows: the engine against the oracle and the definition, side outputs, wrong declarations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, Logs, check, oracle_run
from tests.pattern_harness import Shop, StubContext, send, shop
from tests.pattern_model import Model

import headway as hw
from headway.connectors.base import Input, Output
from headway.operators import MatchPattern
from headway.operators.patterns.pattern import Pattern, either, once, pattern
from headway.operators.patterns.skip import AfterMatch, no_skip, skip_past_last, skip_to_first
from headway.results import Match

PATTERNS: dict[str, Pattern] = {
    "steps": pattern("a", kind="a").followed_by("b", kind="b").followed_by("c", kind="c").within(20),
    "loop": pattern("a", kind="a")
    .followed_by("b", kind="b").one_or_more().allow_combinations()
    .not_followed_by(kind="d")
    .next("c", kind="c")
    .within(15),
    "absent": once(kind="a").then_absent(kind=("a", "b"), within=6),
    "choice": pattern("a", kind="a")
    .followed_by(either(pattern("b", kind="b"), pattern("c", kind="c").followed_by("d", kind="d")))
    .times(1, 2)
    .within(12),
    "iterative": pattern("b", lambda event, matched: all(event["at"] > b["at"] for b in matched["b"]))
    .one_or_more().until(kind="d")
    .followed_by("end", kind="d")
    .within(9),
}  # fmt: skip
AFTER: list[AfterMatch] = [no_skip(), skip_past_last()]

EVENTS = st.lists(
    st.fixed_dictionaries(
        {"at": st.integers(0, 30), "key": st.sampled_from("xy"), "kind": st.sampled_from("abcd")},
    ),
    max_size=8,
)


def flow(
    looked_for: Pattern, after: AfterMatch, *, timed_out: bool = True
) -> Callable[[Callable[[str], Input], Callable[[str], Output]], hw.Flow]:
    def declare(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        declared = hw.Flow("patterns")
        events = declared.source("events", hw.Json, input_of("events"), time="at", out_of_order=30).key_by("key")
        found = events.match("found", looked_for, after=after, max_partial_matches=10_000)
        found.to("out", output_of("out"))
        if timed_out:
            found.side("timed_out").to("timed_out", output_of("timed_out"))
        return declared

    return declare


def expected(looked_for: Pattern, after: AfterMatch, events: list[dict[str, Any]]) -> list[Any]:
    found = []
    for key in "xy":
        ordered = sorted((event for event in events if event["key"] == key), key=lambda event: event["at"])
        numbered = [{**event, "n": number} for number, event in enumerate(ordered)]
        for match in Model(looked_for, numbered).matches(after):
            matched = {name: [ordered[n] for n in numbers] for name, numbers in match.events}
            found.append({"matched": matched, "start": match.start, "end": match.end})
    return sorted(found, key=repr)


@pytest.mark.parametrize("name", PATTERNS)
@settings(SLOW, max_examples=6)
@given(events=EVENTS, where=conditions(), after=st.sampled_from(AFTER), timed_out=st.booleans())
def test_the_engine_finds_what_the_definition_says(
    name: str, events: list[dict[str, Any]], where: Conditions, after: AfterMatch, timed_out: bool
) -> None:
    logs: Logs = {"events": {"0": events}}
    written = check(flow(PATTERNS[name], after, timed_out=timed_out), logs, where)["out"]
    assert sorted(written, key=repr) == expected(PATTERNS[name], after, events)


@settings(SLOW, max_examples=50)
@given(events=st.lists(st.sampled_from("abcd"), max_size=10), data=st.data())
def test_the_order_of_arrival_changes_nothing(events: list[str], data: st.DataObject) -> None:
    log = [{"at": 3 * number, "key": "x", "kind": kind} for number, kind in enumerate(events)]
    shuffled = data.draw(st.permutations(log))
    made = flow(PATTERNS["loop"], no_skip())
    in_order = oracle_run(made, {"events": {"0": log}}).outputs
    assert oracle_run(made, {"events": {"0": shuffled}}).outputs == in_order


# -- The step ---------------------------------------------------------------------------------------------


class Summary(hw.Event):
    events: int
    total: float


def test_abandoned_carts_are_one_line() -> None:
    looked_for = hw.once(kind="add").then_absent(kind="checkout", within="1h")
    test = shop(lambda carts: carts.match("abandoned", looked_for).trigger("cart.abandoned", hw.to_list([])))
    send(test, (0, "add"), (10, "checkout"), (20, "add"))
    send(test, (30, "add"), user="bob")
    test.advance(to=3_600_010)
    assert test.triggers() == [] and test.keys("abandoned") == ["ann", "bob"]
    test.advance(by="1h")
    told = [(trigger["subject"], trigger["data"]["start"], trigger["data"]["end"]) for trigger in test.triggers()]
    assert told == [("ann", 20, 3_600_020), ("bob", 30, 3_600_030)]
    assert test.keys("abandoned") == []


def test_the_types_are_those_of_the_events() -> None:
    written: list[Any] = []

    def declare(carts: hw.KeyedStream[Shop]) -> None:
        found = carts.match("found", pattern("first", kind="add").followed_by("second", kind="pay"))
        assert found.type == Match[Shop]
        prices = found.map(lambda match: match.matched["second"][0].price, into=float)
        prices.to("out", hw.to_list(written))

    test = shop(declare)
    send(test, (1, "add"), (2, "pay"))
    test.advance(to=10)
    out: list[Any] = test.triggers("out")
    assert out == [2.0]


def test_select_makes_the_output() -> None:
    def summary(match: Match[Shop]) -> Summary:
        events = [event for events in match.matched.values() for event in events]
        return Summary(events=len(events), total=sum(event.price for event in events))

    def declare(carts: hw.KeyedStream[Shop]) -> None:
        found = carts.match("found", pattern("adds", kind="add").times(2), select=summary)
        assert found.type is Summary
        found.to("out", hw.to_list([]))

    test = shop(declare)
    send(test, (1, "add"), (2, "add"))
    test.advance(to=10)
    assert test.triggers("out") == [{"events": 2, "total": 3.0}]


def test_what_times_out_tells_what_had_matched() -> None:
    def declare(carts: hw.KeyedStream[Shop]) -> None:
        looked_for = pattern("add", kind="add").followed_by("pay", kind="pay").followed_by("done", kind="checkout")
        carts.match("found", looked_for.within(10)).side("timed_out").trigger("late", hw.to_list([]))

    test = shop(declare)
    send(test, (1, "add"), (5, "pay"), (11, "checkout"))
    test.advance(to=100)
    [late] = test.triggers()
    assert {name: [event["at"] for event in events] for name, events in late["data"]["matched"].items()} == {
        "add": [1],
        "pay": [5],
    }
    assert (late["data"]["start"], late["data"]["end"]) == (1, 5)
    assert late["time"].endswith("00.011Z")


def test_what_is_a_match_already_may_time_out_too() -> None:
    def declare(carts: hw.KeyedStream[Shop]) -> None:
        looked_for = pattern("add", kind="add").followed_by("pay", kind="pay").one_or_more().within(10)
        found = carts.match("found", looked_for)
        found.to("out", hw.to_list([]))
        found.side("timed_out").to("late", hw.to_list([]))

    test = shop(declare)
    send(test, (1, "add"), (5, "pay"))
    test.advance(to=100)
    match, late = (test.triggers(name)[0] for name in ("out", "late"))
    assert match["matched"] == late["matched"] and (match["end"], late["end"]) == (5, 5)


ADD_AND_PAY = pattern("add", kind="add").followed_by("pay", kind="pay").within(10)


def unread() -> StubContext:
    """The context of a flow in which nobody reads what times out."""
    ctx = StubContext()
    ctx.unread.add("timed_out")
    return ctx


def test_a_key_has_one_timer_where_nobody_reads_what_times_out() -> None:
    operator: MatchPattern[Any] = MatchPattern(ADD_AND_PAY).bind(dict)
    events: list[dict[str, Any]] = [{"at": at, "n": at, "kind": "add"} for at in (1, 2, 5)]
    seen: dict[bool, list[dict[str, int]]] = {False: [], True: []}
    for ctx, timers in ((unread(), seen[False]), (StubContext(), seen[True])):
        state = operator.state_type()
        for event in events:
            ctx.time = event["at"]
            operator.on_event(state, event, ctx)
            timers.append(dict(ctx.timers))
    assert seen[False] == [{"last": 11}, {"last": 12}, {"last": 15}]
    assert seen[True] == [{"next": 11}, {"next": 11, "last": 12}, {"next": 11, "last": 15}]


@pytest.mark.parametrize("first_read", [False, True])
def test_reading_what_times_out_may_begin_and_end_while_matches_are_open(first_read: bool) -> None:
    operator: MatchPattern[Any] = MatchPattern(ADD_AND_PAY).bind(dict)
    ctx, state = unread(), operator.state_type()
    told, silent = set[str](), {"timed_out"}

    def at(time: int, step: Callable[..., None], subject: Any) -> None:
        ctx.time = time
        step(state, subject, ctx)

    ctx.unread = told if first_read else silent
    for time in (1, 2):
        at(time, operator.on_event, {"at": time, "kind": "add"})
    ctx.unread = silent if first_read else told
    at(5, operator.on_event, {"at": 5, "kind": "add"})
    while ctx.timers:
        name, due = min(ctx.timers.items(), key=lambda item: item[1])
        del ctx.timers[name]
        at(due, operator.on_timer, hw.Timer(name, due))
    assert ctx.forgotten and not state.steps
    assert [(time, late.start) for _, time, late in ctx.out] == ([] if first_read else [(11, 1), (12, 2), (15, 5)])


def test_a_time_may_become_longer_while_matches_are_open() -> None:
    add = pattern("add", kind="add")
    short, long = (
        MatchPattern[Any](add.followed_by("pay", kind="pay").within(length)).bind(dict) for length in (10, 30)
    )
    ctx, state = unread(), short.state_type()
    for at in (1, 5):
        ctx.time = at
        short.on_event(state, {"at": at, "kind": "add"}, ctx)
    ctx.time = ctx.timers.pop("last")
    long.on_timer(state, hw.Timer("last", ctx.time), ctx)
    assert ctx.timers == {"last": 35} and not ctx.forgotten


def test_reading_what_times_out_changes_nothing_else() -> None:
    def declare(read: bool) -> Callable[[hw.KeyedStream[Shop]], None]:
        def step(carts: hw.KeyedStream[Shop]) -> None:
            found = carts.match("found", ADD_AND_PAY)
            found.to("out", hw.to_list([]))
            if read:
                found.side("timed_out").to("late", hw.to_list([]))

        return step

    results: list[Any] = []
    for read in (False, True):
        test = shop(declare(read))
        send(test, (1, "add"), (5, "add"), (12, "pay"), (20, "add"))
        test.advance(to=100)
        assert test.keys("found") == []
        results.append(test.triggers("out"))
        if read:
            assert [late["start"] for late in test.triggers("late")] == [1, 20]
    assert results[0] == results[1] and [match["start"] for match in results[0]] == [5]


ADD = pattern("add", kind="add")


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: ADD.times(0), "times(0, 0)"),
        (lambda: ADD.times(3, 2), "times(3, 2)"),
        (lambda: ADD.times(2).one_or_more(), "said already"),
        (lambda: ADD.times_or_more(0), "times_or_more(0)"),
        (ADD.greedy, "say how often first"),
        (lambda: ADD.times(2).allow_combinations().greedy(), "combinations"),
        (lambda: ADD.times(1, 2).greedy().allow_combinations(), "greedy"),
        (lambda: pattern(ADD).times(1, 2).greedy(), "group"),
        (lambda: ADD.times(2).until(kind="pay"), "bounded"),
        (lambda: ADD.one_or_more().until(), "one condition"),
        (ADD.consecutive, "say how often first"),
        (lambda: ADD.optional().not_next(kind="pay"), "optional"),
        (lambda: ADD.not_next(kind="pay").optional(), "must not come"),
        (lambda: ADD.not_next(ADD), "not a pattern"),  # type: ignore[arg-type]
        (lambda: ADD.within("0s"), "0s"),
        (lambda: ADD.within("soon"), "soon"),
        (lambda: ADD.within("1h", since="previous"), "first step"),
        (lambda: ADD.within("1h", since="last"), "last"),
        (lambda: ADD.next("add", 5), "5"),  # type: ignore[arg-type]
        (lambda: ADD.next(""), "empty"),
        (lambda: ADD.next(ADD.within("1h")), "group"),
        (lambda: ADD.next(ADD.not_next(kind="pay")), "end with"),
        (lambda: ADD.next(ADD, kind="pay"), "inside it"),
        (lambda: pattern(ADD).where(kind="pay"), "inside it"),
        (lambda: pattern("any").or_where(kind="pay"), "no condition"),
        (lambda: ADD.subtype("Shop"), "Shop"),  # type: ignore[arg-type]
        (lambda: either(ADD), "two patterns"),
        (lambda: skip_to_first(""), "name of a step"),
    ],
)
def test_what_cannot_be_is_said_where_it_is_written(declare: Callable[[], Any], said: str) -> None:
    with pytest.raises(hw.FlowError) as error:
        declare()
    assert said in str(error.value)
    assert str(error.value).startswith("tests/test_patterns_flow.py:") and str(error.value).count(".py:") == 1


@pytest.mark.parametrize(
    ("looked_for", "options", "said"),
    [
        (ADD.next(kind="pay").followed_by("add"), {}, "'add'"),
        (ADD.followed_by("pay", knd="pay"), {}, "no field 'knd'"),
        (ADD.not_followed_by("no", kind="pay"), {}, "for how long"),
        (ADD.then_absent(kind="pay", within="1h").next("end"), {}, "must come last"),
        (ADD.times(20_000), {}, "too large"),
        (ADD, {"after": skip_to_first("pay")}, "no such step"),
        (ADD, {"after": "skip"}, "'skip'"),
        (ADD, {"max_partial_matches": 0}, "max_partial_matches=0"),
        (ADD, {"select": 5}, "select=5"),
        (ADD, {"keep": "user"}, "keep='user'"),
        (ADD, {"keep": []}, "keep=[]"),
        (ADD, {"keep": ["user", "usr"]}, "no field 'usr'"),
        ("add", {}, "'add'"),
    ],
)
def test_what_cannot_be_matched_is_said_at_the_line(looked_for: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(hw.FlowError) as error:
        shop(lambda carts: carts.match("found", looked_for, **options).to("out", hw.to_list([])))
    assert said in str(error.value)
    assert "test_patterns_flow.py" in str(error.value)


def test_draining_ends_a_partial_match_that_waits_for_two_times() -> None:
    looked_for = pattern("a", kind="a").one_or_more().not_followed_by(kind="a").within(1, since="previous").within(2)
    log = [{"at": 0, "key": "x", "kind": "a"}]
    result = oracle_run(flow(looked_for, no_skip()), {"events": {"0": log}})
    assert len(result.outputs["out"]) == 1
