"""Stories of orders: most are delivered, the others fail at some state and must be undone."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final

from headway.generate.tale import DAY_MS, HOUR_MS, MINUTE_MS, Tale, trigger

__all__ = ["order_stories"]

_STEPS: Final = ("placed", "paid", "packed", "shipped", "delivered")
_DEADLINES: Final = {"placed": 30 * MINUTE_MS, "paid": DAY_MS, "packed": 2 * DAY_MS, "shipped": 7 * DAY_MS}
"""How long an order may stay in a state: those of `flows/order_saga.py`."""
_FATES: Final = (
    ("unpaid", "placed", ["cancelled"]),
    ("cancelled", "placed", ["cancelled"]),
    ("stuck", "paid", ["cancelled", "refund"]),
    ("cancelled", "paid", ["cancelled", "refund"]),
    ("stuck", "packed", ["cancelled", "refund", "restock"]),
    ("cancelled", "packed", ["cancelled", "refund", "restock"]),
    ("lost", "shipped", ["cancelled", "refund"]),
    ("refused", "shipped", ["cancelled", "refund", "restock"]),
)
"""How an order fails, the state that it had reached, and what is then to be done."""
_FAILED: Final = 0.3
_ON_THE_DOT: Final = 0.05
_ILLEGAL: Final = 0.1


def order_stories(random: Random, start_ms: int) -> Iterator[Tale]:
    """One order after the other, about every 90 seconds."""
    number = 0
    while True:
        start_ms += random.randrange(180_000)
        yield _Order(random, f"o{number:07d}", start_ms).live()
        number += 1


class _Order:
    def __init__(self, random: Random, order: str, start_ms: int) -> None:
        self.random, self.order, self.time_ms = random, order, start_ms
        self.tale = Tale([], [])

    def live(self) -> Tale:
        """Steps in time, until it fails or is delivered; here and there something that cannot be at that point."""
        random = self.random
        cents = random.randrange(500, 50_000)
        cause, reached, actions = random.choice(_FATES) if random.random() < _FAILED else ("delivered", "shipped", [])
        self.happens("placed", cents=cents)
        for state in _STEPS[: _STEPS.index(reached)]:
            self.pause(state)
            self.happens(_STEPS[_STEPS.index(state) + 1])
        if cause in ("unpaid", "stuck", "lost"):
            self.time_ms += _DEADLINES[reached]
        else:
            self.pause(reached)
            self.happens(cause)
        for action in actions:
            data = {"action": action, "reached": reached, "cause": cause, "cents": cents}
            self.tale.expected.append(trigger(f"order.{action}", self.order, self.time_ms, data))
        if random.random() < _ILLEGAL:
            # A millisecond after a deadline is too late; an order that has come to its end is remembered for a day.
            self.time_ms += random.choice((1, random.randrange(1, DAY_MS - HOUR_MS)))
            self.happens(random.choice(_STEPS), illegal_in=cause)
        return self.tale

    def pause(self, state: str) -> None:
        """Time until the next step, at times the longest that is allowed; or something illegal in between."""
        deadline_ms = _DEADLINES[state]
        pause_ms = deadline_ms if self.random.random() < _ON_THE_DOT else self.random.randrange(2, deadline_ms)
        if self.random.random() < _ILLEGAL:
            early_ms = self.random.randrange(1, pause_ms)
            self.time_ms += early_ms
            pause_ms -= early_ms
            # What has happened happens again, or what comes after the next step comes before it.
            wrong = (*_STEPS[: _STEPS.index(state) + 1], *_STEPS[_STEPS.index(state) + 2 :])
            self.happens(self.random.choice(wrong), illegal_in=state)
        self.time_ms += pause_ms

    def happens(self, kind: str, *, cents: int = 0, illegal_in: str = "") -> None:
        """One event, which the order's state may not allow."""
        fields: dict[str, Any] = {"order": self.order, "kind": kind, "at": self.time_ms}
        self.tale.events.append((self.time_ms, {**fields, "cents": cents} if cents else fields))
        if illegal_in:
            data = {"kind": kind, "state": illegal_in}
            self.tale.expected.append(trigger("order.illegal", self.order, self.time_ms, data))
