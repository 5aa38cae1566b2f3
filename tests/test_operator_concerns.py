"""`Operator.concerns`: events that concern nobody are left out, wherever that is found out, and leave no trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.errors import FlowError, UserCodeError
from headway.operators.conditions import is_columnar, mask_of, one_of, resolve
from headway.operators.patterns.match import MatchPattern
from headway.plan.planner import compile_plan
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stats import RunStats

KINDS = ("add", "view", "end", "")
KEYS = ("a", "b", "c")


class Seen(hw.Event):
    """An event of these flows."""

    user: str
    kind: str
    at: hw.Time
    other: str = ""


class Count(hw.State):
    """How many events a key has had."""

    events: int = 0


class Counting(hw.Operator[Seen, Count, Seen]):
    """Tells every event that it is given, and counts it."""

    def __init__(self, concerns: Any = None) -> None:
        self.concerns = concerns

    def on_event(self, state: Count, event: Seen, ctx: hw.Context[Seen]) -> None:
        """Count."""
        state.events += 1
        ctx.emit(event)


def lines_of(events: Sequence[Seen]) -> list[bytes]:
    return [json.dumps({name: getattr(event, name) for name in Seen.__struct_fields__}).encode() for event in events]


Build = Callable[[hw.Stream[Seen]], Any]


def told(events: Sequence[Seen], build: Build, directory: Path, **options: Any) -> tuple[list[Any], RunStats]:
    """What a flow tells of the events, and how its run went."""
    found: list[Any] = []
    flow = hw.Flow("concerns", **options)
    build(flow.source("seen", Seen, hw.items(lines_of(events)), time="at")).to("told", hw.to_list(found))
    result = run_flow(flow, RunOptions(directory, key_groups=3, drain=True))
    return [Seen(**event) for event in found], result.stats


events_of = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(KINDS), st.sampled_from(KEYS)), max_size=20).map(
    lambda drawn: [Seen(user, kind, 1_000 + index, other) for index, (user, kind, other) in enumerate(drawn)]
)


conditions = st.lists(
    st.one_of(
        st.sampled_from(KINDS).map(lambda kind: hw.where(kind=kind)),
        st.lists(st.sampled_from(KINDS), max_size=3).map(lambda kinds: hw.where(kind=kinds)),
        st.tuples(st.sampled_from(KINDS), st.sampled_from(KEYS)).map(
            lambda pair: hw.where(kind=pair[0], other=pair[1])
        ),
        st.sampled_from(KINDS).map(lambda kind: lambda event: event.kind == kind),
    ),
    min_size=1,
    max_size=3,
)


@given(conditions=conditions, events=events_of)
def test_one_of_several_is_any_of_them(conditions: list[Any], events: list[Seen]) -> None:
    tests = [resolve(condition, Seen) for condition in conditions]
    together = one_of(tests, Seen)
    expected = [any(test(event) for test in tests) for event in events]
    assert list(map(bool, map(together, events))) == expected
    assert list(map(bool, mask_of(together, events))) == expected
    assert is_columnar(together) == all(map(is_columnar, tests))


WHERE = hw.where(kind=("add", "end"))
STREAM = [Seen(KEYS[index % 3], KINDS[index % 4], 1_000 + index) for index in range(24)]
WANTED = [event for event in STREAM if event.kind in ("add", "end")]


def fails(event: Seen) -> bool:
    raise ValueError(event.kind)


@pytest.mark.parametrize(
    "concerns", [WHERE, [hw.where(kind="add"), hw.where(kind="end")], lambda e: e.kind in ("add", "end")]
)
def test_others_leave_no_trace(concerns: Any, tmp_path: Path) -> None:
    found, stats = told(STREAM, lambda seen: seen.key_by("user").process("count", Counting(concerns)), tmp_path)
    assert sorted(found, key=lambda event: event.at) == WANTED
    assert stats.events == len(STREAM)


def test_a_key_whose_events_concern_nobody_has_no_row(tmp_path: Path) -> None:
    views = [Seen("a", "view", 1_000), Seen("b", "add", 1_001), Seen("c", "view", 1_002)]
    _, stats = told(views, lambda seen: seen.key_by("user").process("count", Counting(WHERE)), tmp_path)
    assert stats.keys == 1


@pytest.mark.parametrize("key", ["user", lambda event: event.user])
def test_only_what_nobody_wants_is_left_out(key: Any, tmp_path: Path) -> None:
    """Two operators on one exchange, of which one takes all, or each takes something else."""

    def build(second: Any) -> Build:
        def declare(seen: Any) -> Any:
            keyed = seen.key_by(key)
            return keyed.process("one", Counting(hw.where(kind="add"))).merge(keyed.process("two", Counting(second)))

        return declare

    for number, second in enumerate([None, hw.where(kind="end"), lambda event: event.kind == "view"]):
        found, _ = told(STREAM, build(second), tmp_path / str(number))
        test = bool if second is None else resolve(second, Seen)
        expected = [event for event in STREAM if event.kind == "add"] + [event for event in STREAM if test(event)]
        assert sorted(map(repr, found)) == sorted(map(repr, expected))


def test_what_an_operator_emits_is_sifted_on_its_way(tmp_path: Path) -> None:
    def fused(seen: Any) -> Any:
        return seen.key_by("user").process("all", Counting()).process("some", Counting(WHERE))

    def exchanged(seen: Any) -> Any:
        return seen.key_by("user").process("all", Counting()).key_by("kind").process("some", Counting(WHERE))

    def mapped(seen: Any) -> Any:
        return seen.map(lambda event: event, into=Seen).key_by("user").process("some", Counting(WHERE))

    for build in (fused, exchanged, mapped):
        found, _ = told(STREAM, build, tmp_path / build.__name__)
        assert sorted(found, key=lambda event: event.at) == WANTED, build.__name__


@pytest.mark.parametrize(
    "met", [hw.where(kind="add"), hw.where(kind=("add", "view")), hw.where(user=("a", "b")), lambda e: e.kind != "end"]
)
def test_a_filter_before_it_may_say_less_or_more(met: Any, tmp_path: Path) -> None:
    found, _ = told(STREAM, lambda seen: seen.filter(met).key_by("user").process("count", Counting(WHERE)), tmp_path)
    test = resolve(met, Seen)
    assert sorted(found, key=lambda event: event.at) == [event for event in WANTED if test(event)]


def test_an_event_without_a_key_is_a_dead_letter_whomever_it_concerns(tmp_path: Path) -> None:
    """Where a key may be missing it is read first."""
    events = [Seen("a", "view", 1_000), Seen("b", "add", 1_001)]

    def key(event: Seen) -> Optional[str]:
        return event.user if event.kind == "add" else None

    _, stats = told(events, lambda seen: seen.key_by(key).process("count", Counting(WHERE)), tmp_path)
    assert stats.dead_letters == 1


def test_a_condition_that_fails_is_the_operators_fault(tmp_path: Path) -> None:
    with pytest.raises(
        UserCodeError, match=r"Counting\.concerns of the operator 'count' failed for key 'a' at time 1000"
    ):
        told(STREAM, lambda seen: seen.key_by("user").process("count", Counting(fails)), tmp_path)


def test_a_failing_condition_is_set_aside_like_a_failing_handler(tmp_path: Path) -> None:
    found, stats = told(
        STREAM,
        lambda seen: seen.key_by("user").process("count", Counting(lambda event: event.kind != "" or fails(event))),
        tmp_path,
        on_error="dead-letter",
    )
    assert sorted(found, key=lambda event: event.at) == [event for event in STREAM if event.kind]
    assert stats.dead_letters == sum(not event.kind for event in STREAM)


def test_a_condition_on_a_field_that_there_is_not_is_refused() -> None:
    flow = hw.Flow("concerns")
    seen = flow.source("seen", Seen, hw.items([]), time="at")
    seen.key_by("user").process("count", Counting(hw.where(knd="add"))).to("told", hw.to_list([]))
    with pytest.raises(FlowError, match="Seen has no field 'knd'"):
        compile_plan(flow.graph)


def test_what_waited_under_another_condition_is_looked_at_again(tmp_path: Path) -> None:
    """Events wait for time with the state; the next run has another condition."""
    events = [Seen("a", KINDS[index % 4], 1_000 + index) for index in range(8)]
    found: list[Any] = []

    def flow(logs: Sequence[Seen], concerns: Any) -> hw.Flow:
        made = hw.Flow("concerns")
        seen = made.source("seen", Seen, hw.items(lines_of(logs)), time="at", out_of_order="1s")
        seen.key_by("user").process("count", Counting(concerns)).to("told", hw.to_list(found))
        return made

    run_flow(flow(events, None), RunOptions(tmp_path))
    assert not found
    later = [*events, Seen("a", "add", 1_500), Seen("a", "view", 1_501), Seen("a", "end", 9_000)]
    run_flow(flow(later, hw.where(kind="add")), RunOptions(tmp_path))
    assert [(event["kind"], event["at"]) for event in found] == [("add", 1_000), ("add", 1_004), ("add", 1_500)]


def test_headways_own_say_it_where_the_type_is_known() -> None:
    absence = hw.Absence(start=hw.where(kind="add"), end=[hw.where(kind="end"), hw.where(other="a")], within="1h")
    deadline = hw.Deadline(start=hw.where(kind="add"), ends={"ended": hw.where(kind="end")}, within="1h")
    chain = MatchPattern(hw.once(kind="add").then_absent(kind="end", within="1h"))
    for operator in (absence, deadline, chain):
        assert operator.bind(Seen).concerns, operator
        assert operator.bind(dict).concerns is None, "where fields are not known, a look costs too much"
    by_function = hw.Absence(start=lambda event: True, end=hw.where(kind="end"), within="1h")
    assert by_function.bind(Seen).concerns is None
    assert MatchPattern(hw.once(kind="add").next(kind="end")).bind(Seen).concerns is None
