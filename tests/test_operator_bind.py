"""Binding: an operator is given its options, and learns the type of its events when a step is declared with it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headway as hw
from headway.operators import MatchPattern, RunStateMachine
from headway.operators.aggregates.running import RunningAggregate
from headway.operators.joins.asof import AsofJoin
from headway.operators.joins.interval import IntervalJoin
from headway.operators.joins.table import TableJoin
from headway.operators.joins.window import Cogroup, WindowJoin
from headway.operators.windows.aligned import AlignedWindow, SingleWindow
from headway.operators.windows.aligned_late import LateAlignedWindow
from headway.operators.windows.counted import CountWindows
from headway.operators.windows.sessions import SessionWindow
from headway.operators.windows.sessions_late import LateSessionWindow
from headway.testing import FlowTest

Operator = hw.Operator[Any, Any, Any]


class Shop(hw.Event):
    user: str
    at: hw.Time
    kind: str
    n: int


class Page(hw.Event):
    user: str
    at: hw.Time


class Case(NamedTuple):
    """An operator, and the step of a stream that declares the same; `other` is the second stream."""

    make: Callable[[], Operator]
    step: Callable[[Any, Any], Any]
    input: Optional[str] = None
    """The further input that takes the second stream."""


ADD, PAY = hw.where(kind="add"), hw.where(kind="pay")
COUNT = {"seen": hw.count(), "sum": hw.sum("n")}
PAIRS = hw.once(kind="add").followed_by("paid", kind="pay").within(20)
LATE: dict[str, Any] = {"late_time": "at", "allowed_lateness": 10}
MACHINE = (
    hw.StateMachine("cart", states=("new", "open", "paid"), initial="new", final=("paid",), events="kind")
    .on("new", "add", to="open")
    .on("open", "pay", to="paid")
)


CASES: dict[str, Case] = {
    "absence": Case(
        lambda: hw.Absence(start=ADD, end=PAY, within=5), lambda s, o: s.absence("x", start=ADD, end=PAY, within=5)
    ),
    "deadline": Case(
        lambda: hw.Deadline(start=ADD, ends={"paid": PAY}, within="n"),
        lambda s, o: s.deadline("x", start=ADD, ends={"paid": PAY}, within="n"),
    ),
    "silence": Case(lambda: hw.Silence(after=5, resumed=True), lambda s, o: s.silence("x", 5, resumed=True)),
    "machine": Case(lambda: RunStateMachine(MACHINE), lambda s, o: s.state_machine("x", MACHINE)),
    "dedup": Case(lambda: hw.Dedup(by="n", within=9), lambda s, o: s.dedup("x", by="n", within=9)),
    "debounce": Case(lambda: hw.Debounce(quiet=3), lambda s, o: s.debounce("x", 3)),
    "throttle": Case(lambda: hw.Throttle(per=4, emit="both"), lambda s, o: s.throttle("x", 4, emit="both")),
    "rate limit": Case(lambda: hw.RateLimit(limit=1, per=7), lambda s, o: s.rate_limit("x", 1, per=7)),
    "on change": Case(lambda: hw.OnChange(by=["kind", "n"]), lambda s, o: s.on_change("x", by=["kind", "n"])),
    "lag": Case(lambda: hw.Lag(n=2), lambda s, o: s.lag("x", 2)),
    "rank": Case(lambda: hw.Rank(by="n", k=2), lambda s, o: s.rank("x", by="n", k=2)),
    "sequence": Case(lambda: hw.SequenceCheck(number="n"), lambda s, o: s.sequence_check("x", number="n")),
    "match": Case(lambda: MatchPattern(PAIRS, keep=["n"]), lambda s, o: s.match("x", PAIRS, keep=["n"])),
    "aggregate": Case(lambda: RunningAggregate("x", COUNT), lambda s, o: s.aggregate("x", **COUNT)),
    "tumbling": Case(
        lambda: SingleWindow(hw.tumbling(10), COUNT), lambda s, o: s.window("x", hw.tumbling(10), **COUNT)
    ),
    "sliding": Case(
        lambda: AlignedWindow(hw.sliding(10, every=5), COUNT),
        lambda s, o: s.window("x", hw.sliding(10, every=5), **COUNT),
    ),
    "session": Case(lambda: SessionWindow(hw.session(4), COUNT), lambda s, o: s.window("x", hw.session(4), **COUNT)),
    "counted": Case(
        lambda: CountWindows(hw.count_window(3), COUNT), lambda s, o: s.window("x", hw.count_window(3), **COUNT)
    ),
    "late tumbling": Case(
        lambda: LateAlignedWindow(hw.tumbling(10), COUNT, **LATE),
        lambda s, o: s.window("x", hw.tumbling(10), late=o, **LATE, **COUNT),
        "late",
    ),
    "late session": Case(
        lambda: LateSessionWindow(hw.session(4), COUNT, **LATE),
        lambda s, o: s.window("x", hw.session(4), late=o, **LATE, **COUNT),
        "late",
    ),
    "interval join": Case(
        lambda: IntervalJoin(lower=-5, upper=5, how="full"),
        lambda s, o: s.interval_join("x", o, lower=-5, upper=5, how="full"),
        "right",
    ),
    "window join": Case(
        lambda: WindowJoin(hw.tumbling(10), how="left"),
        lambda s, o: s.window_join("x", o, hw.tumbling(10), how="left"),
        "right",
    ),
    "cogroup": Case(lambda: Cogroup(hw.session(4)), lambda s, o: s.cogroup("x", o, hw.session(4)), "right"),
    "asof join": Case(lambda: AsofJoin(delete=PAY), lambda s, o: s.asof_join("x", o, delete=PAY), "right"),
    "table join": Case(
        lambda: TableJoin(how="full", delete=PAY), lambda s, o: s.table_join("x", o, how="full", delete=PAY), "right"
    ),
}

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["main", "other"]),
        st.fixed_dictionaries(
            {
                "user": st.sampled_from("ab"),
                "at": st.integers(0, 40),
                "kind": st.sampled_from(["add", "pay", "view"]),
                "n": st.integers(1, 4),
            }
        ),
    ),
    max_size=12,
)


def outputs(declare: Callable[[Any, Any], Any], event_type: Any, events: list[tuple[str, dict[str, Any]]]) -> Any:
    """What a step gives, and its side outputs."""
    flow = hw.Flow("shop")
    main, other = (
        flow.source(name, event_type, hw.items([]), time="at").key_by("user", name=f"by-{name}")
        for name in ("main", "other")
    )
    step = declare(main, other)
    step.to("out", hw.to_list([]))
    sides = sorted(flow.graph.nodes["x"].operator.sides)  # type: ignore[attr-defined]
    for side in sides:
        step.side(side).to(side, hw.to_list([]))
    test = FlowTest(flow)
    for name, event in sorted(events, key=lambda item: item[1]["at"]):
        test.send(name, event)
    test.drain()
    return {name: test.triggers(name) for name in ("out", *sides)}


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, name=st.sampled_from(sorted(CASES)), event_type=st.sampled_from([Shop, hw.Json]), data=st.data())
def test_a_step_gives_what_its_operator_gives(
    events: list[tuple[str, dict[str, Any]]], name: str, event_type: Any, data: st.DataObject
) -> None:
    """The operator may be one that serves streams of other types too, or be bound by hand before."""
    case = CASES[name]
    operator = case.make()
    if data.draw(st.booleans()):
        operator.bind(hw.Json if event_type is Shop else Shop)
    if data.draw(st.booleans()):
        operator = operator.bind(event_type, **({case.input: event_type} if case.input else {}))

    def process(main: Any, other: Any) -> Any:
        return main.process("x", operator, **({case.input: other} if case.input else {}))

    assert outputs(process, event_type, events) == outputs(case.step, event_type, events)


@each
def test_a_bound_one_is_a_copy_that_knows_its_types(case: Case) -> None:
    operator = case.make()
    before = copy.copy(vars(operator))
    bound = operator.bind(Shop)
    assert vars(operator) == before and not operator.is_bound
    assert bound.is_bound and bound is not operator and bound.event_type is Shop
    assert bound.arguments() == operator.arguments()
    assert (*bound.sides,) == (*operator.sides,) and (*bound.inputs,) == (*operator.inputs,)
    bound.state_type()


@each
def test_binding_again_does_nothing_and_to_another_type_is_refused(case: Case) -> None:
    bound = case.make().bind(Shop)
    assert bound.bind(Shop) is bound
    with pytest.raises(hw.FlowError, match=r"is bound to events of Shop.*to those of Json.* too: make another one"):
        bound.bind(hw.Json)
    expiring = hw.Expiring(bound, hw.ttl("1d"))
    assert expiring.bind(Shop) is expiring
    with pytest.raises(hw.FlowError, match=f"{type(bound).__name__} is bound to events of Shop"):
        expiring.bind(hw.Json)


@each
@pytest.mark.parametrize("clock", ["event", "wall"])
def test_a_time_to_live_binds_what_it_wraps(case: Case, clock: Any) -> None:
    expiring = hw.Expiring(case.make(), hw.ttl("1d", clock=clock))
    bound = expiring.bind(Shop)
    assert not expiring.is_bound and bound.is_bound and bound.wrapped.event_type is Shop
    assert bound.state_type().__struct_fields__[: len(bound.wrapped.state_type().__struct_fields__)]
    assert (*bound.sides,) == (*expiring.sides,) and bound.sides["expired"].__args__ == (bound.wrapped.state_type,)
    for name in bound.inputs:
        assert getattr(bound, f"on_{name}") != getattr(expiring, f"on_{name}")


class Count(hw.Operator[Shop, dict[str, int]]):
    pass


def test_an_operator_with_a_type_of_its_own_is_bound_to_that() -> None:
    count = Count()
    assert count.is_bound and count.bind(hw.Json) is count and count.event_type is Shop
    expiring = hw.Expiring(count, hw.ttl("1d"))
    assert expiring.is_bound and expiring.bind(hw.Json) is expiring


def test_an_operator_of_the_flows_own_for_any_type_is_bound_like_those_of_headway() -> None:
    class Pick(hw.Operator[Any, hw.State, Any]):
        def __init__(self, field: str) -> None:
            self.field = field

        def _bind(self, event_type: Any, inputs: Any, /) -> None:
            names = event_type.__struct_fields__
            if self.field not in names:
                msg = f"no {self.field!r} in {names}"
                raise hw.FlowError(msg)
            self.place = names.index(self.field)

        def on_event(self, state: hw.State, event: Any, ctx: hw.Context[Any], /) -> None: ...

    kind = Pick("kind")
    assert (kind.is_bound, kind.bind(Shop).is_bound, kind.bind(Shop).place) == (False, True, 2)
    shop = hw.Flow("shop").source("shop", Shop, hw.items([]), time="at").key_by("user")
    with pytest.raises(hw.FlowError, match=r"^tests/test_operator_bind\.py:\d+: no 'knd' in"):
        shop.process("pick", Pick("knd"))


def test_one_operator_serves_streams_of_several_types() -> None:
    flow = hw.Flow("shop")
    silence: Any = hw.Silence(after="10m")
    types = (Shop, Page)
    for event_type in types:
        name = event_type.__name__
        flow.source(name, event_type, hw.items([]), time="at").key_by("user").process(f"{name}-quiet", silence)
    bound: Any = [flow.graph.nodes[f"{event_type.__name__}-quiet"] for event_type in types]
    assert [node.operator.event_type for node in bound] == [Shop, Page]
    assert bound[0].operator.state_type is not bound[1].operator.state_type
    assert not silence.is_bound


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda s, o: s.process("x", hw.Rank(by="prise")), r"rank\('prise'\): Shop has no field 'prise'"),
        (
            lambda s, o: s.process("x", hw.Expiring(hw.Dedup(by="id", within=5), hw.ttl(5))),
            r"dedup\('id'\): Shop has no field 'id'",
        ),
        (
            lambda s, o: s.process("x", hw.Absence(start=hw.where(knd=1), end=bool, within=5)),
            r"where\(knd=\.\.\.\): Shop has no field 'knd'",
        ),
        (lambda s, o: s.process("x", hw.Silence(after=5).bind(Page)), "Silence is bound to events of Page, and"),
        (
            lambda s, o: s.process("x", AsofJoin(delete=hw.where(n=1)), right=o),
            r"where\(n=\.\.\.\): Page has no field 'n'",
        ),
        (lambda s, o: s.process("x", AsofJoin()), "AsofJoin needs right=a keyed stream, not None"),
        (lambda s, o: s.process("x", hw.Lag(), right=o), "Lag has no further input 'right'; it has none"),
        (
            lambda s, o: s.process("x", LateAlignedWindow(hw.tumbling(5), COUNT, **LATE), late=o),
            "LateAlignedWindow takes Shop, but the stream by-other has Page",
        ),
        (lambda s, o: s.silence("x", "soon"), "silence"),
        (lambda s, o: s.state_machine("x", 5), "5 is not a machine"),
    ],
)
def test_what_does_not_fit_the_stream_is_told_with_the_line(declare: Any, said: str) -> None:
    flow = hw.Flow("shop")
    main = flow.source("main", Shop, hw.items([]), time="at").key_by("user", name="by-main")
    other = flow.source("other", Page, hw.items([]), time="at").key_by("user", name="by-other")
    with pytest.raises(hw.FlowError, match=rf"^tests/test_operator_bind\.py:\d+: .*{said}"):
        declare(main, other)


def test_a_migration_given_to_a_time_to_live_is_that_of_the_operator_in_it() -> None:
    def migrate(old: dict[str, Any], version: int) -> dict[str, Any]:
        return {**old, "last": None}

    expiring = hw.Expiring(hw.Silence(after=5), hw.ttl(5)).with_migration(2, migrate).bind(hw.Json)
    assert (expiring.state_version, expiring.wrapped.state_version) == (2, 2)
    assert expiring.migrate is not None and expiring.migrate({"since": 1}, 1) == {"since": 1, "last": None}
