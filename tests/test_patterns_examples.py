"""Worked examples: those of the documentation of Flink CEP and of its tests, in Headway's words."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from tests.pattern_model import Model, find

from headway.operators.patterns.pattern import Pattern, either, once, pattern
from headway.operators.patterns.skip import (
    AfterMatch,
    no_skip,
    skip_past_last,
    skip_to_first,
    skip_to_last,
    skip_to_next,
)


def matches(made: Pattern, stream: str, after: Optional[AfterMatch] = None) -> list[str]:
    """The matches in a stream such as `a b1 b2@7`, each as its events; the kind is the first letter."""
    events: list[dict[str, Any]] = []
    for number, word in enumerate(stream.split()):
        label, _, at = word.partition("@")
        events.append({"at": int(at) if at else number, "n": number, "kind": label[0], "label": label})
    found = find(made, events, after)
    if not (after and made.within_ms is None):
        assert sorted(set(found)) == sorted(Model(made, events).matches(after))
    return [
        " ".join(events[n]["label"] for n in sorted(n for _, numbers in match.events for n in numbers))
        for match in found
    ]


A, B, C = pattern("a", kind="a"), pattern("b", kind="b"), pattern("c", kind="c")


# -- Contiguity -------------------------------------------------------------------------------------------


def test_contiguity_between_steps() -> None:
    assert matches(A.next("b", kind="b"), "a c b1 b2") == []
    assert matches(A.followed_by("b", kind="b"), "a c b1 b2") == ["a b1"]
    assert matches(A.followed_by_any("b", kind="b"), "a c b1 b2") == ["a b1", "a b2"]


def test_contiguity_inside_a_loop() -> None:
    loop = A.followed_by_any("b", kind="b").one_or_more()
    stream = "a b1 d1 b2 d2 b3 c"
    strict = loop.consecutive().followed_by("c", kind="c")
    # The page shows {a b3 c} alone; its matcher, and the words of the page, give the shorter loops too.
    assert set(matches(strict, stream)) == {"a b1 c", "a b2 c", "a b3 c"}
    assert matches(loop.consecutive().next("c", kind="c"), stream) == ["a b3 c"]
    relaxed = {"a b1 c", "a b1 b2 c", "a b1 b2 b3 c", "a b2 c", "a b2 b3 c", "a b3 c"}
    assert set(matches(loop.followed_by("c", kind="c"), stream)) == relaxed
    every = loop.allow_combinations().followed_by("c", kind="c")
    assert set(matches(every, stream)) == relaxed | {"a b1 b3 c"}


def test_consecutive_and_combinations() -> None:
    loop = C.followed_by("a", kind="a").one_or_more()
    stream = "c d a1 a2 a3 d a4 b"
    three = {"c a1 b", "c a1 a2 b", "c a1 a2 a3 b"}
    assert set(matches(loop.consecutive().followed_by("b", kind="b"), stream)) == three
    assert set(matches(loop.followed_by("b", kind="b"), stream)) == three | {"c a1 a2 a3 a4 b"}
    # The page lists all combinations, also those without a1: that is followed_by_any.
    free = C.followed_by_any("a", kind="a").one_or_more().allow_combinations().followed_by("b", kind="b")
    assert len(matches(free, stream)) == len(set(matches(free, stream))) == 15
    bound = loop.allow_combinations().followed_by("b", kind="b")
    assert set(matches(bound, stream)) == {match for match in matches(free, stream) if "a1" in match}


def test_times_overlap() -> None:
    assert matches(A.times(3), "a1 a2 a3 a4 a5") == ["a1 a2 a3", "a2 a3 a4", "a3 a4 a5"]


def test_optional_takes_or_leaves() -> None:
    maybe = A.followed_by("b", kind="b").optional().followed_by("c", kind="c")
    assert matches(maybe, "a b c") == ["a b c", "a c"]
    assert matches(maybe, "a c") == ["a c"]
    assert matches(A.followed_by("b", kind="b").times(0, 2), "a b1 b2") == ["a", "a b1", "a b1 b2"]


# -- Until ------------------------------------------------------------------------------------------------


def test_until_ends_a_loop() -> None:
    assert matches(A.one_or_more().until(kind="b"), "a1 c a2 b a3") == ["a1", "a1 a2", "a2", "a3"]


def test_the_event_that_ends_a_loop_may_be_the_next_step() -> None:
    loop = C.followed_by("a", lambda event: event["kind"] in "ab").one_or_more()
    assert matches(loop.until(kind="b").followed_by("end", kind="b"), "c a1 a2 b a3") == ["c a1 a2 b", "c a1 b"]
    every = loop.allow_combinations().until(kind="b").followed_by("end", kind="b")
    assert matches(every, "c a1 a2 a3 b a4") == ["c a1 a2 a3 b", "c a1 a2 b", "c a1 a3 b", "c a1 b"]
    assert matches(loop.optional().until(kind="b").followed_by("end", kind="b"), "c a1 b a2") == ["c a1 b", "c b"]


def test_until_does_not_keep_a_loop_from_beginning_later() -> None:
    loop = C.followed_by_any("a", lambda event: event["kind"] in "ab").one_or_more().until(kind="b")
    assert set(matches(loop, "c a1 a2 b a3")) == {"c a1", "c a1 a2", "c a2", "c a3"}


# -- Greedy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        ("c a1 a2 a3 d", ["c a1 a2 a3 d"]),
        ("c x a1 x a2 x a3 d", ["c a1 a2 a3 d"]),
        ("c a1 a2 x d", ["c a1 a2 d"]),
        ("c x d", ["c d"]),
    ],
)
def test_greedy_takes_all(stream: str, found: list[str]) -> None:
    greedy = C.followed_by("a", kind="a").one_or_more().optional().greedy()
    assert matches(greedy.followed_by("d", kind="d"), stream) == found
    needed = C.followed_by("a", kind="a").one_or_more().greedy().followed_by("d", kind="d")
    assert matches(needed, stream) == [match for match in found if "a" in match]


def test_greedy_before_an_optional_step() -> None:
    greedy = C.followed_by("a", kind="a").one_or_more().optional().greedy()
    made = greedy.followed_by("d", kind="d").optional().followed_by("e", kind="e")
    assert matches(made, "c a1 a2 x e") == ["c a1 a2 e"]
    assert matches(made, "c a1 a2 d e") == ["c a1 a2 d e", "c a1 a2 e"]


def test_greedy_before_a_group() -> None:
    group = pattern("d", kind="d").followed_by("e", kind="e")
    made = C.followed_by("a", kind="a").one_or_more().optional().greedy().followed_by(group).times(2)
    assert matches(made.followed_by("f", kind="f"), "c a1 a2 x a3 d1 e1 d2 e2 f") == ["c a1 a2 a3 d1 e1 d2 e2 f"]


def test_greedy_at_the_end_tells_each_length() -> None:
    ending = C.followed_by("a", kind="a").one_or_more().optional()
    assert matches(ending.greedy(), "c a1 a2 x a3") == ["c", "c a1", "c a1 a2", "c a1 a2 a3"]
    assert matches(ending.consecutive().greedy(), "c a1 a2 x a3") == ["c", "c a1", "c a1 a2"]
    ranged = C.followed_by("a", kind="a").times(2, 5).greedy()
    assert matches(ranged, "c a1 a2 a3 x") == ["c a1 a2", "c a1 a2 a3"]
    assert matches(ranged.followed_by("d", kind="d"), "c a1 a2 a3 a4 d") == ["c a1 a2 a3 a4 d"]


def test_greedy_until_something_comes() -> None:
    loop = C.followed_by("a", lambda event: event["kind"] in "ab").one_or_more().greedy()
    assert matches(loop.until(kind="b").followed_by("d", kind="d"), "c a1 a2 a3 b d") == ["c a1 a2 a3 d"]
    assert matches(loop.until(kind="b").followed_by("d", kind="d"), "c b a1 a2 d") == []
    assert matches(loop.optional().until(kind="b").followed_by("d", kind="d"), "c b a1 a2 d") == ["c d"]


def test_greedy_before_what_must_not_follow() -> None:
    loop = A.one_or_more().greedy()
    assert matches(loop.then_absent("d", kind="d", within=100), "a1 a2 a3 c") == ["a1 a2 a3", "a2 a3", "a3"]
    assert matches(loop.then_absent("d", kind="d", within=100), "a1 a2 a3 d") == []
    assert matches(loop.not_followed_by("d", kind="d").within(9), "a1 x a2 c") == ["a1 a2", "a2"]
    assert matches(loop.not_next("d", kind="d"), "a1 a2 a3 c") == ["a1 a2 a3", "a2 a3", "a3"]
    assert matches(loop.not_next("d", kind="d"), "a1 a2 a3 d") == []
    grouped = pattern(C.followed_by("a", kind="a").one_or_more().optional().greedy())
    assert matches(grouped.then_absent("d", kind="d", within=100), "c a1 a2") == ["c a1 a2"]
    full = A.times(1, 2).greedy().then_absent("d", kind="d", within=100)
    assert matches(full, "a1 a2 a3 c") == ["a2 a3", "a3"]
    released = A.one_or_more().greedy().until(kind="u").then_absent("d", kind="d", within=100)
    assert matches(released, "a1 u a2") == ["a1", "a2"]


def test_lengths_without_greedy_before_what_must_not_follow() -> None:
    loop = A.one_or_more().then_absent("d", kind="d", within=100)
    assert sorted(matches(loop, "a1 a2 c")) == ["a1", "a1 a2", "a2"]


# -- What must not come -----------------------------------------------------------------------------------


def test_not_next() -> None:
    made = A.not_next("no", kind="b").followed_by_any("c", kind="c").followed_by("d", kind="d")
    assert matches(made, "a c1 b c2 d") == ["a c1 d", "a c2 d"]
    assert matches(made, "a b c1 c2 d") == []
    ending = A.followed_by_any("d", kind="d").not_next(kind="b")
    assert matches(ending, "a c d b") == []
    assert matches(ending, "a c d x") == ["a d"]


def test_not_followed_by() -> None:
    without = A.not_followed_by("no", kind="b")
    assert matches(without.followed_by_any("c", kind="c").followed_by("d", kind="d"), "a c1 b c2 d") == ["a c1 d"]
    maybe = without.followed_by_any("c", kind="c").optional()
    assert matches(maybe.followed_by("d", kind="d"), "a c1 b c2 d") == ["a c1 d"]
    assert matches(maybe, "a c1 b c2") == ["a", "a c1"]


def test_not_followed_by_holds_inside_the_loop_before_it() -> None:
    pair = A.followed_by_any("b", kind="b").times(2).not_followed_by(kind="c").followed_by("d", kind="d")
    assert matches(pair, "a b1 c b2 d") == []
    loop = A.followed_by("b", kind="b").one_or_more().not_followed_by(kind="c").followed_by("d", kind="d")
    assert matches(loop, "a b1 b2 c b3 b4 d") == []
    free = A.followed_by_any("b", kind="b").one_or_more().not_followed_by(kind="c").followed_by("d", kind="d")
    assert matches(free, "a b1 c b3 b4 d") == ["a b3 b4 d", "a b3 d", "a b4 d"]
    after = A.followed_by_any("b", kind="b").one_or_more().not_next(kind="c").followed_by("d", kind="d")
    assert matches(after, "a b1 c b2 d") == ["a b2 d"]


def test_not_followed_by_ends_where_the_loop_behind_it_begins() -> None:
    made = A.not_followed_by(kind="c").followed_by_any("b", kind="b").one_or_more().optional()
    found = matches(made.followed_by("d", kind="d"), "a b1 c b4 b5 d")
    assert found == ["a b1 b4 b5 d", "a b1 b4 d", "a b1 d"]


def test_nothing_follows_within_a_time() -> None:
    stream = "a1@1 b1@2 a2@4 c@5 b2@10 a3@11 b3@13"
    assert matches(A.not_followed_by(kind="b").within(3), stream) == ["a2"]
    assert matches(A.then_absent(kind="b", within=3), stream) == ["a2"]


def test_an_event_exactly_at_the_end_of_the_time_comes_too_late() -> None:
    assert matches(A.then_absent(kind="b", within=3), "a@1 b@4") == ["a"]
    assert matches(A.then_absent(kind="b", within=3), "a@1 b@3") == []
    assert matches(A.followed_by("b", kind="b").within(3), "a@1 b@4") == []
    assert matches(A.followed_by("b", kind="b").within(3), "a@1 b@3") == ["a b"]
    assert matches(A.followed_by("b", kind="b").within(3, since="previous"), "a@1 b@4") == []


def test_not_followed_by_before_a_range() -> None:
    made = A.not_followed_by(kind="b").followed_by("c", kind="c").times(0, 2).within(3)
    stream = "a1@1 b1@2 a2@10 c1@11 c2@12 a3@20 c3@21 c4@24"
    assert matches(made, stream) == ["a1", "a2", "a2 c1", "a2 c1 c2", "a3", "a3 c3"]


def test_an_absence_that_skips() -> None:
    made = A.one_or_more().allow_combinations().followed_by("c", kind="c").not_followed_by(kind="b").within(5)
    assert matches(made, "a1@1 a2@2 a3@3 c1@4 c2@10", skip_past_last()) == ["a1 a2 a3 c1"]


def test_an_event_that_is_forbidden_and_waited_for_ends_the_wait() -> None:
    either_way = {"n": lambda event: event["kind"] in "bx", "b": lambda event: event["kind"] in "bc"}
    made = A.not_followed_by("n", either_way["n"]).followed_by("b", either_way["b"])
    assert matches(made, "a b c") == []
    assert matches(made, "a c b") == ["a c"]
    assert matches(A.not_next("n", either_way["n"]).followed_by("b", either_way["b"]), "a b c") == []
    loop = A.followed_by("b", either_way["b"]).one_or_more().not_followed_by("n", either_way["n"])
    assert matches(loop.followed_by("d", kind="d"), "a c1 b c2 d") == []
    assert matches(loop.followed_by("d", kind="d"), "a b c d") == ["a b c d", "a b d"]


def test_what_must_not_come_before_optional_steps_only() -> None:
    made = A.not_followed_by("no", kind="x").followed_by("b", kind="b").optional()
    assert matches(made, "a x b") == ["a"]
    assert matches(made, "a b") == ["a", "a b"]
    assert matches(made.within(5), "a@0 x@1 b@2") == ["a"]
    two = A.not_followed_by("no", kind="x").followed_by(pattern("b", kind="b").followed_by("c", kind="c")).times(0, 1)
    assert matches(two, "a b x c") == ["a", "a b c"]


def test_a_time_between_the_occurrences_of_a_loop() -> None:
    each = A.followed_by("b", kind="b").times(3).within(5, since="previous")
    assert matches(each, "a@0 b1@9 b2@10 b3@11") == []
    assert matches(each, "a@0 b1@4 b2@8 b3@12") == ["a b1 b2 b3"]
    assert matches(each, "a@0 b1@4 b2@8 b3@13") == []
    between = A.followed_by("b", kind="b").followed_by("more", kind="b").times(2).within(5, since="previous")
    assert matches(between, "a@0 b1@9 b2@10 b3@11") == ["a b1 b2 b3"]
    assert matches(between, "a@0 b1@9 b2@10 b3@15") == []


# -- Groups -----------------------------------------------------------------------------------------------


def test_groups() -> None:
    group = pattern("x", kind="a").followed_by("y", kind="b")
    assert matches(C.followed_by(group).times(2).followed_by("d", kind="d"), "c a1 b1 a2 b2 d") == ["c a1 b1 a2 b2 d"]
    assert matches(C.followed_by(group).optional().followed_by("d", kind="d"), "c a1 a2 b d") == ["c a1 b d", "c d"]
    assert matches(C.followed_by(group).times(2).optional().followed_by("d", kind="d"), "c a d") == ["c d"]
    often = C.followed_by(group).one_or_more().followed_by("d", kind="d")
    assert matches(often, "c a1 b1 a2 b2 d") == ["c a1 b1 a2 b2 d", "c a1 b1 d"]
    assert matches(pattern(group).times(2).consecutive(), "a1 b1 x a2 b2 a3 b3") == ["a2 b2 a3 b3"]


def test_alternatives() -> None:
    paid = A.followed_by(either(pattern("card", kind="b"), pattern("cash", kind="c").next("change", kind="d")))
    assert matches(paid, "a b") == ["a b"]
    assert matches(paid, "a x c d") == ["a c d"]
    assert matches(paid, "a c x d b") == ["a b"]


# -- Conditions -------------------------------------------------------------------------------------------


def test_conditions_that_see_what_matched() -> None:
    rising = pattern("p", lambda e, matched: not matched["p"] or e["n"] - matched["p"][-1]["n"] == 2).times(3)
    assert matches(rising.consecutive(), "a b c d") == []
    assert matches(rising, "a b c d e") == ["a c e"]
    sum_below = pattern("b", lambda e, matched: sum(x["at"] for x in matched["b"]) + e["at"] < 6)
    loop = sum_below.where(kind="b").one_or_more().greedy().followed_by("c", kind="c")
    assert matches(loop, "b1@1 b2@2 b3@3 c@4") == ["b1 b2 c", "b2 b3 c", "b3 c"]


def test_conditions_are_combined() -> None:
    assert matches(A.where(lambda event: event["n"] > 0), "a1 a2") == ["a2"]
    assert matches(A.or_where(kind="b").where(lambda event: event["n"] > 0), "a b c") == ["b"]
    assert matches(once(kind=("a", "b")), "a b c") == ["a", "b"]


# -- After-match strategies -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (no_skip(), ["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (skip_to_next(), ["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (skip_past_last(), ["b1 b2 b3 c"]),
        (skip_to_first("b"), ["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (skip_to_last("b"), ["b1 b2 b3 c", "b3 c"]),
    ],
)
def test_after_a_loop_at_the_beginning(after: AfterMatch, found: list[str]) -> None:
    made = B.one_or_more().consecutive().greedy().next("c", kind="c")
    assert matches(made, "b1 b2 b3 c", after) == found


def test_after_a_loop_at_the_end() -> None:
    made = A.next("b", kind="b").one_or_more()
    assert matches(made, "a b1 b2 b3", no_skip()) == ["a b1", "a b1 b2", "a b1 b2 b3"]
    assert matches(made, "a b1 b2 b3", skip_to_next()) == ["a b1"]


def test_skip_to_first_discards_what_began_before() -> None:
    made = (
        pattern("x", lambda event: event["kind"] in "abc")
        .next("y", lambda event: event["kind"] in "bc")
        .next("c", kind="c").one_or_more().consecutive().greedy()
        .next("d", kind="d")
    )  # fmt: skip
    stream = "a b c1 c2 c3 d"
    assert matches(made, stream, no_skip()) == ["a b c1 c2 c3 d", "b c1 c2 c3 d", "c1 c2 c3 d"]
    assert matches(made, stream, skip_to_first("c")) == ["a b c1 c2 c3 d", "c1 c2 c3 d"]


def test_matches_that_do_not_overlap() -> None:
    assert matches(A.times(3), "a1 a2 a3 a4 a5 a6", skip_past_last()) == ["a1 a2 a3", "a4 a5 a6"]
    pairs = A.followed_by_any("b", kind="b")
    assert matches(pairs, "a1 b1 a2 b2", no_skip()) == ["a1 b1", "a1 b2", "a2 b2"]
    assert matches(pairs, "a1 b1 a2 b2", skip_to_next()) == ["a1 b1", "a2 b2"]
    four = pairs.followed_by_any("c", kind="c").followed_by("d", kind="d")
    assert matches(four, "a1 a2 b1 b2 c1 c2 d1 d2", skip_past_last()) == ["a1 b1 c1 d1"]
    assert matches(A.next("b", kind="b"), "a1 c a2 b2", skip_past_last()) == ["a2 b2"]


def test_skip_to_a_step() -> None:
    twice = pattern("a", kind="a").times(2).next("end", kind="a").times(2)
    assert matches(twice, "a1 a2 a3 a4 a5 a6", skip_to_first("end")) == ["a1 a2 a3 a4", "a3 a4 a5 a6"]
    assert matches(twice, "a1 a2 a3 a4 a5 a6 a7", skip_to_last("end")) == ["a1 a2 a3 a4", "a4 a5 a6 a7"]
    ends = A.next("b", kind="b").one_or_more().consecutive()
    for after in (skip_to_first("b"), skip_to_last("b")):
        assert matches(ends, "a1 b1 a2 b2 b3 a3 b4", after) == ["a1 b1", "a2 b2", "a3 b4"]


def test_skip_to_a_step_that_has_no_event_skips_nothing() -> None:
    made = A.next("b", kind="b").one_or_more().optional().consecutive().next("c", kind="c")
    assert matches(made, "a c", skip_to_first("b")) == ["a c"]
