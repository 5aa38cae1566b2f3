"""One range of times for the whole product: at either end of it each operator has room for all that it adds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, Logs, MakeFlow, check

import headway as hw
from headway.basics.times import (
    EARLIEST_MS,
    LAST_TIMER_MS,
    LATEST_MS,
    LONGEST_MS,
    duration_ms,
    format_time,
    parse_time,
)
from headway.connectors.base import Input, Output
from headway.errors import FlowError, UsageError, UserCodeError
from headway.testing import FlowTest
from headway.testing.oracle import Oracle


class Step(hw.Event):
    key: str
    at: hw.Time
    kind: Literal["a", "b", "c"]
    n: int


class Streams(NamedTuple):
    """What a kind of operator is declared on."""

    events: Any
    others: Any
    late: Any


Declare = Callable[[Streams, int], Any]
"""Declares an operator with a length of time in milliseconds."""

a, b, c = (hw.where(kind=kind) for kind in "abc")


class Again(hw.Operator[Step, hw.State, hw.Json]):
    """Arms a timer at a distance, and one more when it fires."""

    def __init__(self, length_ms: int) -> None:
        self.length_ms = length_ms

    def on_event(self, state: hw.State, event: Step, ctx: hw.Context[hw.Json]) -> None:
        ctx.timer("first", ctx.time + self.length_ms)

    def on_timer(self, state: hw.State, timer: hw.Timer, ctx: hw.Context[hw.Json]) -> None:
        ctx.emit({"at": hw.format_time(timer.at)})
        if timer.name == "first":
            ctx.timer("second", ctx.time + self.length_ms)


def machine(length_ms: int) -> hw.StateMachine[Any]:
    return (
        hw.StateMachine("m", states=("new", "open", "closed"), initial="new", events="kind", final=("closed",))
        .on("new", "a", to="open")
        .on("open", "b", to="open")
        .on("open", "c", to="closed")
        .timeout("open", after=length_ms, to="closed")
    )


def windows(streams: Streams, windower: Any, **options: Any) -> Any:
    return streams.events.window(windower, n=hw.count(), last=hw.last("n"), **options)


AGGREGATES = {
    "count": lambda ms: hw.count(),
    "decayed": lambda ms: hw.decayed("n", ms),
    "rate": lambda ms: hw.rate(half_life=ms),
    "sum_over": lambda ms: hw.sum_over("n", ms),
    "count_over": hw.count_over,
    "last": lambda ms: hw.last(),
}

KINDS: dict[str, Declare] = {
    "absence": lambda s, ms: s.events.absence("x", start=a, end=b, within=ms),
    "deadline": lambda s, ms: s.events.deadline("x", start=a, ends={"b": b}, within=ms),
    "silence": lambda s, ms: s.events.silence("x", ms, resumed=True, expire_after=ms),
    "machine": lambda s, ms: s.events.state_machine("x", machine(ms), keep_final=ms, expire_after=ms),
    "dedup": lambda s, ms: s.events.dedup("x", by="n", within=ms),
    "debounce": lambda s, ms: s.events.debounce("x", ms, max_wait=ms),
    "throttle": lambda s, ms: s.events.throttle("x", ms, emit="both"),
    "rate limit": lambda s, ms: s.events.rate_limit("x", 1, per=ms, burst=2),
    "on change": lambda s, ms: s.events.on_change("x", by="kind", expire_after=ms),
    "lag": lambda s, ms: s.events.lag("x", expire_after=ms),
    "rank": lambda s, ms: s.events.rank("x", by="n", k=2, within=ms),
    "rank for ever": lambda s, ms: s.events.rank("x", by="n", k=2, expire_after=ms),
    "sequence": lambda s, ms: s.events.sequence_check("x", number="n", wait=ms, expire_after=ms),
    "ttl": lambda s, ms: s.events.process("x", hw.Expiring(hw.OnChange(by="kind"), hw.ttl(ms))),
    "ttl since read": lambda s, ms: s.events.process(
        "x", hw.Expiring(hw.OnChange(by="kind"), hw.ttl(ms, since="read"))
    ),
    "ttl since creation": lambda s, ms: s.events.process(
        "x", hw.Expiring(hw.OnChange(by="kind"), hw.ttl(ms, since="creation"))
    ),
    "operator": lambda s, ms: s.events.process("x", Again(ms)),
    "tumbling": lambda s, ms: windows(s, hw.tumbling(ms)),
    "tumbling early": lambda s, ms: windows(s, hw.tumbling(ms), early=max(1, ms // 2)),
    "tumbling late": lambda s, ms: windows(s, hw.tumbling(ms), late=s.late, late_time="at", allowed_lateness=ms),
    "sliding": lambda s, ms: windows(s, hw.sliding(ms, every=max(1, ms // 3))),
    "sliding late": lambda s, ms: windows(
        s, hw.sliding(ms, every=max(1, ms // 2)), late=s.late, late_time="at", allowed_lateness=ms
    ),
    "cumulative": lambda s, ms: windows(s, hw.cumulative(ms, step=ms)),
    "session": lambda s, ms: windows(s, hw.session(ms, max_length=ms)),
    "session late": lambda s, ms: windows(s, hw.session(ms), late=s.late, late_time="at", allowed_lateness=ms),
    "count window": lambda s, ms: windows(s, hw.count_window(3, timeout=ms)),
    "daily": lambda s, ms: windows(s, hw.daily("Pacific/Apia")),
    "weekly": lambda s, ms: windows(s, hw.weekly("Europe/Berlin")),
    "monthly": lambda s, ms: windows(s, hw.monthly("America/New_York")),
    "contents": lambda s, ms: s.events.window_apply(hw.tumbling(ms), lambda window: {"n": len(window.events)}),
    "interval join": lambda s, ms: s.events.interval_join("x", s.others, lower=-ms, upper=ms, how="full"),
    "interval join ahead": lambda s, ms: s.events.interval_join("x", s.others, lower=ms, upper=ms, how="full"),
    "interval join behind": lambda s, ms: s.events.interval_join("x", s.others, lower=-ms, upper=-ms, how="full"),
    "window join": lambda s, ms: s.events.window_join("x", s.others, hw.tumbling(ms), how="full"),
    "window join sliding": lambda s, ms: s.events.window_join("x", s.others, hw.sliding(ms, every=ms)),
    "window join by session": lambda s, ms: s.events.window_join("x", s.others, hw.session(ms), how="full"),
    "cogroup": lambda s, ms: s.events.cogroup("x", s.others, hw.monthly("UTC")),
    "asof join": lambda s, ms: s.events.asof_join("x", s.others, how="left", expire_after=ms),
    "pattern": lambda s, ms: s.events.match("x", hw.pattern("a", kind="a").followed_by("b", kind="b").within(ms)),
    "pattern of one kind": lambda s, ms: s.events.match(
        "x", hw.pattern("a", kind="a").one_or_more().followed_by("b", kind="b").within(ms)
    ),
    "pattern with gaps": lambda s, ms: s.events.match(
        "x", hw.pattern("a", kind="a").followed_by("b", kind="b").within(ms, since="previous")
    ),
    "pattern of an absence": lambda s, ms: s.events.match(
        "x", hw.pattern("a", kind="a").then_absent("b", kind="b", within=ms)
    ),
    **{
        f"aggregate {name}": lambda s, ms, make=make: s.events.aggregate(  # type: ignore[misc]
            "x", n=make(ms), emit="change", expire_after=ms
        )
        for name, make in AGGREGATES.items()
    },
    **{
        f"aggregate {name} at times": lambda s, ms, make=make: s.events.aggregate(  # type: ignore[misc]
            "x", n=make(ms), emit_every=ms, expire_after=ms
        )
        for name, make in AGGREGATES.items()
    },
    **{
        f"window of {name}": lambda s, ms, make=make: s.events.window(hw.sliding(ms, every=ms), n=make(ms))  # type: ignore[misc]
        for name, make in AGGREGATES.items()
    },
}

LENGTHS = [1, 3_600_000, LONGEST_MS]


def flow_of(declared: dict[str, Declare], length_ms: int) -> MakeFlow:
    """A flow with one operator of each kind, each with an output of its own."""

    def make_flow(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        flow = hw.Flow("range")
        events = flow.source("events", Step, input_of("events"), time="at")
        others = flow.source("others", Step, input_of("others"), time="at")
        for number, declare in enumerate(declared.values()):
            keys = [stream.key_by("key", name=f"{name}-{number}") for name, stream in _named(events, others)]
            made = declare(Streams(*map(_Renaming, keys, [number] * 3)), length_ms)
            made.trigger("told", output_of(f"out-{number}"), name=f"out-{number}")
        return flow

    return make_flow


def _named(events: Any, others: Any) -> list[tuple[str, Any]]:
    return [("events", events), ("others", others), ("late", events.late)]


class _Renaming:
    """A stream whose steps get a number, so that a flow can have several of a kind."""

    def __init__(self, stream: Any, number: int) -> None:
        self.stream = stream
        self.number = number

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            first = f"step-{self.number}"
            named = (first, *arguments[1:]) if arguments and arguments[0] == "x" else (first, *arguments)
            plain = [value.stream if isinstance(value, _Renaming) else value for value in named]
            options = {key: value.stream if isinstance(value, _Renaming) else value for key, value in options.items()}
            return getattr(self.stream, name)(*plain, **options)

        return step


def _near(time_ms: int) -> st.SearchStrategy[int]:
    """Times at and near one, on the side that is in the range."""
    sign = 1 if time_ms < LATEST_MS else -1
    near = st.sampled_from([0, 1, 2, 59_999, 3_600_000, 86_400_000, 40 * 86_400_000, LONGEST_MS, LONGEST_MS + 1])
    return near.map(lambda distance: time_ms + sign * distance)


times = st.one_of(_near(EARLIEST_MS), _near(LATEST_MS), st.sampled_from([EARLIEST_MS, LATEST_MS, -1, 0]))


@st.composite
def logs(draw: st.DrawFn, most: int = 8) -> Logs:
    """Logs that are mostly in order; what is not is late."""
    found: Logs = {}
    for source in ("events", "others"):
        drawn = draw(st.lists(st.tuples(st.sampled_from("kl"), times, st.sampled_from("abc")), max_size=most))
        rows: list[dict[str, Any]] = [
            {"key": key, "at": at, "kind": kind, "n": n} for n, (key, at, kind) in enumerate(drawn)
        ]
        if draw(st.integers(0, 3)):
            rows.sort(key=lambda row: row["at"])
        found[source] = {"p": rows}
    return found


ENDS: Logs = {
    name: {
        "p": [
            {"key": "k", "at": at, "kind": kind, "n": n}
            for n, (at, kind) in enumerate(
                (at, kind) for at in (EARLIEST_MS, EARLIEST_MS + 1, 0, LATEST_MS - 1, LATEST_MS) for kind in "abc"
            )
        ]
    }
    for name in ("events", "others")
}
"""All kinds of events at both ends, in order."""


def run_oracle(declare: Declare, given_logs: Logs, length_ms: int) -> None:
    oracle = Oracle(flow_of({"x": declare}, length_ms)(lambda name: hw.items([]), lambda name: hw.to_list([])))
    oracle.feed(given_logs)
    oracle.drain()
    for line in oracle.result().outputs["out-0"]:
        assert b"Z" in line


@pytest.mark.parametrize("kind", KINDS)
@example(length_ms=1, given_logs=ENDS)
@example(length_ms=3_600_000, given_logs=ENDS)
@example(length_ms=LONGEST_MS, given_logs=ENDS)
@settings(max_examples=4, deadline=None)
@given(length_ms=st.sampled_from(LENGTHS), given_logs=logs())
def test_each_kind_of_operator_works_at_both_ends(kind: str, length_ms: int, given_logs: Logs) -> None:
    run_oracle(KINDS[kind], given_logs, length_ms)


@pytest.mark.parametrize(("length_ms", "threads"), [(3_600_000, 1), (LONGEST_MS, 2)])
def test_the_engine_gives_there_what_the_oracle_gives(length_ms: int, threads: int) -> None:
    check(flow_of(KINDS, length_ms), ENDS, _in_one_go(threads))


@pytest.mark.soak
@settings(SLOW, max_examples=20)
@given(length_ms=st.sampled_from(LENGTHS), given_logs=logs(), where=conditions())
def test_the_engine_does_so_whatever_happens(length_ms: int, given_logs: Logs, where: Conditions) -> None:
    check(flow_of(KINDS, length_ms), given_logs, where)


def _in_one_go(threads: int) -> Conditions:
    return Conditions(
        batch=7,
        key_groups=2,
        epoch_ms=1_000,
        threads=(threads,),
        interruptions=(),
        waiting_bound=3,
        timer_window=2,
        cache_bytes=0,
        lead_records=50_000,
        slice_records=5,
    )


def test_a_timer_after_the_last_year_is_an_error_that_names_its_operator() -> None:
    class TooFar(hw.Operator[Step, hw.State, hw.Json]):
        def on_event(self, state: hw.State, event: Step, ctx: hw.Context[hw.Json]) -> None:
            ctx.timer("far", LAST_TIMER_MS + event.n)

        def on_timer(self, state: hw.State, timer: hw.Timer, ctx: hw.Context[hw.Json]) -> None:
            ctx.emit({"at": hw.format_time(timer.at)})

    def make_flow(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        flow = hw.Flow("far")
        events = flow.source("events", Step, input_of("events"), time="at")
        events.key_by("key").process("too-far", TooFar()).to("out", output_of("out"))
        return flow

    where = _in_one_go(1)
    allowed = {"key": "k", "at": LATEST_MS, "kind": "a", "n": 0}
    told = check(make_flow, {"events": {"p": [allowed]}}, where)
    assert told["out"] == [{"at": "9999-12-31T23:59:59.999Z"}]
    beyond: Logs = {"events": {"p": [{**allowed, "n": 1}]}}
    flow = make_flow(lambda name: hw.items([]), lambda name: hw.to_list([]))
    for run in (lambda: check(make_flow, beyond, where), lambda: _fed(Oracle(flow), beyond)):
        with pytest.raises(UserCodeError, match="'far' is set to 253402300800000, which is after the year 9999"):
            run()


def _fed(oracle: Oracle, given_logs: Logs) -> None:
    oracle.feed(given_logs)
    oracle.drain()


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@given(
    st.one_of(
        st.integers(-(2**70), 2**70),
        st.sampled_from([EARLIEST_MS, EARLIEST_MS - 1, LATEST_MS, LATEST_MS + 1]),
        st.datetimes(timezones=st.just(timezone.utc)).map(lambda at: (at - _EPOCH) // timedelta(milliseconds=1)),
    )
)
def test_a_time_at_the_door_is_in_the_years_1000_to_8999(time_ms: int) -> None:
    try:
        year: int | None = (_EPOCH + timedelta(milliseconds=time_ms)).year
    except OverflowError:
        year = None
    if year is not None and 1000 <= year <= 8999:
        assert parse_time(time_ms) == time_ms
        assert parse_time(format_time(time_ms)) == time_ms
    else:
        with pytest.raises(ValueError, match="is not in the years 1000 to 8999"):
            parse_time(time_ms)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1_767_225_600_000_000, "in microseconds it would be 2026-01-01T00:00:00.000Z: give milliseconds"),
        (1_767_225_600_123_456_789, "in nanoseconds it would be 2026-01-01T00:00:00.123Z: give milliseconds"),
        (1_767_225_600.25, "in seconds it would be 2026-01-01T00:00:00.250Z: give milliseconds"),
        ("9999-12-31T00:00:00Z", "'9999-12-31T00:00:00Z' is not in the years 1000 to 8999$"),
    ],
)
def test_a_time_in_another_unit_is_recognized(value: Any, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_time(value)


@pytest.mark.parametrize("too_long", ["109573d", LONGEST_MS + 1, timedelta.max, "9" * 400 + "w"])
def test_a_duration_is_at_most_300_years_long(too_long: Any) -> None:
    assert duration_ms(LONGEST_MS) == LONGEST_MS
    with pytest.raises(UsageError, match="longer than 300 years"):
        duration_ms(too_long)
    with pytest.raises(FlowError, match="longer than 300 years"):
        hw.Flow("f").source("s", Step, hw.items([]), time="at", out_of_order=too_long)


def test_the_kit_keeps_to_the_range() -> None:
    flow = hw.Flow("kit")
    flow.source("s", hw.Json, hw.items([]), time="at").to("out", hw.to_list([]))
    test = FlowTest(flow)
    test.send("s", {"at": LATEST_MS + 1})
    assert [letter.reason for letter in test.dead_letters] == ["time: 221845392000000 is not in the years 1000 to 8999"]
    test.send("s", {"at": LATEST_MS - 1})
    for beyond in ({"to": LATEST_MS + 1}, {"by": "2ms"}):
        with pytest.raises(UsageError, match="is not in the years 1000 to 8999"):
            test.advance(**beyond)
    test.advance(to=LATEST_MS)
    assert test.triggers("out") == [{"at": LATEST_MS - 1}]
