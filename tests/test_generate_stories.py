"""Streams of stories: what is in them, whether they are what their options say, and what `check` tells of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.stories_harness import lines_of, made

from headway.cli.main import main
from headway.errors import OutputError, UsageError
from headway.generate.stories import STORIES, StoryOptions, payment_rule_events, story_events

DAY_MS = 86_400_000
KEYS = {"clicks": "visitor", "orders": "order", "payments": "card", "tickets": "case"}
TIMES = {"clicks": "at", "orders": "at", "payments": "at", "tickets": "time"}
TYPES = {
    "clicks": {"session.ended"},
    "orders": {"order.cancelled", "order.refund", "order.restock", "order.illegal"},
    "payments": {"card.suspicious"},
    "tickets": {"sla.response_breached", "sla.resolution_breached", "ticket.reopened"},
}

each_kind = pytest.mark.parametrize("kind", STORIES)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def instances(kind: str, directory: Path) -> dict[str, list[tuple[int, Any]]]:
    """The events of each key, in the order of their times."""
    found = defaultdict(list)
    for event in lines_of(*directory.glob(f"{kind}-*.jsonl")):
        found[event[KEYS[kind]]].append((event[TIMES[kind]], event))
    return {key: sorted(events, key=lambda entry: entry[0]) for key, events in found.items()}


@each_kind
def test_equal_options_give_equal_bytes(kind: str, tmp_path: Path) -> None:
    one, same = made(kind, tmp_path / "one", seed=5), made(kind, tmp_path / "same", seed=5)
    assert content(one) == content(same)
    other = made(kind, tmp_path / "other", seed=6)
    assert content(one)["expected.jsonl"] != content(other)["expected.jsonl"]


@each_kind
def test_the_stream_is_as_its_options_say(kind: str, tmp_path: Path) -> None:
    stream = made(kind, tmp_path / kind, partitions=3, disorder_ms=600_000, start_ms=1_000)
    paths = sorted(stream.glob(f"{kind}-*.jsonl"))
    summary = json.loads((stream / "summary.json").read_text())
    assert [path.name for path in paths] == summary["files"] == [f"{kind}-{n:04d}.jsonl" for n in range(3)]
    behind = 0
    for path in paths:
        newest = 0
        for event in lines_of(path):
            behind = max(behind, newest - event[TIMES[kind]])
            newest = max(newest, event[TIMES[kind]])
    assert 300_000 < behind < 600_000
    assert summary["first_ms"] >= 1_000
    assert 2_000 <= summary["events"] == len(lines_of(*paths)) < 2_100
    assert summary["expected"] == len(lines_of(stream / "expected.jsonl"))


@each_kind
def test_out_of_order_or_not_the_same_is_to_be_found(kind: str, tmp_path: Path) -> None:
    ordered, shuffled = made(kind, tmp_path / "o", disorder_ms=0), made(kind, tmp_path / "s", disorder_ms=600_000)
    assert content(ordered)["expected.jsonl"] == content(shuffled)["expected.jsonl"]
    assert instances(kind, ordered) == instances(kind, shuffled)
    times = [event[TIMES[kind]] for event in lines_of(ordered / f"{kind}-0000.jsonl")]
    assert times == sorted(times)


@each_kind
def test_the_events_of_one_key_have_different_times(kind: str, tmp_path: Path) -> None:
    for events in instances(kind, made(kind, tmp_path / kind)).values():
        assert len({time_ms for time_ms, _ in events}) == len(events)


@each_kind
def test_everything_that_can_be_told_is_in_the_stories(kind: str, tmp_path: Path) -> None:
    expected = lines_of(made(kind, tmp_path / kind) / "expected.jsonl")
    assert {line["type"] for line in expected} == TYPES[kind]
    assert min(Counter(line["type"] for line in expected).values()) > 20
    assert [line["time"] for line in expected] == sorted(line["time"] for line in expected)


def test_orders_meet_and_miss_deadlines_by_a_millisecond(tmp_path: Path) -> None:
    stream = made("orders", tmp_path / "orders", events=10_000)
    pauses = Counter(
        (earlier[1]["kind"], later[0] - earlier[0])
        for events in instances("orders", stream).values()
        for earlier, later in pairwise(events)
    )
    for state, deadline_ms in (
        ("placed", 1_800_000),
        ("paid", DAY_MS),
        ("packed", 2 * DAY_MS),
        ("shipped", 7 * DAY_MS),
    ):
        assert pauses[state, deadline_ms] and pauses[state, deadline_ms + 1]
    endings = {(line["data"].get("reached"), line["data"].get("cause")) for line in lines_of(stream / "expected.jsonl")}
    assert len(endings) == 8 + 1, "eight ways to fail, and illegal steps"


def test_payments_are_suspicious_for_each_reason_under_each_rule(tmp_path: Path) -> None:
    stream = made("payments", tmp_path / "payments", events=20_000)
    rules = lines_of(stream / "rules-0000.jsonl")
    assert [rule["at"] for rule in rules] == sorted(rule["at"] for rule in rules)
    expected = lines_of(stream / "expected.jsonl")
    assert {reason for line in expected for reason in line["data"]["reasons"]} == {
        "velocity",
        "distance",
        "device",
        "amount",
        "country",
    }
    assert {line["data"]["threshold"] for line in expected} == {30, 60}
    events = [event for events in instances("payments", stream).values() for _, event in events]
    assert len(expected) < 0.1 * len(events)


def test_sessions_end_at_every_step(tmp_path: Path) -> None:
    expected = lines_of(made("clicks", tmp_path / "clicks") / "expected.jsonl")
    assert {(line["data"]["reached"], line["data"]["left_before"], line["data"]["paid"]) for line in expected} == {
        ("none", "view", False),
        ("view", "cart", False),
        ("cart", "checkout", False),
        ("checkout", "pay", False),
        ("pay", "", True),
    }


def test_the_command_writes_the_same_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "cards"
    arguments = ["generate", "payments", str(target), "--events", "2000", "--seed", "3", "--out-of-order", "2s"]
    assert main(arguments) == 0
    told = capsys.readouterr().err
    assert f"rules        {target}/rules-*.jsonl" in told
    found = len(lines_of(target / "expected.jsonl"))
    assert f"to be found  {found} triggers: {target}/expected.jsonl" in told
    assert content(target) == content(made("payments", tmp_path / "same", seed=3, disorder_ms=2_000))
    assert main(arguments) == 0
    assert "already holds this stream" in capsys.readouterr().err


def test_another_stream_is_replaced_only_when_asked(tmp_path: Path) -> None:
    stream = made("payments", tmp_path / "stream")
    (stream / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match="already holds 5 files of an earlier stream"):
        made("orders", stream)
    assert main(["generate", "orders", str(stream), "--events", "100", "--quiet", "--overwrite"]) == 0
    assert sorted(content(stream)) == [
        "expected.jsonl",
        "note.txt",
        "orders-0000.jsonl",
        "orders-0001.jsonl",
        "summary.json",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "cats"}, "kind = 'cats' cannot be used: expected one of clicks, orders, payments, tickets"),
        ({"kind": "orders", "events": 0}, "events = 0 cannot be used: expected 1 or more"),
        ({"kind": "orders", "partitions": 0}, "partitions = 0 cannot be used"),
        ({"kind": "orders", "disorder_ms": -1}, "disorder_ms = -1 cannot be used"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        StoryOptions(**options)


def test_payments_and_their_rules_are_made_together(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    rules, payments = (
        make(events=200, directory=place) for make in (payment_rule_events, lambda **o: story_events("payments", **o))
    )
    assert rules.partitions() == ["rules-0000.jsonl"]
    before = (place / "summary.json").stat().st_mtime_ns
    assert payments.partitions() == ["payments-0000.jsonl", "payments-0001.jsonl"]
    assert (place / "summary.json").stat().st_mtime_ns == before


def check(*arguments: Path) -> int:
    return main(["generate", "check", *map(str, arguments)])


def test_check_takes_triggers_of_several_files_and_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = made("tickets", tmp_path / "tickets")
    expected = lines_of(stream / "expected.jsonl")
    halves = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for half, path in enumerate(halves):
        path.write_text("".join(json.dumps({"id": "x", **line}) + "\n" for line in expected[half::2]))
    assert check(stream, *halves) == 0
    assert capsys.readouterr().out == f"{len(expected)} triggers, all as expected\n"
    assert check(stream, halves[0]) == 1
    assert f"{len(expected[1::2])} missing, 0 not expected" in capsys.readouterr().out


def test_check_tells_triggers_of_another_type_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = {"type": "order.refund", "subject": "o1", "time": "2026-01-01T00:00:00.000Z", "data": {"cents": 5}}
    wanted, found = tmp_path / "wanted.jsonl", tmp_path / "found.jsonl"
    wanted.write_text(json.dumps(line) + "\n")
    found.write_text(json.dumps({**line, "type": "order.restock"}) + "\n")
    assert check(wanted, found) == 1
    assert capsys.readouterr().out.splitlines() == [
        "not as expected: 1 triggers expected, 1 found; 1 missing, 1 not expected",
        '  - 2026-01-01T00:00:00.000Z  o1  order.refund  {"cents": 5}',
        '  + 2026-01-01T00:00:00.000Z  o1  order.restock  {"cents": 5}',
        "  (- is missing, + is not expected)",
    ]
    found.write_text("[]\n")
    assert check(wanted, found) == 4
    assert "found.jsonl:1 is not a trigger" in capsys.readouterr().err
