"""Absence: the engine against the oracle, and the oracle against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, Logs, MakeFlow, check, oracle_run, values

import headway as hw
from headway.connectors.base import Input, Output

WITHIN_MS = 5

EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.integers(0, 30),
            "key": st.sampled_from("ab"),
            "kind": st.sampled_from(["start", "end", "stop", "other"]),
        }
    ),
    max_size=25,
)


ENDS: dict[str, Any] = {
    "one end": hw.where(kind="end"),
    "several ends": [hw.where(kind="end"), lambda event: event["kind"] == "stop"],
    "an end that is a start": [hw.where(kind="end"), hw.where(kind="start")],
}
KINDS = {"one end": {"end"}, "several ends": {"end", "stop"}, "an end that is a start": {"end", "start"}}
REARM = st.booleans()


def flow(end: Any, rearm: bool) -> MakeFlow:
    def declare(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        declared = hw.Flow("absences")
        events = declared.source("events", hw.Json, input_of("events"), time="at", out_of_order=30).key_by("key")
        absent = events.absence("absent", start=hw.where(kind="start"), end=end, within=WITHIN_MS, rearm=rearm)
        absent.to("out", output_of("out"))
        return declared

    return declare


def expected(events: list[dict[str, Any]], ends: set[str], rearm: bool) -> list[tuple[str, int, int]]:
    """Key, the start that counts, due time of each wait that ran out, by time and key."""
    found = []
    for key in "ab":
        since = None
        for event in sorted((event for event in events if event["key"] == key), key=lambda event: event["at"]):
            if since is not None and event["at"] > since + WITHIN_MS:
                found.append((key, since, since + WITHIN_MS))
                since = None
            if event["kind"] in ends:
                since = None
            if event["kind"] == "start" and (since is None or rearm):
                since = event["at"]
        if since is not None:
            found.append((key, since, since + WITHIN_MS))
    return sorted(found)


def told(written: list[Any]) -> list[tuple[str, int, int]]:
    return sorted((line["start"]["key"], line["since"], line["due"]) for line in written)


@settings(SLOW, max_examples=20)
@given(events=EVENTS, ends=st.sampled_from(sorted(ENDS)), rearm=REARM, where=conditions())
def test_it_fires_when_the_end_does_not_come(
    events: list[dict[str, Any]], ends: str, rearm: bool, where: Conditions
) -> None:
    logs: Logs = {"events": {"0": events}}
    written = check(flow(ENDS[ends], rearm), logs, where)["out"]
    assert told(written) == expected(events, KINDS[ends], rearm)


@pytest.mark.parametrize("ends", sorted(ENDS))
@settings(SLOW, max_examples=60)
@given(events=EVENTS, rearm=REARM)
def test_any_of_the_ends_will_do(ends: str, events: list[dict[str, Any]], rearm: bool) -> None:
    written = values(oracle_run(flow(ENDS[ends], rearm), {"events": {"0": events}}), "out")
    assert told(written) == expected(events, KINDS[ends], rearm)


def test_no_end_at_all_is_refused() -> None:
    with pytest.raises(hw.FlowError, match="at least one of them") as caught:
        flow([], True)(lambda _: hw.items([]), lambda _: hw.to_list([]))
    assert "test_operator_absence.py" in str(caught.value)
