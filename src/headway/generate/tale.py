"""One story of a synthetic stream."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["DAY_MS", "HOUR_MS", "MINUTE_MS", "Tale"]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Tale(NamedTuple):
    """What happens to one instance."""

    events: list[tuple[int, dict[str, Any]]]
    """Time and fields of each event."""
    expected: list[dict[str, Any]]
    """What a flow must find in it."""
