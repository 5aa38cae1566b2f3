"""One story of a synthetic stream."""

from __future__ import annotations

from typing import Any, NamedTuple

from headway.basics.times import format_time

__all__ = ["DAY_MS", "HOUR_MS", "MINUTE_MS", "Tale", "trigger"]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Tale(NamedTuple):
    """What happens to one instance."""

    events: list[tuple[int, dict[str, Any]]]
    """Time and fields of each event; the times of one instance differ."""
    expected: list[dict[str, Any]]
    """The triggers that a flow must find in it."""


def trigger(kind: str, subject: str, time_ms: int, data: dict[str, Any]) -> dict[str, Any]:
    """A line of the expected result: what of a CloudEvent can be known beforehand.

    >>> trigger("order.refund", "o1", 0, {"cents": 5})["time"]
    '1970-01-01T00:00:00.000Z'
    """
    return {"type": kind, "subject": subject, "time": format_time(time_ms), "data": data}
