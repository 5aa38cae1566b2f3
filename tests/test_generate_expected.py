"""The expected result, against a second computation from the written files by the definition, word for word."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.generate.carts import AbandonedCart, Carts
from headway.generate.shop import Report, ShopOptions, generate_shop

Event = dict[str, Any]


def well_formed(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    fits = isinstance(event, dict) and isinstance(event.get("at"), int) and isinstance(event.get("user"), str)
    return event if fits else None


def on_time(lines: Iterable[bytes], disorder_ms: int) -> list[Event]:
    """The events of one partition that count."""
    events = []
    newest_ms = None
    for line in lines:
        event = well_formed(line)
        if event is None:
            continue
        if newest_ms is None or event["at"] >= newest_ms - disorder_ms:
            events.append(event)
        newest_ms = event["at"] if newest_ms is None else max(newest_ms, event["at"])
    return events


def written_events(report: Report, disorder_ms: int) -> list[Event]:
    """The events that count, in the order of time, partition and position."""
    placed = []
    for partition, path in enumerate(report.files):
        for position, event in enumerate(on_time(path.read_bytes().splitlines(), disorder_ms)):
            placed.append((event["at"], partition, position, event))
    return [event for _, _, _, event in sorted(placed, key=lambda place: place[:3])]


def abandoned_carts(events: list[Event], after_ms: int) -> list[Event]:
    """Whenever a cart changes and is not empty afterwards: is it left alone long enough?"""
    by_user = defaultdict(list)
    for event in events:
        if event["kind"] != "view":
            by_user[event["user"]].append(event)
    found = []
    for user, changes in by_user.items():
        for start in silences(changes, after_ms):
            pieces = contents(changes[: start + 1], after_ms)
            if pieces:
                found.append(abandoned(user, pieces, changes[start]["at"] + after_ms))
    return sorted(found, key=lambda cart: (cart["due_ms"], cart["subject"]))


def silences(changes: list[Event], after_ms: int) -> list[int]:
    """The changes after which nothing comes up to and at the due instant."""
    following_ms = [change["at"] for change in changes[1:]] + [float("inf")]
    return [n for n, change in enumerate(changes) if following_ms[n] > change["at"] + after_ms]


def contents(changes: list[Event], after_ms: int) -> list[Event]:
    """The adds whose pieces are in the cart after the last of the changes."""
    beginnings = [0] + [n + 1 for n in silences(changes, after_ms) if n + 1 < len(changes)]
    pieces: list[Event] = []
    for change in changes[beginnings[-1] :]:
        if change["kind"] == "checkout":
            pieces = []
        elif change["kind"] == "add":
            pieces.append(change)
        else:
            position = next((n for n, piece in enumerate(pieces) if piece["sku"] == change["sku"]), None)
            if position is not None:
                del pieces[position]
    return pieces


def abandoned(user: str, pieces: list[Event], due_ms: int) -> Event:
    skus = [piece["sku"] for piece in pieces]
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=due_ms)
    return {
        "subject": user,
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "items": {sku: skus.count(sku) for sku in skus},
            "total": sum(round(piece["price"] * 100) for piece in pieces) / 100,
        },
        "due_ms": due_ms,
    }


def expected_lines(report: Report) -> list[Event]:
    return [json.loads(line) for line in (report.directory / "expected.jsonl").read_text().splitlines()]


def check(options: ShopOptions, directory: Path) -> tuple[list[Event], list[Event]]:
    """Generate, compare, and return the events that count and the abandoned carts."""
    report = generate_shop(options, directory)
    events = written_events(report, options.disorder_ms)
    found = abandoned_carts(events, options.after_ms)
    assert expected_lines(report) == found
    assert report.abandoned == len(found)
    assert len(events) == report.lines - report.late - report.corrupt
    return events, found


@pytest.mark.parametrize(
    "options",
    [
        ShopOptions(events=30_000),
        ShopOptions(events=30_000, late=0.05, duplicates=0.1, corrupt=0.05, users=300),
        ShopOptions(events=20_000, rate=1, users=500, skew=1.0, comebacks=0.5, seed=3),
        ShopOptions(events=20_000, rate=5, after_ms=20_000, disorder_ms=60_000, late=0.1, hot=0.2, seed=4),
        ShopOptions(events=20_000, rate=100, after_ms=1, disorder_ms=0, late=0.3, duplicates=0.5, users=20),
    ],
    ids=["plain", "rough", "skewed", "short", "instant"],
)
def test_expected_is_what_the_files_say(tmp_path: Path, options: ShopOptions) -> None:
    _, found = check(options, tmp_path)
    assert len(found) > 200


def test_borders_occur(tmp_path: Path) -> None:
    events, found = check(ShopOptions(events=20_000, comebacks=0.3, rate=2, users=5_000), tmp_path)
    events_at = {(event["user"], event["at"]) for event in events}
    due_at = {(cart["subject"], cart["due_ms"]) for cart in found}
    changed_at = {(event["user"], event["at"]) for event in events if event["kind"] in ("add", "remove")}
    rescued = {(user, at_ms + 1_800_000) for user, at_ms in changed_at} & events_at - due_at
    assert len(rescued) > 20, "changes at the very instant of the due time"
    assert len({(user, due_ms + 1) for user, due_ms in due_at} & events_at) > 20, "events just after it"
    assert len(due_at & events_at) > 5, "views at that instant, which rescue nothing"


def test_carts_due_in_the_same_millisecond_are_in_the_order_of_users(tmp_path: Path) -> None:
    options = ShopOptions(events=20_000, rate=5_000, users=100_000, pause_ms=200)
    _, found = check(options, tmp_path)
    due_ms = [cart["due_ms"] for cart in found]
    assert len(due_ms) - len(set(due_ms)) > 100


shares = st.sampled_from([0.0, 0.05, 0.3])


@st.composite
def small_options(draw: st.DrawFn) -> ShopOptions:
    abandoned = draw(st.sampled_from([0.0, 0.3, 1.0]))
    return ShopOptions(
        events=draw(st.integers(1, 300)),
        users=draw(st.integers(2, 20)),
        skew=draw(st.sampled_from([0.0, 0.7, 1.0, 2.5])),
        hot=draw(shares),
        rate=draw(st.sampled_from([0.5, 10.0, 400.0])),
        start_ms=draw(st.sampled_from([0, 1_767_225_600_000])),
        session_events=draw(st.integers(1, 8)),
        pause_ms=draw(st.sampled_from([1, 50, 2_000])),
        comebacks=draw(st.sampled_from([0.0, 0.5, 1.0])),
        abandoned=abandoned,
        looking=draw(st.sampled_from([0.0, (1 - abandoned) / 2])),
        after_ms=draw(st.sampled_from([1, 10, 1_000, 60_000])),
        disorder_ms=draw(st.sampled_from([0, 1, 7, 500, 20_000])),
        late=draw(shares),
        duplicates=draw(shares),
        corrupt=draw(shares),
        partitions=draw(st.integers(1, 4)),
        seed=draw(st.integers(0, 2**64)),
    )


@settings(max_examples=150, deadline=None)
@given(small_options())
def test_expected_for_any_options(options: ShopOptions) -> None:
    with TemporaryDirectory() as directory:
        check(options, Path(directory) / "shop")


def closed(*events: tuple[str, str, int, str]) -> list[tuple[object, ...]]:
    carts = Carts(after_ms=100, price_cents={"a": 10, "b": 29})
    found: list[AbandonedCart] = []
    for user, kind, at_ms, sku in events:
        found += carts.abandoned_before(at_ms)
        carts.apply(user, kind, at_ms, sku)
    return [tuple(cart) for cart in [*found, *carts.close()]]


def test_cart_is_due_after_its_last_change() -> None:
    assert closed(("u", "add", 0, "a"), ("u", "add", 60, "b"), ("u", "view", 150, "")) == [
        (160, "u", {"a": 1, "b": 1}, 39)
    ]
    assert closed(("u", "add", 0, "b"), ("u", "add", 0, "b"), ("u", "remove", 60, "b")) == [(160, "u", {"b": 1}, 29)]


def test_event_at_the_due_instant_comes_before_the_timer() -> None:
    assert closed(("u", "add", 0, "a"), ("u", "checkout", 100, "")) == []
    assert closed(("u", "add", 0, "a"), ("u", "checkout", 101, "")) == [(100, "u", {"a": 1}, 10)]
    assert closed(("u", "add", 0, "a"), ("u", "add", 100, "a")) == [(200, "u", {"a": 2}, 20)]


def test_abandoned_cart_is_forgotten() -> None:
    assert closed(("u", "add", 0, "a"), ("u", "add", 101, "b")) == [(100, "u", {"a": 1}, 10), (201, "u", {"b": 1}, 29)]


def test_emptied_cart_is_not_due() -> None:
    assert closed(("u", "add", 0, "a"), ("u", "remove", 1, "a")) == []


def test_remove_of_what_is_not_there_is_ignored() -> None:
    assert closed(("u", "add", 0, "a"), ("u", "remove", 50, "b"), ("v", "remove", 60, "a")) == [
        (100, "u", {"a": 1}, 10)
    ]


def test_carts_of_one_instant_are_in_the_order_of_users() -> None:
    events = [(user, "add", 0, "a") for user in ("v", "u", "w")]
    assert [user for _, user, _, _ in closed(*events)] == ["u", "v", "w"]


def test_carts_tell_when_something_may_be_due_next() -> None:
    carts = Carts(after_ms=100, price_cents={"a": 10})
    nothing_due = carts.next_due_ms
    carts.apply("u", "add", 7, "a")
    assert carts.next_due_ms == carts.due_ms("u") == 107
    assert list(carts.abandoned_before(107)) == []
    assert [cart.user for cart in carts.abandoned_before(108)] == ["u"]
    assert carts.next_due_ms == nothing_due
    assert carts.due_ms("u") is None
    assert carts.skus("u") == []
