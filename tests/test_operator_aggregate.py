"""Running aggregates: the engine against the oracle, and the oracle against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, Logs, check, oracle_run, values

import headway as hw
from headway.basics.times import parse_time
from headway.connectors.base import Input, Output
from headway.errors import FlowError
from headway.testing import FlowTest

EXPIRE_MS = 12

EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.integers(0, 40),
            "key": st.sampled_from("ab"),
            "kind": st.sampled_from(["buy", "view"]),
            "price": st.one_of(st.none(), st.sampled_from([0.1, 0.2, 1e16, -1e16, 1.0])),
        }
    ),
    max_size=25,
)


class Purchase(hw.Event):
    at: int
    key: str
    kind: str = "buy"
    price: Optional[float] = None


MakeFlow = Callable[[Callable[[str], Input], Callable[[str], Output]], hw.Flow]

BUYS = hw.where(kind="buy")


def flow(event_type: Any = Purchase, **options: Any) -> MakeFlow:
    def make(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        declared = hw.Flow("spending")
        events = declared.source("events", event_type, input_of("events"), time="at", out_of_order=40).key_by("key")
        spend = events.aggregate(
            "spend",
            events=hw.count(),
            buys=hw.count(kind="buy"),
            revenue=hw.sum("price", where=BUYS),
            dearest=hw.max("price"),
            **options,
        )
        spend.map(lambda result: result).trigger("spend.changed", output_of("out"), name="out")
        return declared

    return make


def everything(**options: Any) -> MakeFlow:
    def make(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        declared = hw.Flow("everything")
        events = declared.source("events", Purchase, input_of("events"), time="at", out_of_order=40).key_by("key")
        events.aggregate(
            "all",
            mean=hw.mean("price"),
            spread=hw.stddev("price"),
            last=hw.last("price"),
            first=hw.first(),
            kinds=hw.distinct("kind"),
            about=hw.approx_distinct("at"),
            spans=hw.quantiles("at", [0.5, 1]),
            best=hw.top_k("kind", 2, by="price"),
            often=hw.heavy_hitters("kind", 2),
            bins=hw.histogram("price", [0, 1]),
            heat=hw.decayed("price", 5),
            pace=hw.rate(half_life=5),
            lately=hw.sum_over("price", 6, resolution=2),
            recent=hw.count_over(5),
            some=hw.collect("price", limit=3),
            when=hw.mean("at"),
            times=hw.sum_over("at", 5),
            dearest=hw.top_k("price", 1, by="at"),
            **options,
        ).to("out", output_of("out"))
        return declared

    return make


def expected(events: list[dict[str, Any]], emit: str, every_ms: int = 0) -> list[tuple[Any, ...]]:
    """What is emitted, from plain lists: time, key, events, buys, revenue in integers, dearest."""
    found = []
    for key in "ab":
        mine = sorted((event for event in events if event["key"] == key), key=lambda event: event["at"])
        life: list[dict[str, Any]] = []
        emitted: Any = None
        pending_ms: Optional[int] = None
        for event in [*mine, None]:
            at_ms = event["at"] if event else 10**9
            expires_ms = life[-1]["at"] + EXPIRE_MS if life else 10**9
            if pending_ms is not None and min(pending_ms, expires_ms) < at_ms:
                found.append((min(pending_ms, expires_ms), key, *summary(life)))
                pending_ms = None
            if expires_ms < at_ms:
                life, emitted = [], None
            if event is None:
                break
            life.append(event)
            if emit == "each" or (emit == "change" and summary(life) != emitted):
                found.append((at_ms, key, *summary(life)))
                emitted = summary(life)
            if emit == "every" and pending_ms is None:
                pending_ms = at_ms - at_ms % every_ms + every_ms - 1
    return sorted(found, key=lambda line: line[:3])


def summary(events: list[dict[str, Any]]) -> tuple[Any, ...]:
    """With the exact sum of prices in tenths: every price is a multiple of it, nearly."""
    buys = [event for event in events if event["kind"] == "buy"]
    prices = [event["price"] for event in events if event["price"] is not None]
    tenths = [round(event["price"] * 10) for event in buys if event["price"] is not None]
    return len(events), len(buys), sum(tenths) / 10, max(prices, default=None)


def lines(written: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    found = []
    for line in written:
        data = line["data"]
        at_ms = parse_time(line["time"])
        found.append((at_ms, line["subject"], data["events"], data["buys"], data["revenue"], data["dearest"]))
    return sorted(found, key=lambda line: line[:3])


MODES = pytest.mark.parametrize("mode", ["each", "change", "every"])


def options_of(mode: str) -> dict[str, Any]:
    return {"emit_every": 10} if mode == "every" else {"emit": mode}


@MODES
@settings(max_examples=60, deadline=None)
@given(events=EVENTS)
def test_what_is_emitted_is_what_plain_lists_give(mode: str, events: list[dict[str, Any]]) -> None:
    run = oracle_run(flow(expire_after=EXPIRE_MS, **options_of(mode)), {"events": {"0": events}})
    found, wanted = lines(values(run, "out")), expected(events, mode, 10)
    assert [line[:4] + line[5:] for line in found] == [line[:4] + line[5:] for line in wanted]
    assert [line[4] for line in found] == pytest.approx([line[4] for line in wanted])


@settings(SLOW, max_examples=15)
@given(mode=st.sampled_from(["each", "change", "every"]), events=EVENTS, where=conditions())
def test_the_engine_gives_what_the_oracle_gives(mode: str, events: list[dict[str, Any]], where: Conditions) -> None:
    logs: Logs = {"events": {"0": events[::2], "1": events[1::2]}}
    check(flow(expire_after=EXPIRE_MS, **options_of(mode)), logs, where)


@settings(SLOW, max_examples=8)
@given(events=EVENTS, where=conditions())
def test_untyped_events_and_rows_that_stay(events: list[dict[str, Any]], where: Conditions) -> None:
    check(flow(hw.Json), {"events": {"0": events}}, where, drain=False)


@settings(SLOW, max_examples=15)
@given(events=EVENTS, where=conditions(), expire=st.booleans())
def test_every_aggregate_in_the_engine(events: list[dict[str, Any]], where: Conditions, expire: bool) -> None:
    """Rows stay decoded in the engine, and are stored after each event in the oracle: it must make no difference."""
    check(everything(expire_after=EXPIRE_MS if expire else None), {"events": {"0": events}}, where, drain=expire)


@settings(max_examples=50, deadline=None)
@given(events=EVENTS, data=st.data())
def test_disorder_within_the_bound_changes_nothing(events: list[dict[str, Any]], data: st.DataObject) -> None:
    events = [dict(event, at=number) for number, event in enumerate(events)]
    shuffled = data.draw(st.permutations(events))
    make = everything(expire_after=EXPIRE_MS)
    in_order, out_of_order = (oracle_run(make, {"events": {"0": log}}) for log in (events, shuffled))
    assert in_order.outputs == out_of_order.outputs


def shop(**options: Any) -> FlowTest:
    declared = hw.Flow("shop")
    events = declared.source("shop", Purchase, hw.items([]), time="at").key_by("key")
    spend = events.aggregate("spend", orders=hw.count(kind="buy"), revenue=hw.sum("price"), **options)
    spend.to("out", hw.to_list([]))
    return FlowTest(declared)


def test_the_state_is_readable_and_named_as_the_aggregates() -> None:
    test = shop()
    test.send("shop", Purchase(at=1, key="ann", price=0.1))
    test.send("shop", Purchase(at=2, key="ann", price=0.2))
    test.advance(to=3)
    state = repr(test.state("spend", "ann"))
    assert state == "SpendState(orders=2, revenue=[0.30000000000000004, -2.7755575615628914e-17])"
    assert test.triggers("out") == [
        {"key": "ann", "orders": 1, "revenue": 0.1},
        {"key": "ann", "orders": 2, "revenue": 0.1 + 0.2},
    ]


def test_only_changes_are_emitted() -> None:
    test = shop(emit="change")
    for at, kind in enumerate(["buy", "view", "view", "buy"]):
        test.send("shop", Purchase(at=at, key="ann", kind=kind))
    test.advance(to=9)
    assert test.triggers() == [{"key": "ann", "orders": 1, "revenue": 0.0}, {"key": "ann", "orders": 2, "revenue": 0.0}]


def test_a_result_that_fades_is_a_change_when_the_next_event_comes() -> None:
    declared = hw.Flow("shop")
    events = declared.source("shop", Purchase, hw.items([]), time="at").key_by("key")
    events.aggregate("lately", buys=hw.count_over(10, where=BUYS), emit="change").to("out", hw.to_list([]))
    test = FlowTest(declared)
    for at, kind in ((0, "buy"), (5, "view"), (20, "view"), (30, "view")):
        test.send("shop", Purchase(at=at, key="ann", kind=kind))
    test.advance(to=31)
    assert test.triggers() == [{"key": "ann", "buys": 1}, {"key": "ann", "buys": 0}]


def test_nothing_is_emitted_when_only_the_state_is_wanted() -> None:
    test = shop(emit="never")
    test.send("shop", Purchase(at=1, key="ann"))
    test.drain()
    assert test.triggers() == []
    assert test.keys("spend") == ["ann"]


def test_a_period_in_which_nothing_was_added_is_silent() -> None:
    declared = hw.Flow("shop")
    events = declared.source("shop", Purchase, hw.items([]), time="at").key_by("key")
    events.aggregate("spend", orders=hw.count(kind="buy"), emit_every="1s").to("out", hw.to_list([]))
    test = FlowTest(declared)
    for at, kind in ((100, "buy"), (900, "buy"), (1500, "view"), (2000, "buy"), (2999, "buy")):
        test.send("shop", Purchase(at=at, key="ann", kind=kind))
    test.advance(to=5000)
    assert test.triggers() == [{"key": "ann", "orders": 2}, {"key": "ann", "orders": 4}]


def test_a_key_is_forgotten_when_its_time_is_over() -> None:
    test = shop(expire_after="1m")
    test.send("shop", Purchase(at=0, key="ann"))
    test.send("shop", Purchase(at=30_000, key="ann"))
    test.advance(to=89_999)
    assert test.keys("spend") == ["ann"]
    test.advance(to=90_000)
    assert test.keys("spend") == []
    test.send("shop", Purchase(at=90_001, key="ann"))
    test.advance(to=90_002)
    assert [line["orders"] for line in test.triggers()] == [1, 2, 1]


def test_what_waits_for_its_period_is_emitted_before_the_key_is_forgotten() -> None:
    test = shop(emit_every="1h", expire_after="1m")
    test.send("shop", Purchase(at=0, key="ann"))
    test.advance(to=60_000)
    assert test.triggers() == [{"key": "ann", "orders": 1, "revenue": 0.0}]
    assert test.keys("spend") == []


def test_results_are_typed_events() -> None:
    declared = hw.Flow("shop")
    events = declared.source("shop", Purchase, hw.items([]), time="at").key_by("key")
    spend = events.aggregate("spend", orders=hw.count(), last=hw.last())
    assert issubclass(spend.type, hw.Event)
    assert spend.type.__name__ == "Spend"
    assert spend.type.__annotations__ == {"orders": int, "last": Optional[Purchase]}
    kinds: list[Any] = []
    spend.map(lambda result: result.last, into=Purchase).key_by("kind").to("out", hw.to_list(kinds))
    test = FlowTest(declared)
    test.send("shop", Purchase(at=1, key="ann"))
    test.advance(to=2)
    assert test.triggers("out") == [{"at": 1, "key": "ann", "kind": "buy", "price": None}]


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({}, "at least one aggregate is needed"),
    ({"emit": "always", "n": hw.count()}, 'emit=\'always\' must be "each", "change" or "never"'),
    ({"emit": "each", "emit_every": "1s", "n": hw.count()}, "exclude each other"),
    ({"emit_every": 0, "n": hw.count()}, "emit_every 0 is no time at all"),
    ({"expire_after": "soon", "n": hw.count()}, "expire_after 'soon' is not a length of time"),
    ({"n": 5}, "n=5 is not an aggregate"),
    ({"key": hw.count()}, "the name 'key' is taken"),
    ({"n": len}, "is not an aggregate: use one such as hw.count()"),
    ({"emit": "change", "emitted": hw.count()}, "the name 'emitted' is taken"),
    ({"n": hw.sum("prize")}, r"sum\('prize'\): Purchase has no field 'prize', its fields are at, key, kind, price"),
    ({"n": hw.count(kid="buy")}, "Purchase has no field 'kid'"),
    ({"n": hw.sum("kind")}, r"sum\('kind'\) needs numbers, but 'kind' is of type str"),
    ({"n": hw.mean(3)}, r"mean\(3\) needs the name of a field or a function"),  # type: ignore[arg-type]
    ({"n": hw.max("price", where="kind")}, "a condition must be a function"),  # type: ignore[arg-type]
    ({"n": hw.quantiles("price", [2])}, r"\[2\] must be a list of numbers from 0 to 1"),
    ({"n": hw.quantiles("price", [0.5], error=0)}, "error=0 must be from"),
    ({"n": hw.approx_distinct("key", error=2)}, "error=2 must be from"),
    ({"n": hw.top_k("price", 0)}, "k=0 must be an integer of at least 1"),
    ({"n": hw.top_k(None, 2)}, "needs by="),
    ({"n": hw.heavy_hitters("key", 5, capacity=4)}, "capacity=4 counters cannot hold k=5"),
    ({"n": hw.histogram("price", [3, 2])}, r"bounds=\[3, 2\] must be numbers in ascending order"),
    ({"n": hw.decayed("price", "x")}, "half_life 'x' is not a length of time"),
    ({"n": hw.sum_over("price", "1h", resolution="2h")}, "resolution '2h' is longer"),
    ({"n": hw.collect(limit=-1)}, "limit=-1 must be an integer"),
    ({"n": hw.aggregate(list, None, None)}, "add=None must be a function"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistakes_are_shown_at_their_line(options: dict[str, Any], message: str) -> None:
    declared = hw.Flow("shop")
    events = declared.source("shop", Purchase, hw.items([]), time="at").key_by("key")
    with pytest.raises(FlowError, match=message) as raised:
        events.aggregate("spend", **options)
    assert str(raised.value).startswith("tests/test_operator_aggregate.py:")


def test_a_rate_needs_one_of_two_options() -> None:
    with pytest.raises(FlowError, match="needs one of the two"):
        hw.rate()
    with pytest.raises(FlowError, match="only a window has a resolution"):
        hw.rate(half_life="1m", resolution="1s")
