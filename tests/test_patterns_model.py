"""Patterns: the operator against the definition, on short streams and drawn patterns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.pattern_harness import Event, operate, operate_any
from tests.pattern_model import Found, Model, told

import headway as hw
from headway.errors import FlowError
from headway.operators.patterns.match import MatchPattern
from headway.operators.patterns.matcher import Matcher
from headway.operators.patterns.pattern import Pattern, either, once, pattern
from headway.operators.patterns.skip import (
    AfterMatch,
    no_skip,
    skip_past_last,
    skip_to_first,
    skip_to_last,
    skip_to_next,
)

QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
KINDS = "abcd"


@st.composite
def streams(draw: st.DrawFn, longest: int = 7) -> list[Event]:
    kinds = draw(st.text(KINDS, max_size=longest))
    at, events = 0, []
    for number, kind in enumerate(kinds):
        at += draw(st.sampled_from([0, 1, 1, 2, 3]))
        events.append({"at": at, "n": number, "kind": kind})
    return events


def _odd(event: Event, matched: dict[str, list[Event]]) -> bool:
    return sum(len(events) for events in matched.values()) % 2 == 1 or event["kind"] == "a"


def _unlike_the_last(event: Event, matched: dict[str, list[Event]]) -> bool:
    newest = max((e["n"] for events in matched.values() for e in events), default=None)
    return newest is None or (event["n"] - newest) % 2 == 1


@st.composite
def conditions(draw: st.DrawFn, iterative: bool = True) -> list[Any]:
    kinds = draw(st.sampled_from(["a", "b", "c", "d", "ab", "bc", "abcd"]))
    equal = draw(st.booleans())
    chosen: list[Any] = [hw.where(kind=tuple(kinds)) if equal else lambda event: event["kind"] in kinds]
    if iterative and draw(st.integers(0, 5)) == 0:
        chosen.append(draw(st.sampled_from([_odd, _unlike_the_last])))
    return chosen


@st.composite
def quantified(draw: st.DrawFn, given: Pattern) -> Pattern:
    """The last step of a pattern with a quantifier that it can have."""
    made = given
    how = draw(st.sampled_from(["once"] * 4 + ["optional", "times", "range", "more", "more", "at least"]))
    if how == "times":
        made = made.times(draw(st.integers(1, 3)))
    elif how == "range":
        least = draw(st.integers(0, 2))
        made = made.times(least, draw(st.integers(max(least, 1), 3)))
    elif how == "more":
        made = made.one_or_more()
    elif how == "at least":
        made = made.times_or_more(draw(st.integers(1, 2)))
    if made.steps[-1].quantifier.loops:
        inside = draw(st.sampled_from(["", "", "consecutive", "allow_combinations", "greedy", "greedy consecutive"]))
        for word in inside.split():
            if not (word == "greedy" and made.steps[-1].group):
                made = getattr(made, word)()
        if made.steps[-1].quantifier.at_most is None and draw(st.integers(0, 3)) == 0:
            made = made.until(*draw(conditions())[:1])
    if how == "optional" or draw(st.integers(0, 5)) == 0:
        made = made.optional()
    return made


@st.composite
def patterns(draw: st.DrawFn, depth: int = 1, steps: int = 4, gaps: bool = True) -> Pattern:
    made: Pattern | None = None
    for _ in range(draw(st.integers(1, steps))):
        what: list[Any] = draw(conditions())
        if depth and draw(st.integers(0, 4)) == 0:
            group = draw(patterns(depth=depth - 1, steps=2))
            if draw(st.booleans()):
                group = either(group, draw(patterns(depth=0, steps=2)))
            what = [group]
        if made is None:
            made = pattern(*what)
        else:
            how = draw(st.sampled_from(["next", "followed_by", "followed_by", "followed_by_any", "not"]))
            if how == "not":
                if not made.steps[-1].nullable:
                    made = getattr(made, draw(st.sampled_from(["not_next", "not_followed_by"])))(*draw(conditions()))
                continue
            made = getattr(made, how)(*what)
        made = draw(quantified(made))
        if gaps and len(made.steps) > 1 and draw(st.integers(0, 5)) == 0:
            made = made.within(draw(st.integers(1, 4)), since="previous")
    assert made is not None
    if made.steps[-1].negated:
        made = made.followed_by(*draw(conditions()))
    return made


AFTER: list[AfterMatch] = [no_skip(), skip_to_next(), skip_past_last(), skip_to_first("step2"), skip_to_last("step1")]


def compare(made: Pattern, events: list[Event], after: AfterMatch) -> list[Found]:
    """The matches of the operator are those of the model: where a match skips others, in their order, else as a set."""
    if after.kind != "no_skip" and made.within_ms is None:
        made = made.within(1000)  # Without it a match may wait for ever for one that began earlier.
    try:
        operator: MatchPattern[Any] = MatchPattern(made, after=after, max_partial_matches=100_000).bind(dict)
    except FlowError:
        assume(False)
        raise
    found = told(operate(operator, events))
    expected = Model(made, events).matches(after)
    if after.kind == "no_skip":
        found, expected = sorted(found), sorted(expected)
    if any(step.group for step in made.steps):
        # Groups in loops may be told apart in more than one way, and each may be told.
        found, expected = list(dict.fromkeys(found)), list(dict.fromkeys(expected))
    assert found == expected
    return expected


@st.composite
def timed(draw: st.DrawFn, made: Pattern) -> Pattern:
    """A pattern with times, and perhaps with something at its end that must not come."""
    last = made.steps[-1]
    if draw(st.booleans()) and not last.nullable:
        for _ in range(draw(st.integers(1, 2))):
            how = draw(st.sampled_from(["not_followed_by", "not_followed_by", "not_next"]))
            made = getattr(made, how)(*draw(conditions()))
        if draw(st.booleans()):
            made = made.within(draw(st.integers(1, 5)), since="previous")
    elif draw(st.booleans()) and (len(made.steps) > 1 or last.quantifier.loops):
        made = made.within(draw(st.integers(1, 4)), since="previous")
    return made.within(draw(st.integers(1, 8))) if draw(st.integers(0, 3)) else made


@settings(QUICK, max_examples=150)
@given(made=patterns(), events=streams(), after=st.sampled_from(AFTER))
def test_matches_are_those_of_the_definition(made: Pattern, events: list[Event], after: AfterMatch) -> None:
    compare(made, events, after)


@settings(QUICK, max_examples=200)
@given(made=patterns(steps=3).flatmap(timed), events=streams(6), after=st.sampled_from(AFTER))
def test_times_and_absences_are_those_of_the_definition(made: Pattern, events: list[Event], after: AfterMatch) -> None:
    compare(made, events, after)


@pytest.mark.soak
@settings(QUICK, max_examples=20_000)
@given(made=patterns().flatmap(timed), events=streams(), after=st.sampled_from(AFTER))
def test_matches_are_those_of_the_definition_for_long(made: Pattern, events: list[Event], after: AfterMatch) -> None:
    compare(made, events, after)


@st.composite
def greedily_ended(draw: st.DrawFn) -> Pattern:
    """A pattern with a greedy loop, in a group or not, directly before what must not come at its end."""
    loop = pattern(*draw(conditions()))
    begun = draw(st.sampled_from(["loop", "behind another", "in a group"]))
    if begun != "loop":
        loop = pattern(*draw(conditions())).followed_by(*draw(conditions()))
    how = draw(st.sampled_from(["one_or_more", "range", "until"]))
    loop = loop.times(draw(st.integers(1, 2)), 3) if how == "range" else loop.one_or_more()
    if how == "until":
        loop = loop.until(*draw(conditions())[:1])
    loop = loop.greedy()
    if draw(st.booleans()):
        loop = loop.consecutive()
    if begun == "in a group":
        loop = pattern(loop.optional())
    ending = draw(st.sampled_from(["not_next", "not_followed_by", "then_absent"]))
    if ending == "then_absent":
        return loop.then_absent(*draw(conditions()), within=draw(st.integers(1, 5)))
    return getattr(loop, ending)(*draw(conditions())).within(draw(st.integers(1, 9)))  # type: ignore[no-any-return]


@settings(QUICK, max_examples=120)
@given(made=greedily_ended(), events=streams(6), after=st.sampled_from(AFTER))
def test_greedy_loops_before_what_must_not_follow(made: Pattern, events: list[Event], after: AfterMatch) -> None:
    compare(made, events, after)


@settings(QUICK, max_examples=100)
@given(made=patterns(depth=0, steps=3, gaps=False), events=streams(5), within=st.integers(1, 6))
def test_what_times_out_is_that_of_the_definition(made: Pattern, events: list[Event], within: int) -> None:
    made = made.within(within)
    ctx = operate(MatchPattern(made, max_partial_matches=100_000).bind(dict), events)
    assert sorted(set(told(ctx, "timed_out"))) == sorted(Model(made, events).timed_out())


def test_every_short_stream() -> None:
    """All streams of three kinds and up to five events, for patterns that show what contiguity does."""
    from itertools import product

    a, b = once(kind="a"), once(kind="b")
    for made in (
        a.followed_by(kind="b").one_or_more().followed_by(kind="c"),
        a.followed_by_any(kind="b").one_or_more().allow_combinations().next(kind="c"),
        a.next(kind="b").optional().followed_by(kind="a"),
        a.not_followed_by(kind="c").followed_by(kind="b").one_or_more().greedy().followed_by(kind="a"),
        a.followed_by(either(b, once(kind="c").next(kind="a"))).times(1, 2),
        a.not_next(kind="b").followed_by(kind="c"),
    ):
        for length in range(6):
            for kinds in product("abc", repeat=length):
                events = [{"at": number // 2, "n": number, "kind": kind} for number, kind in enumerate(kinds)]
                compare(made, events, no_skip())


class General(MatchPattern[Any]):
    """Everything goes through the general matcher."""

    def _chain(self, automaton: Any) -> None:
        return None

    def on_event(self, state: Any, event: Any, ctx: Any, /) -> None:
        matcher = self._matcher
        assert isinstance(matcher, Matcher)
        if state.due <= ctx.time:
            matcher._expire(state, ctx)
        matcher._all(state, event, ctx)


@st.composite
def chains(draw: st.DrawFn) -> Pattern:
    """A pattern after each event of which one thing is waited for."""
    made = pattern(*draw(conditions(iterative=False)))
    for _ in range(draw(st.integers(0, 3))):
        if not made.steps[-1].negated and draw(st.integers(0, 2)) == 0:
            made = made.times(draw(st.integers(2, 3)))
            if draw(st.booleans()):
                made = made.consecutive()
        if draw(st.integers(0, 2)) == 0:
            made = made.not_followed_by(*draw(conditions(iterative=False)))
        made = getattr(made, draw(st.sampled_from(["next", "followed_by", "followed_by"])))(
            *draw(conditions(iterative=False))
        )
        if draw(st.integers(0, 2)) == 0:
            made = made.within(draw(st.integers(1, 5)), since="previous")
    if draw(st.integers(0, 2)) == 0:
        made = made.not_followed_by(*draw(conditions(iterative=False))).within(draw(st.integers(1, 6)))
        if draw(st.booleans()):
            made = made.within(draw(st.integers(1, 5)), since="previous")
    return made.within(draw(st.integers(1, 9))) if draw(st.integers(0, 3)) else made


@settings(QUICK, max_examples=250)
@given(made=chains(), events=streams(7), after=st.sampled_from(AFTER))
def test_matches_of_chains_are_those_of_the_definition(made: Pattern, events: list[Event], after: AfterMatch) -> None:
    compare(made, events, after)


@settings(QUICK, max_examples=400)
@given(made=chains(), events=streams(14), after=st.sampled_from(AFTER), bound=st.integers(1, 5), timed=st.booleans())
def test_chains_give_what_the_general_matcher_gives(
    made: Pattern, events: list[Event], after: AfterMatch, bound: int, timed: bool
) -> None:
    """In the same order, at the same times; where nobody listens for what times out, all the rest is the same."""
    try:
        operator: MatchPattern[Any] = MatchPattern(made, after=after, max_partial_matches=bound).bind(dict)
    except FlowError:
        assume(False)
        raise
    by_general = operate(General(made, after=after, max_partial_matches=bound).bind(dict), events)
    by_chain = operate(operator, events, unread=set() if timed else {"timed_out"})
    assert by_chain.out == [told for told in by_general.out if timed or told[0] != "timed_out"]
    assert by_chain.lost == by_general.lost


@settings(QUICK, max_examples=150)
@given(made=patterns(steps=3).flatmap(timed), events=streams(10), after=st.sampled_from(AFTER), bound=st.integers(1, 4))
def test_short_ways_and_bounds_give_what_the_matcher_gives(
    made: Pattern, events: list[Event], after: AfterMatch, bound: int
) -> None:
    """The same outputs, in the same order, at the same times; with all events going through the general matcher."""
    try:
        operator: MatchPattern[Any] = MatchPattern(made, after=after, max_partial_matches=bound).bind(dict)
    except FlowError:
        assume(False)
        raise

    by_general = operate(General(made, after=after, max_partial_matches=bound).bind(dict), events)
    by_short_ways = operate(operator, events)
    assert by_short_ways.out == by_general.out and by_short_ways.lost == by_general.lost


@settings(QUICK, max_examples=150)
@given(kinds=st.text("sxe", max_size=12), gaps=st.lists(st.integers(0, 4), min_size=12, max_size=12), data=st.data())
def test_an_absence_is_a_pattern(kinds: str, gaps: list[int], data: st.DataObject) -> None:
    """`absence` counts an end at the due time, a pattern does not: so it is one millisecond longer."""
    within = data.draw(st.integers(2, 6))
    at, events = 0, []
    for number, (kind, gap) in enumerate(zip(kinds, gaps)):
        at += gap
        events.append({"at": at, "n": number, "kind": kind})
    made = once(kind="s").then_absent(kind=("s", "e"), within=within)
    absence: Any = hw.Absence(start=hw.where(kind="s"), end=hw.where(kind="e"), within=within - 1, rearm=True)
    found = [(match.events[0][1][0], match.end - 1) for match in told(operate(MatchPattern(made).bind(dict), events))]
    plain = [(value.start["n"], value.due) for _, _, value in operate_any(absence.bind(dict), events).out]
    assert found == plain
