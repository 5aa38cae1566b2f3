"""The flow of service levels: its stories, the log of a real help desk by plain Python, and its borders."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import FLOWS, run
from tests.stories_harness import DATA, WILD, bag, check_demo, check_workers, drained, lines_of, made

from headway.basics.times import format_time
from headway.testing import FlowTest

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
OPENED = ("Assign seriousness", "Insert ticket")
TAKEN = ("Take in charge ticket",)
RESOLVED = ("Resolve ticket", "Closed")
NAMES = ("response_breached", "resolution_breached", "reopened")
OUTPUTS = [f"sla-{name}.jsonl" for name in NAMES]

Found = tuple[str, str, str]
"""Ticket, since when, and until or at what time."""


@pytest.mark.parametrize("seed", range(3))
def test_the_triggers_are_those_of_the_stories(tmp_path: Path, seed: int) -> None:
    stream = made("tickets", tmp_path / "tickets", seed=seed, **WILD)
    test = drained("sla_watch", stream, "tickets")
    assert bag(test.triggers()) == bag(lines_of(stream / "expected.jsonl"))
    assert [test.keys(name) for name in ("response", "resolution", "reopened")] == [[], [], []]


def test_it_runs_with_nothing_else(tmp_path: Path) -> None:
    check_demo("sla_watch", "tickets", tmp_path, *OUTPUTS)


def test_two_processes_find_the_same(tmp_path: Path) -> None:
    check_workers("sla_watch", "tickets", tmp_path, *OUTPUTS)


def breaches(
    tickets: dict[str, list[Any]], starts: tuple[str, ...], ends: tuple[str, ...], within_ms: int
) -> Counter[Found]:
    """By plain Python: for each start that does not lie in another's wait, whether an end follows in time."""
    found: Counter[Found] = Counter()
    for case, events in tickets.items():
        over_ms = -1
        for place, event in enumerate(events):
            since_ms = event["time"]
            due_ms = since_ms + within_ms
            if event["activity"] not in starts or place < over_ms:
                continue
            over_ms = len(events)
            for later in range(place + 1, len(events)):
                if events[later]["time"] > due_ms:
                    over_ms = later
                    found[case, format_time(since_ms), format_time(due_ms)] += 1
                    break
                if events[later]["activity"] in ends:
                    over_ms = later
                    break
            else:
                found[case, format_time(since_ms), format_time(due_ms)] += 1
    return found


def reopenings(tickets: dict[str, list[Any]], within_ms: int) -> Counter[Found]:
    """By plain Python: tickets that are taken within a time after they were solved, from the first solution on."""
    found: Counter[Found] = Counter()
    for case, events in tickets.items():
        solved: list[int] = []
        for event in events:
            if event["activity"] in RESOLVED:
                solved.append(event["time"])
            elif event["activity"] in TAKEN:
                recent = [time_ms for time_ms in solved if event["time"] - time_ms < within_ms]
                if recent:
                    found[case, format_time(recent[0]), format_time(event["time"])] += 1
                solved = []
    return found


@pytest.mark.skipif(not (DATA / "helpdesk.jsonl.gz").exists(), reason="there is no folder with helpdesk.jsonl.gz")
@pytest.mark.parametrize(("response_h", "resolution_d", "again_d"), [(4, 7, 30), (24, 21, 2)])
def test_a_real_help_desk(tmp_path: Path, response_h: int, resolution_d: int, again_d: int) -> None:
    log = DATA / "helpdesk.jsonl.gz"
    limits = {"response": f"{response_h}h", "resolution": f"{resolution_d}d", "again": f"{again_d}d"}
    settings = [word for name, value in limits.items() for word in ("--set", f"{name}={value}")]
    summary = run(tmp_path, FLOWS / "sla_watch.py", "--set", f"input={log}", *settings, "--drain")
    tickets = defaultdict(list)
    for line in gzip.decompress(log.read_bytes()).splitlines():
        event = json.loads(line)
        tickets[event["case"]].append(event)
    expected = (
        breaches(tickets, OPENED, TAKEN + RESOLVED, response_h * HOUR_MS),
        breaches(tickets, OPENED + TAKEN, RESOLVED, resolution_d * DAY_MS),
        reopenings(tickets, again_d * DAY_MS),
    )
    for name, wanted in zip(OUTPUTS, expected):
        found = Counter((line["subject"], *line["data"].values()) for line in lines_of(tmp_path / name))
        assert found == wanted
        assert wanted.total() > 50
    assert summary["events"] == sum(map(len, tickets.values())) == 21_348


def ticket(*events: tuple[str, int]) -> list[tuple[str, int, int]]:
    """What is told of a ticket: type, and the two times in milliseconds."""
    test = FlowTest.load("headway.flows.sla_watch", input="tickets.jsonl", out_of_order="0s")
    for activity, at in events:
        test.send("tickets", {"time": at, "case": "t", "activity": activity})
    test.drain()
    names = {format_time(at): at for at in range(0, 32 * DAY_MS, HOUR_MS)}
    return [(line["type"], *(names[text] for text in line["data"].values())) for line in test.triggers()]


def test_a_ticket_that_is_taken_and_solved_at_the_last_moment_is_in_time() -> None:
    assert ticket((OPENED[0], 0), (TAKEN[0], 4 * HOUR_MS), (RESOLVED[0], 7 * DAY_MS)) == []


def test_a_ticket_that_nobody_looks_at_breaches_both() -> None:
    assert ticket((OPENED[1], 0)) == [
        ("sla.response_breached", 0, 4 * HOUR_MS),
        ("sla.resolution_breached", 0, 7 * DAY_MS),
    ]


@pytest.mark.parametrize("activity", RESOLVED)
def test_a_ticket_that_is_solved_or_closed_at_once_needs_nobody(activity: str) -> None:
    assert ticket((OPENED[0], 0), (activity, HOUR_MS)) == []
    found = ticket((OPENED[0], 0), (activity, HOUR_MS), (TAKEN[0], 2 * HOUR_MS), (activity, 3 * HOUR_MS))
    assert found == [("ticket.reopened", HOUR_MS, 2 * HOUR_MS)]


def test_waiting_does_not_stop_the_clock() -> None:
    events = ((OPENED[0], 0), (TAKEN[0], HOUR_MS), ("Wait", 2 * HOUR_MS), (RESOLVED[0], 7 * DAY_MS + 1))
    assert ticket(*events) == [("sla.resolution_breached", 0, 7 * DAY_MS)]


def test_a_reopened_ticket_has_a_deadline_again() -> None:
    events = ((OPENED[0], 0), (TAKEN[0], HOUR_MS), (RESOLVED[0], 2 * HOUR_MS), (RESOLVED[1], 3 * HOUR_MS))
    assert ticket(*events, (TAKEN[0], 4 * HOUR_MS)) == [
        ("sla.resolution_breached", 4 * HOUR_MS, 4 * HOUR_MS + 7 * DAY_MS),
        ("ticket.reopened", 2 * HOUR_MS, 4 * HOUR_MS),
    ]


@pytest.mark.parametrize(("hours", "is_told"), [(30 * 24 - 1, True), (30 * 24, False)])
def test_after_thirty_days_it_is_another_matter(hours: int, is_told: bool) -> None:
    again = hours * HOUR_MS
    found = ticket((RESOLVED[0], 0), (TAKEN[0], again), (RESOLVED[0], again + 1))
    assert found == ([("ticket.reopened", 0, again)] if is_told else [])
