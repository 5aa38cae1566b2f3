"""Stories of tickets of a help desk: some wait too long, some come back after they were solved."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from headway.generate.tale import DAY_MS, HOUR_MS, Tale
from headway.times import format_time

__all__ = ["ticket_stories"]

_RESPONSE_MS = 4 * HOUR_MS
_RESOLUTION_MS = 7 * DAY_MS


def ticket_stories(random: Random, start_ms: int) -> Iterator[Tale]:
    """One ticket after the other, about every 10 minutes; deadlines are those of the flow's defaults."""
    number = 0
    while True:
        start_ms += random.randrange(1_200_000)
        yield _ticket(random, f"t{number:06d}", start_ms)
        number += 1


def _ticket(random: Random, case: str, start_ms: int) -> Tale:
    events: list[tuple[int, dict[str, Any]]] = []
    expected: list[dict[str, Any]] = []

    def happens(time_ms: int, activity: str) -> None:
        events.append((time_ms, {"time": time_ms, "case": case, "activity": activity}))

    def breach(kind: str, due_ms: int) -> None:
        data = {"since": format_time(start_ms), "due": format_time(due_ms)}
        expected.append({"case": case, "type": f"sla.{kind}_breached", **data})

    happens(start_ms, "Assign seriousness")
    is_slow = random.random() < 0.15
    taken_ms = start_ms + random.randrange(1, _RESPONSE_MS) + (_RESPONSE_MS if is_slow else 0)
    happens(taken_ms, "Take in charge ticket")
    is_stuck = random.random() < 0.1
    resolved_ms = start_ms + (_RESOLUTION_MS if is_stuck else DAY_MS) + random.randrange(1, DAY_MS)
    happens(resolved_ms, "Resolve ticket")
    if is_slow:
        breach("response", start_ms + _RESPONSE_MS)
    if is_stuck:
        breach("resolution", start_ms + _RESOLUTION_MS)
    if random.random() < 0.1:
        again_ms = resolved_ms + random.randrange(1, 20 * DAY_MS)
        happens(again_ms, "Take in charge ticket")
        times = {"resolved": format_time(resolved_ms), "reopened": format_time(again_ms)}
        expected.append({"case": case, "type": "sla.reopened", **times})
    return Tale(events, expected)
