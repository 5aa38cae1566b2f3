"""Patterns whose conditions ask for rules that a broadcast stream changes: against the definition, and in the kit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, Logs, check
from tests.pattern_harness import Shop, send, shop
from tests.pattern_model import Model

import headway as hw
from headway.connectors.base import Input, Output
from headway.operators import MatchPattern, Rules
from headway.operators.patterns.pattern import Pattern, pattern
from headway.operators.patterns.skip import AfterMatch, no_skip, skip_past_last
from headway.testing import FlowTest

Log = list[dict[str, Any]]

EVENTS = st.lists(
    st.fixed_dictionaries({"at": st.integers(0, 30), "key": st.sampled_from("xy"), "price": st.integers(0, 5)}),
    max_size=8,
)
RULES = st.lists(st.fixed_dictionaries({"at": st.integers(0, 30), "dear": st.integers(0, 6)}), max_size=4)


class Limits(hw.State):
    dear: int = 3
    changes: int = 0


def change(limits: Limits, rule: Any) -> None:
    limits.dear = rule["dear"]
    limits.changes += 1


def steps(is_dear: Any, is_higher: Any, is_free: Any) -> Pattern:
    """With two conditions that ask for the rules, and one that asks for what matched too."""
    return pattern("dear", is_dear).not_followed_by("free", is_free).followed_by("higher", is_higher).within(20)


def loop(is_dear: Any, is_higher: Any, is_free: Any) -> Pattern:
    """With a condition that ends it."""
    return pattern("dear", is_dear).followed_by("higher", is_higher).one_or_more().until(is_free).within(20)


RULED = (
    lambda event, matched, limits: event["price"] >= limits.dear,
    lambda event, matched, limits: event["price"] > matched["dear"][0]["price"] + limits.changes,
    lambda event, matched, limits: event["price"] == 0 and limits.changes < 2,
)


def by_definition(rules: Log) -> tuple[Any, Any, Any]:
    """The same conditions, that look up in the log what applies at the time of the event."""

    def limits(event: dict[str, Any]) -> tuple[int, int]:
        before = sorted((rule for rule in rules if rule["at"] <= event["at"]), key=lambda rule: rule["at"])
        return (before[-1]["dear"] if before else 3), len(before)

    return (
        lambda event: event["price"] >= limits(event)[0],
        lambda event, matched: event["price"] > matched["dear"][0]["price"] + limits(event)[1],
        lambda event: event["price"] == 0 and limits(event)[1] < 2,
    )


def flow(
    looked_for: Pattern, after: AfterMatch
) -> Callable[[Callable[[str], Input], Callable[[str], Output]], hw.Flow]:
    def declare(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        declared = hw.Flow("ruled")
        events = declared.source("events", hw.Json, input_of("events"), time="at", out_of_order=30).key_by("key")
        rules = declared.source("rules", hw.Json, input_of("rules"), time="at", out_of_order=30)
        found = events.match("found", looked_for, after=after, rules=rules.broadcast_state(Limits, change))
        found.to("out", output_of("out"))
        return declared

    return declare


@pytest.mark.parametrize("shape", [steps, loop])
@settings(SLOW, max_examples=15)
@given(events=EVENTS, rules=RULES, where=conditions(), after=st.sampled_from([no_skip(), skip_past_last()]))
def test_conditions_see_the_rules_of_the_time_of_the_event(
    shape: Callable[..., Pattern], events: Log, rules: Log, where: Conditions, after: AfterMatch
) -> None:
    logs: Logs = {"events": {"0": events}, "rules": {"0": rules}}
    written = check(flow(shape(*RULED), after), logs, where)["out"]
    expected = []
    for key in "xy":
        ordered = sorted((event for event in events if event["key"] == key), key=lambda event: event["at"])
        numbered = [{**event, "n": number} for number, event in enumerate(ordered)]
        for match in Model(shape(*by_definition(rules)), numbered).matches(after):
            matched = {name: [ordered[n] for n in numbers] for name, numbers in match.events}
            expected.append({"matched": matched, "start": match.start, "end": match.end})
    assert sorted(written, key=repr) == sorted(expected, key=repr)


# -- The step ---------------------------------------------------------------------------------------------


class Rule(hw.Event):
    at: hw.Time
    dear: int


def set_dear(limits: Limits, rule: Rule) -> None:
    limits.dear = rule.dear


def is_dear(event: Shop, matched: dict[str, list[Shop]], limits: Limits) -> bool:
    return event.price >= limits.dear


def watched(**options: Any) -> FlowTest:
    declared = hw.Flow("shop")
    events = declared.source("shop", Shop, hw.items([]), time="at", out_of_order=5).key_by("user")
    rules = declared.source("rules", Rule, hw.items([]), time="at")
    looked_for = pattern("dear", is_dear, kind="add").followed_by("paid", kind="pay")
    told = {"rules": rules.broadcast_state(Limits, set_dear), **options}
    events.match("found", looked_for, **told).trigger("dear.paid", hw.to_list([]))
    return FlowTest(declared)


@pytest.mark.parametrize("options", [{}, {"keep": ["at"]}, {"select": lambda match: {"start": match.start}}])
def test_a_rule_applies_from_its_time_on_to_all_keys(options: dict[str, Any]) -> None:
    test = watched(**options)
    send(test, (2, "add"), (4, "add"))
    test.send("rules", Rule(at=6, dear=5))
    send(test, (6, "add"), (7, "pay"))
    send(test, (4, "add"), (6, "add"), (8, "pay"), user="bob")
    test.advance(to=10)
    told = [(trigger["subject"], trigger["data"]["start"]) for trigger in test.triggers()]
    assert sorted(told) == [("ann", 4), ("ann", 6), ("bob", 4), ("bob", 6)]
    test = watched(**options)
    test.send("rules", Rule(at=3, dear=5))
    send(test, (2, "add"), (4, "add"), (5, "add"), (6, "pay"))
    test.advance(to=10)
    assert [trigger["data"]["start"] for trigger in test.triggers()] == [5]


def test_a_pattern_with_rules_may_expire() -> None:
    rules = Rules(Rule, Limits, set_dear)
    operator: Any = MatchPattern(pattern("dear", is_dear).followed_by("paid", kind="pay"), rules=rules)
    declared = hw.Flow("shop")
    events = declared.source("shop", Shop, hw.items([]), time="at").key_by("user")
    told = declared.source("rules", Rule, hw.items([]), time="at")
    found = events.process("found", hw.Expiring(operator, hw.ttl(10)), rules=told.broadcast())
    found.trigger("dear.paid", hw.to_list([]))
    test = FlowTest(declared)
    test.send("rules", Rule(at=0, dear=5))
    send(test, (4, "add"), (5, "add"), (8, "pay"), (9, "add"), (30, "pay"))
    test.advance(to=100)
    assert [trigger["data"]["start"] for trigger in test.triggers()] == [5]
    assert test.keys("found") == []


RULES_OF = Rules(Shop, Limits, set_dear)


@pytest.mark.parametrize(
    ("looked_for", "rules", "said"),
    [
        (pattern("a", is_dear), None, "add rules=stream.broadcast_state"),
        (pattern("a", kind="add").one_or_more().until(is_dear), None, "three arguments"),
        (pattern("a", kind="add"), RULES_OF, "no condition asks for the rules"),
        (pattern("a", lambda event, matched: True), RULES_OF, "(event, matched, rules)"),
        (pattern("a", is_dear), 5, "rules=5"),
        (pattern("a", lambda a, b, c, d: True), RULES_OF, "takes 4 arguments"),  # type: ignore[arg-type]
    ],
)
def test_rules_that_cannot_be_asked_for_are_refused(looked_for: Pattern, rules: Any, said: str) -> None:
    with pytest.raises(hw.FlowError) as error:
        MatchPattern(looked_for, rules=rules).bind(Shop)
    assert said in str(error.value)


def test_a_mistake_in_rules_is_said_at_the_line() -> None:
    def with_rules(make: Callable[[hw.KeyedStream[Shop]], Any]) -> Callable[[hw.KeyedStream[Shop]], None]:
        return lambda carts: carts.match("m", pattern("a", is_dear), rules=make(carts)).to("out", hw.to_list([]))

    no_state: Any = dict
    no_function: Any = "dear"
    mistakes: list[tuple[Callable[[hw.KeyedStream[Shop]], Any], str]] = [
        (lambda carts: carts.broadcast(), "pass what a broadcast stream maintains"),
        (lambda carts: carts.broadcast_state(no_state, change), "derived from hw.State"),
        (lambda carts: carts.broadcast_state(Limits, no_function), "'dear' is not a function"),
    ]
    for make, said in mistakes:
        with pytest.raises(hw.FlowError) as error:
            shop(with_rules(make))
        assert said in str(error.value) and "test_patterns_rules.py:" in str(error.value)
