"""Patterns in flows: the engine against the oracle and the definition, side outputs, wrong declarations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, Logs, check, oracle_run
from tests.pattern_model import Model

import headway as hw
from headway.connectors.base import Input, Output
from headway.operators.patterns.pattern import Pattern, either, once, pattern
from headway.operators.patterns.skip import AfterMatch, no_skip, skip_past_last

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
    looked_for: Pattern, after: AfterMatch
) -> Callable[[Callable[[str], Input], Callable[[str], Output]], hw.Flow]:
    def declare(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        declared = hw.Flow("patterns")
        events = declared.source("events", hw.Json, input_of("events"), time="at", out_of_order=30).key_by("key")
        found = events.match("found", looked_for, after=after, max_partial_matches=10_000)
        found.to("out", output_of("out"))
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
@given(events=EVENTS, where=conditions(), after=st.sampled_from(AFTER))
def test_the_engine_finds_what_the_definition_says(
    name: str, events: list[dict[str, Any]], where: Conditions, after: AfterMatch
) -> None:
    logs: Logs = {"events": {"0": events}}
    written = check(flow(PATTERNS[name], after), logs, where)["out"]
    assert sorted(written, key=repr) == expected(PATTERNS[name], after, events)


@settings(SLOW, max_examples=50)
@given(events=st.lists(st.sampled_from("abcd"), max_size=10), data=st.data())
def test_the_order_of_arrival_changes_nothing(events: list[str], data: st.DataObject) -> None:
    log = [{"at": 3 * number, "key": "x", "kind": kind} for number, kind in enumerate(events)]
    shuffled = data.draw(st.permutations(log))
    made = flow(PATTERNS["loop"], no_skip())
    in_order = oracle_run(made, {"events": {"0": log}}).outputs
    assert oracle_run(made, {"events": {"0": shuffled}}).outputs == in_order
