"""The Hypothesis strategies: bounds hold, everything interesting occurs, expected carts are right, examples shrink."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from headway.testing.strategies import KEYS, LogEvent, ShopStream, event_logs, shop_streams

# How long an example takes says how busy the machine is, and nothing about the strategies.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Whether something occurs at all needs no shrinking, which takes most of the time.
SEARCH = settings(CALM, max_examples=10_000, phases=[Phase.generate], database=None)

Event = dict[str, Any]
Logs = dict[str, list[LogEvent]]


def behind_ms(times_ms: Iterable[int]) -> list[int]:
    """For each time, how far it is behind the newest one before it."""
    gaps, newest_ms = [], None
    for time_ms in times_ms:
        gaps.append(0 if newest_ms is None else newest_ms - time_ms)
        newest_ms = time_ms if newest_ms is None else max(newest_ms, time_ms)
    return gaps


def recomputed(stream: ShopStream) -> list[tuple[int, str, dict[str, int], float]]:
    """The definition once more: walk through each user's events, with one timer."""
    found = []
    by_user: dict[str, list[Event]] = defaultdict(list)
    for events in stream.partitions.values():
        gaps = behind_ms(event["at"] for event in events)
        for event, gap in zip(events, gaps, strict=True):
            if gap <= stream.out_of_order_ms:
                by_user[event["user"]].append(event)
    for user, events in by_user.items():
        cart: Counter[str] = Counter()
        prices: dict[str, float] = {}
        due_ms = None
        closing = {"kind": "end", "at": 10**9}
        for event in [*sorted(events, key=lambda event: event["at"]), closing]:
            if due_ms is not None and due_ms < event["at"]:
                cents = sum(round(100 * prices[sku]) * count for sku, count in cart.items())
                found.append((due_ms, user, dict(cart), cents / 100))
                cart.clear()
                due_ms = None
            if event["kind"] == "add":
                cart[event["sku"]] += 1
                prices[event["sku"]] = event["price"]
                due_ms = event["at"] + stream.after_ms
            elif event["kind"] == "remove" and cart[event["sku"]]:
                cart[event["sku"]] -= 1
                due_ms = event["at"] + stream.after_ms
            elif event["kind"] == "checkout":
                cart.clear()
            cart += Counter()
            due_ms = due_ms if cart else None
    return sorted(found, key=lambda cart: cart[:2])


@settings(CALM, max_examples=300)
@given(st.data(), st.booleans(), st.sampled_from([None, 0, 3, 1_000]))
def test_expected_carts_are_right(data: st.DataObject, stray_removes: bool, out_of_order_ms: int | None) -> None:
    stream = data.draw(shop_streams(stray_removes=stray_removes, out_of_order_ms=out_of_order_ms))
    carts = [
        (cart["due_ms"], cart["subject"], cart["data"]["items"], cart["data"]["total"]) for cart in stream.expected
    ]
    assert carts == recomputed(stream)


@settings(CALM, max_examples=200)
@given(shop_streams())
def test_shop_stream_is_consistent(stream: ShopStream) -> None:
    events = [event for events in stream.partitions.values() for event in events]
    gaps = [gap for events in stream.partitions.values() for gap in behind_ms(event["at"] for event in events)]
    assert [event for event, gap in zip(events, gaps, strict=True) if gap > stream.out_of_order_ms] == stream.late
    assert [event["at"] for event in stream.on_time] == sorted(
        event["at"] for event, gap in zip(events, gaps, strict=True) if gap <= stream.out_of_order_ms
    )
    for user in {event["user"] for event in events}:
        assert sum(any(event["user"] == user for event in log) for log in stream.partitions.values()) == 1


@settings(CALM)
@given(shop_streams(late=False))
def test_nothing_is_late_unless_asked_for(stream: ShopStream) -> None:
    assert stream.late == []


@settings(CALM)
@given(shop_streams())
def test_without_stray_removes_each_remove_finds_its_article(stream: ShopStream) -> None:
    carts: dict[str, Counter[str]] = defaultdict(Counter)
    due_ms: dict[str, int] = {}
    for event in stream.on_time:
        user, kind = event["user"], event["kind"]
        if due_ms.get(user, event["at"]) < event["at"] or kind == "checkout":
            carts[user].clear()
        if kind in ("add", "remove"):
            assert kind == "add" or carts[user][event["sku"]] > 0
            carts[user][event["sku"]] += 1 if kind == "add" else -1
            due_ms[user] = event["at"] + stream.after_ms


@pytest.mark.parametrize(
    "condition",
    [
        lambda stream: len(stream.late) > 1 and len(stream.expected) > 1,
        lambda stream: len({cart["subject"] for cart in stream.expected}) > 1,
        lambda stream: len({cart["due_ms"] for cart in stream.expected}) < len(stream.expected),
        lambda stream: any(sum(cart["data"]["items"].values()) > 2 for cart in stream.expected),
        lambda stream: any(event["at"] == cart["due_ms"] for cart in stream.expected for event in stream.on_time),
        lambda stream: any(event["kind"] == "remove" for event in stream.on_time),
        lambda stream: sum(map(bool, stream.partitions.values())) > 1,
        lambda stream: any(1 in behind_ms(event["at"] for event in log) for log in stream.partitions.values()),
    ],
    ids=["late", "users", "ties", "big", "border", "remove", "partitions", "disorder"],
)
def test_everything_interesting_occurs(condition: Callable[[ShopStream], bool]) -> None:
    find(shop_streams(), condition, settings=SEARCH)


def test_shop_streams_shrink_to_the_point() -> None:
    calm = settings(CALM, database=None)
    stream = find(shop_streams(), lambda stream: len(stream.expected) == 2, settings=calm, random=Random(0))
    assert sum(map(len, stream.partitions.values())) == 2
    assert stream.out_of_order_ms == 0


@settings(CALM, max_examples=200)
@given(st.data(), st.integers(0, 20), st.integers(1, 4), st.integers(0, 30))
def test_event_logs_stay_within_their_bounds(
    data: st.DataObject, out_of_order_ms: int, partitions: int, max_size: int
) -> None:
    logs = data.draw(event_logs(out_of_order_ms=out_of_order_ms, partitions=partitions, max_size=max_size))
    assert list(logs) == [f"p{number}" for number in range(len(logs))]
    assert 1 <= len(logs) <= partitions
    assert sum(map(len, logs.values())) <= max_size
    for log in logs.values():
        assert max(behind_ms(event.time for event in log), default=0) <= out_of_order_ms
    payloads = [event.payload for log in logs.values() for event in log]
    assert len(set(payloads)) == len(payloads)


@pytest.mark.parametrize(
    "condition",
    [
        lambda logs: any(10 in behind_ms(event.time for event in log) for log in logs.values()),
        lambda logs: any(len({event.time for event in log}) < len(log) - 1 for log in logs.values()),
        lambda logs: {"", "a", "ab"} <= {event.key for log in logs.values() for event in log},
        lambda logs: len(logs) > 1 and len({event.key for log in logs.values() for event in log[:1]}) == 1,
        lambda logs: len(logs) == 3 and not logs["p1"] and bool(logs["p2"]),
    ],
    ids=["at the bound", "equal times", "keys", "key in partitions", "empty partition"],
)
def test_event_logs_hold_everything_interesting(condition: Callable[[Logs], bool]) -> None:
    find(event_logs(), condition, settings=SEARCH)


def test_event_logs_may_be_late_when_asked_for() -> None:
    find(
        event_logs(late=True, out_of_order_ms=3),
        lambda logs: any(max(behind_ms(event.time for event in log), default=0) > 3 for log in logs.values()),
        settings=SEARCH,
    )


def test_keys_are_distinct_and_can_be_written() -> None:
    assert len({key.encode() for key in KEYS}) == len(KEYS)
