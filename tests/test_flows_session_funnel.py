"""The flow of sessions and their funnel: its stories, its hours in plain Python, and its aggregate."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stories_harness import WILD, bag, check_demo, check_workers, drained, lines_of, made

from headway.flows.session_funnel import STEPS, Click, joined, nowhere, onwards, steps_taken
from headway.testing import FlowTest

GAP_MS = 1_800_000
HOUR_MS = 3_600_000
PAGES = st.lists(st.sampled_from((*STEPS, "other")), max_size=12)


def hours_of(sessions: list[Any]) -> dict[tuple[str, int], tuple[int, int, float]]:
    """By plain Python: sessions, clicks and mean duration by step and by the hour in which sessions ended."""
    groups = defaultdict(list)
    for session in sessions:
        data = session["data"]
        ended_ms = data["start"] + data["duration_ms"] + GAP_MS - 1
        groups[data["reached"], ended_ms // HOUR_MS * HOUR_MS].append(data)
    return {
        place: (len(found), sum(x["clicks"] for x in found), sum(x["duration_ms"] for x in found) / len(found))
        for place, found in groups.items()
    }


def check_hours(lines: list[Any], sessions: list[Any]) -> None:
    expected = hours_of(sessions)
    told = {(line["subject"], line["data"]["start"]): line for line in lines}
    assert told.keys() == expected.keys()
    assert len(told) == len(lines) == len({line["id"] for line in lines})
    for place, line in told.items():
        data = line["data"]
        assert data["end"] == data["start"] + HOUR_MS
        assert (data["sessions"], data["clicks"]) == expected[place][:2]
        assert data["mean_ms"] == pytest.approx(expected[place][2], rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_sessions_are_those_of_the_stories(tmp_path: Path, seed: int) -> None:
    stream = made("clicks", tmp_path / "clicks", seed=seed, **WILD)
    test = drained("session_funnel", stream, "clicks")
    sessions = lines_of(stream / "expected.jsonl")
    assert bag(test.triggers("session.ended")) == bag(sessions)
    check_hours(test.triggers("funnel.hour"), sessions)
    assert (test.keys("sessions"), test.keys("hourly")) == ([], [])


def test_it_runs_with_nothing_else(tmp_path: Path) -> None:
    check_demo("session_funnel", "clicks", tmp_path, "sessions.jsonl")
    check_hours(lines_of(tmp_path / "funnel.jsonl"), lines_of(tmp_path / ".headway" / "clicks-demo" / "expected.jsonl"))


def test_two_processes_find_the_same(tmp_path: Path) -> None:
    check_workers("session_funnel", "clicks", tmp_path, "sessions.jsonl")


def click(page: str) -> Click:
    return Click(visitor="v", page=page, at=0)  # type: ignore[arg-type]


def folded(pages: list[str]) -> list[int]:
    progress = nowhere()
    for page in pages:
        progress = onwards(progress, click(page))
    return progress


@given(pages=PAGES)
def test_a_step_counts_after_those_before_it(pages: list[str]) -> None:
    taken = 0
    for page in pages:
        if taken < len(STEPS) and page == STEPS[taken]:
            taken += 1
    assert steps_taken(folded(pages)) == taken


@given(earlier=PAGES, later=PAGES)
def test_merging_is_adding(earlier: list[str], later: list[str]) -> None:
    assert joined(folded(earlier), folded(later)) == folded(earlier + later)


def sessions(*clicks: tuple[str, int], **parameters: str) -> list[Any]:
    test = FlowTest.load("headway.flows.session_funnel", input="clicks.jsonl", out_of_order="0s", **parameters)
    for page, at in clicks:
        test.send("clicks", {"visitor": "v", "page": page, "at": at})
    test.drain()
    return [line["data"] for line in test.triggers("session.ended")]


def test_a_visit_that_pays() -> None:
    [session] = sessions(("view", 0), ("other", 5), ("cart", 10), ("view", 20), ("checkout", 30), ("pay", 45))
    assert session == {
        "start": 0,
        "clicks": 6,
        "duration_ms": 45,
        "reached": "pay",
        "left_before": "",
        "paid": True,
    }


def test_a_gap_ends_a_session_to_the_millisecond() -> None:
    clicks = (("view", 0), ("cart", GAP_MS - 1), ("checkout", 2 * GAP_MS - 1))
    assert [(x["start"], x["reached"], x["left_before"]) for x in sessions(*clicks)] == [
        (0, "cart", "checkout"),
        (2 * GAP_MS - 1, "none", "view"),
    ]
    assert len(sessions(*clicks, gap="31m")) == 1


def test_the_state_of_a_session_does_not_grow() -> None:
    test = FlowTest.load("headway.flows.session_funnel", input="clicks.jsonl", out_of_order="0s")
    sizes = set()
    for at in range(300):
        test.send("clicks", {"visitor": "v", "page": STEPS[at % 4], "at": at})
        test.advance(to=at)
        sizes.add(len(msgspec.json.encode(test.state("sessions", "v").held.taken)))
    assert len(sizes) == 1
