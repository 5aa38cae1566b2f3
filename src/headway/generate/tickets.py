"""Stories of tickets of a help desk: some wait too long, some come back after they were solved."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from headway.basics.times import format_time
from headway.generate.tale import DAY_MS, HOUR_MS, MINUTE_MS, Tale, trigger

__all__ = ["ticket_stories"]

_RESPONSE_MS: Final = 4 * HOUR_MS
_RESOLUTION_MS: Final = 7 * DAY_MS
_AGAIN_MS: Final = 30 * DAY_MS
"""The deadlines of `flows/sla_watch.py`."""
_SLOW: Final = 0.15
_STUCK: Final = 0.1
_BACK: Final = 0.15
_ON_THE_DOT: Final = 0.05


def ticket_stories(random: Random, start_ms: int) -> Iterator[Tale]:
    """One ticket after the other, about every 10 minutes."""
    number = 0
    while True:
        start_ms += random.randrange(20 * MINUTE_MS)
        yield _Ticket(random, f"t{number:06d}", start_ms).live()
        number += 1


class _Ticket:
    def __init__(self, random: Random, case: str, start_ms: int) -> None:
        self.random, self.case, self.time_ms = random, case, start_ms
        self.tale = Tale([], [])

    def live(self) -> Tale:
        """Opened, taken, solved; and perhaps once more."""
        opened_ms = self.time_ms
        self.happens(self.random.choice(("Assign seriousness", "Insert ticket")))
        self.take(opened_ms)
        self.solve(opened_ms)
        if self.random.random() < _BACK:
            solved_ms = self.time_ms
            if self.random.random() < 0.5:
                self.time_ms += self.random.randrange(1, HOUR_MS)
                self.happens("Closed")
            self.time_ms = solved_ms + HOUR_MS + self.random.randrange(_AGAIN_MS)
            if self.time_ms < solved_ms + _AGAIN_MS:
                times = {"resolved": format_time(solved_ms), "reopened": format_time(self.time_ms)}
                self.tale.expected.append(trigger("ticket.reopened", self.case, self.time_ms, times))
            else:
                # With "Closed" it would count as solved until then.
                self.time_ms = solved_ms + _AGAIN_MS + HOUR_MS
            again_ms = self.time_ms
            self.happens("Take in charge ticket")
            self.solve(again_ms)
        return self.tale

    def take(self, opened_ms: int) -> None:
        """Somebody takes it: in time, at the last moment, or too late."""
        if self.random.random() < _SLOW:
            self.breach("response", opened_ms, _RESPONSE_MS)
            self.time_ms += _RESPONSE_MS + self.random.choice((1, self.random.randrange(1, _RESPONSE_MS)))
        else:
            self.time_ms += self.up_to(_RESPONSE_MS)
        self.happens("Take in charge ticket")

    def solve(self, since_ms: int) -> None:
        """It is solved, after a wait or without: in time, at the last moment, or too late."""
        left_ms = since_ms + _RESOLUTION_MS - self.time_ms
        if self.random.random() < 0.3:
            wait_ms = self.random.randrange(1, HOUR_MS)
            self.time_ms, left_ms = self.time_ms + wait_ms, left_ms - wait_ms
            self.happens("Wait")
        if self.random.random() < _STUCK:
            self.breach("resolution", since_ms, _RESOLUTION_MS)
            self.time_ms += left_ms + self.random.choice((1, self.random.randrange(1, DAY_MS)))
        else:
            self.time_ms += self.up_to(left_ms)
        self.happens("Resolve ticket")

    def up_to(self, longest_ms: int) -> int:
        """How long something takes that is in time: at times to the millisecond."""
        return longest_ms if self.random.random() < _ON_THE_DOT else self.random.randrange(1, longest_ms)

    def happens(self, activity: str) -> None:
        """One event."""
        fields = {"time": self.time_ms, "case": self.case, "activity": activity}
        self.tale.events.append((self.time_ms, fields))

    def breach(self, kind: str, since_ms: int, within_ms: int) -> None:
        """A deadline that is missed."""
        due_ms = since_ms + within_ms
        data = {"since": format_time(since_ms), "due": format_time(due_ms)}
        self.tale.expected.append(trigger(f"sla.{kind}_breached", self.case, due_ms, data))
