"""Stories of orders: most are delivered, the others fail at some state and must be undone."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from headway.generate.tale import DAY_MS, HOUR_MS, MINUTE_MS, Tale

__all__ = ["order_stories"]

_STEPS: Final = (
    ("placed", 0),
    ("paid", 25 * MINUTE_MS),
    ("packed", 20 * HOUR_MS),
    ("shipped", DAY_MS),
    ("delivered", 6 * DAY_MS),
)
"""Each step with the longest pause before it: within the deadline of the state before."""
_FATES: Final = (
    ("unpaid", 1, ["release"]),
    ("cancelled", 1, ["release"]),
    ("stuck", 2, ["refund"]),
    ("cancelled", 2, ["refund"]),
    ("stuck", 3, ["refund", "restock"]),
    ("cancelled", 3, ["refund", "restock"]),
    ("lost", 4, ["refund"]),
    ("refused", 4, ["refund", "restock"]),
)
"""How an order ends, after how many steps, and what is then to be done."""
_FAILED: Final = 0.3


def order_stories(random: Random, start_ms: int) -> Iterator[Tale]:
    """One order after the other, about every 90 seconds."""
    number = 0
    while True:
        start_ms += random.randrange(180_000)
        order = f"o{number:07d}"
        cents = random.randrange(500, 50_000)
        cause, count, actions = random.choice(_FATES) if random.random() < _FAILED else ("delivered", 5, [])
        time_ms, events = start_ms, []
        for kind, pause_ms in _STEPS[:count]:
            time_ms += random.randrange(1, pause_ms) if pause_ms else 0
            events.append((time_ms, {"order": order, "kind": kind, "at": time_ms, "cents": cents}))
        if cause in ("cancelled", "refused"):
            time_ms += random.randrange(1, 25 * MINUTE_MS)
            events.append((time_ms, {"order": order, "kind": cause, "at": time_ms}))
        reached = _STEPS[count - 1][0]
        expected = [
            {"order": order, "action": action, "reached": reached, "cause": cause, "cents": cents} for action in actions
        ]
        yield Tale(events, expected)
        number += 1
