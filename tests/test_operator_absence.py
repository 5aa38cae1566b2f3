"""Absence: the engine against the oracle, and the oracle against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, Logs, check

import headway as hw
from headway.connectors.base import Input, Output

WITHIN_MS = 5

EVENTS = st.lists(
    st.fixed_dictionaries(
        {"at": st.integers(0, 30), "key": st.sampled_from("ab"), "kind": st.sampled_from(["start", "end", "other"])}
    ),
    max_size=25,
)


def flow(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
    declared = hw.Flow("absences")
    events = declared.source("events", hw.Json, input_of("events"), time="at", out_of_order=30).key_by("key")
    absent = events.absence("absent", start=hw.where(kind="start"), end=hw.where(kind="end"), within=WITHIN_MS)
    absent.to("out", output_of("out"))
    return declared


def expected(events: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """Key, last start, due time of each wait that ran out, by time and key."""
    found = []
    for key in "ab":
        since = None
        for event in sorted((event for event in events if event["key"] == key), key=lambda event: event["at"]):
            if since is not None and event["at"] > since + WITHIN_MS:
                found.append((key, since, since + WITHIN_MS))
                since = None
            if event["kind"] == "end":
                since = None
            elif event["kind"] == "start":
                since = event["at"]
        if since is not None:
            found.append((key, since, since + WITHIN_MS))
    return sorted(found)


@settings(SLOW, max_examples=25)
@given(events=EVENTS, where=conditions())
def test_it_fires_when_the_end_does_not_come(events: list[dict[str, Any]], where: Conditions) -> None:
    logs: Logs = {"events": {"0": events}}
    written = check(flow, logs, where)["out"]
    assert sorted((line["start"]["key"], line["since"], line["due"]) for line in written) == expected(events)
