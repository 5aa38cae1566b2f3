"""Hypothesis strategies: logs in several partitions, out of order within a bound; shop streams with results.

All are built from drawn integers: a failing example shrinks to few events, short gaps and no disorder.
Needs Hypothesis (`pip install "headway[testing]"`), which nothing else in Headway imports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from headway.basics.times import MIN_TIME_MS
from headway.generate.carts import AbandonedCart, Carts

__all__ = ["KEYS", "LogEvent", "ShopStream", "event_logs", "shop_streams"]

KEYS: Final = (
    "a",
    "ab",
    "abc",
    "",
    "b",
    "\x00",
    "a\x00",
    "a\x00b",
    "é",
    "e\u0301",
    "日本",
    "\U0001f6d2",
    "\uffff",
)
"""Keys that are easily mistaken for one another: prefixes, the empty one, zero bytes, composed letters."""

SHOP_PRICES_CENTS: Final = {"s1": 1, "s2": 10, "s3": 1999, "s4": 29, "s5": 57}
"""Articles of the small shop; sums of such prices come out wrong in floating point now and then."""

_KINDS: Final = ("add", "view", "remove", "checkout")


class LogEvent(NamedTuple):
    """One event of a generic log."""

    key: str
    time: int
    """Event time in milliseconds, from 0."""
    payload: int
    """A number that no other event of the logs has."""


class _Delivered(NamedTuple):
    """An event and what decides on its place in its log."""

    delivery_ms: int
    serial: int
    at_ms: int
    content: Any


def _deliver(events: Sequence[_Delivered]) -> list[tuple[int, Any]]:
    """Events in the order of their delivery, as (time, content).

    An event that is delivered at most `out_of_order_ms` after its time is at most that much older than any
    event before it, which was delivered no later. Of those delivered together the newest comes first: so the
    bound is reached.
    """
    ordered = sorted(events, key=lambda event: (event.delivery_ms, -event.at_ms, event.serial))
    return [(event.at_ms, event.content) for event in ordered]


def _are_late(times_ms: Sequence[int], out_of_order_ms: int) -> list[bool]:
    """For each event of a partition, whether it is behind the watermark that those before it have made."""
    late = []
    watermark_ms = MIN_TIME_MS
    for time_ms in times_ms:
        late.append(time_ms <= watermark_ms)
        watermark_ms = max(watermark_ms, time_ms - out_of_order_ms - 1)
    return late


def _often_extreme(most: int) -> st.SearchStrategy[int]:
    """Numbers to `most`; half of them are 0 or `most`, so that bounds are met."""
    return st.one_of(st.sampled_from((0, most)), st.integers(0, most))


def _delays(out_of_order_ms: int, *, late: bool) -> st.SearchStrategy[int]:
    within = _often_extreme(out_of_order_ms)
    return st.one_of(within, st.integers(0, 4 * out_of_order_ms + 50)) if late else within


@st.composite
def event_logs(
    draw: st.DrawFn,
    *,
    keys: Sequence[str] = KEYS,
    partitions: int = 3,
    max_size: int = 40,
    out_of_order_ms: int = 10,
    max_gap_ms: int = 5,
    late: bool = False,
) -> dict[str, list[LogEvent]]:
    """Logs by partition name (`p0`, `p1` ...): up to `partitions` of them, `max_size` events together.

    No event is more than `out_of_order_ms` older than one before it in its partition, unless `late` is given:
    then some may be. Equal times are common; a key may be in several partitions; a partition may be empty.

    >>> from hypothesis import find
    >>> find(event_logs(keys=["a", "b"]), lambda logs: sum(map(len, logs.values())) == 2)
    {'p0': [LogEvent(key='a', time=0, payload=0), LogEvent(key='a', time=0, payload=1)]}
    """
    count = draw(st.integers(1, partitions))
    event = st.tuples(
        st.integers(0, count - 1),
        st.sampled_from(keys),
        _often_extreme(max_gap_ms),
        _delays(out_of_order_ms, late=late),
    )
    logs: list[list[_Delivered]] = [[] for _ in range(count)]
    at_ms = 0
    for serial, (partition, key, gap_ms, delay_ms) in enumerate(draw(st.lists(event, max_size=max_size))):
        at_ms += gap_ms
        logs[partition].append(_Delivered(at_ms + delay_ms, serial, at_ms, LogEvent(key, at_ms, serial)))
    return {f"p{number}": [content for _, content in _deliver(log)] for number, log in enumerate(logs)}


@dataclass(frozen=True)
class ShopStream:
    """A small shop stream and what a correct flow makes of it."""

    partitions: dict[str, list[dict[str, Any]]]
    """The events of each partition in the order of its log; those of one user are in one partition."""
    out_of_order_ms: int
    """The bound that says which events are late."""
    after_ms: int
    """The silence that makes a cart abandoned."""
    on_time: list[dict[str, Any]]
    """The events that count, in the order of time, partition and position."""
    late: list[dict[str, Any]]
    """The events that come too late, partition by partition, in the order of the log."""
    expected: list[dict[str, Any]]
    """The abandoned carts as in `expected.jsonl`, by time and user, if nothing more ever happens."""


@st.composite
def shop_streams(
    draw: st.DrawFn,
    *,
    users: Sequence[str] = ("ann", "bob", "an", "", "zoë"),
    partitions: int = 3,
    max_size: int = 40,
    out_of_order_ms: int | None = None,
    after_ms: int = 1_000,
    late: bool = True,
    stray_removes: bool = False,
) -> ShopStream:
    """Shop streams with up to `max_size` lines, repeated ones included, and their abandoned carts.

    Gaps between events are often just `after_ms`, one more or one less, so that events meet timers. The bound
    `out_of_order_ms` is drawn from 0 to `2 * after_ms` when it is None. With `late` some events stand behind
    it. Removes of what is not in the cart come only with `stray_removes`: `headway.generate.carts` says what
    they mean. Unlike in generated files, two events of a user may have the same time: then their positions
    decide.

    >>> from hypothesis import find
    >>> stream = find(shop_streams(late=False), lambda stream: stream.expected != [])
    >>> stream.partitions
    {'shop-0000': [{'user': 'ann', 'kind': 'add', 'at': 0, 'sku': 's1', 'price': 0.01}]}
    >>> stream.expected[0]["time"], stream.expected[0]["data"]
    ('1970-01-01T00:00:01.000Z', {'items': {'s1': 1}, 'total': 0.01})
    """
    count = draw(st.integers(1, partitions))
    bound_ms = draw(st.integers(0, 2 * after_ms)) if out_of_order_ms is None else out_of_order_ms
    homes = {user: draw(st.integers(0, count - 1)) for user in users}
    logs: list[list[_Delivered]] = [[] for _ in range(count)]
    at_ms = 0
    for serial, (user, kind, sku, gap_ms, delays_ms) in enumerate(
        draw(st.lists(_shop_actions(users, after_ms, bound_ms, late=late), max_size=max_size))
    ):
        at_ms += gap_ms
        event = _shop_event(user, kind, at_ms, sku)
        for delay_ms in delays_ms:
            logs[homes[user]].append(_Delivered(at_ms + delay_ms, serial, at_ms, event))
    named = {f"shop-{number:04d}": [dict(event) for _, event in _deliver(log)] for number, log in enumerate(logs)}
    return _judge(named, bound_ms, after_ms, stray_removes=stray_removes)


def _shop_actions(
    users: Sequence[str], after_ms: int, out_of_order_ms: int, *, late: bool
) -> st.SearchStrategy[tuple[str, str, str, int, list[int]]]:
    borders_ms = sorted({0, 1, max(after_ms - 1, 0), after_ms, after_ms + 1})
    return st.tuples(
        st.sampled_from(users),
        st.sampled_from(_KINDS),
        st.sampled_from(sorted(SHOP_PRICES_CENTS)),
        st.one_of(st.sampled_from(borders_ms), st.integers(0, 2 * after_ms)),
        st.lists(_delays(out_of_order_ms, late=late), min_size=1, max_size=2),
    )


def _shop_event(user: str, kind: str, at_ms: int, sku: str) -> dict[str, Any]:
    event: dict[str, Any] = {"user": user, "kind": kind, "at": at_ms}
    if kind != "checkout":
        event |= {"sku": sku, "price": SHOP_PRICES_CENTS[sku] / 100}
    return event


def _judge(
    partitions: dict[str, list[dict[str, Any]]], out_of_order_ms: int, after_ms: int, *, stray_removes: bool
) -> ShopStream:
    on_time: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []
    for events in partitions.values():
        for event, is_late in zip(events, _are_late([event["at"] for event in events], out_of_order_ms), strict=True):
            (late if is_late else on_time).append(event)
    on_time.sort(key=lambda event: event["at"])
    carts = Carts(after_ms=after_ms, price_cents=SHOP_PRICES_CENTS)
    expected: list[AbandonedCart] = []
    for event in on_time:
        expected += carts.abandoned_before(event["at"])
        sku = event.get("sku", "")
        if event["kind"] == "remove" and not stray_removes and sku not in carts.skus(event["user"]):
            # A view of the same article stands in its place: the times, and so what is late, stay the same.
            event["kind"] = "view"
        carts.apply(event["user"], event["kind"], event["at"], sku)
    expected += carts.close()
    return ShopStream(
        partitions=partitions,
        out_of_order_ms=out_of_order_ms,
        after_ms=after_ms,
        on_time=on_time,
        late=late,
        expected=[cart.as_record() for cart in expected],
    )
