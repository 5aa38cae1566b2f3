"""Stories of cards: people pay near home with their devices; some cards are stolen."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from headway.generate.tale import DAY_MS, HOUR_MS, MINUTE_MS, Tale

__all__ = ["payment_stories"]


def payment_stories(random: Random, start_ms: int) -> Iterator[Tale]:
    """One card after the other; one in ten is stolen, and then used in one of three ways."""
    number = 0
    while True:
        start_ms += random.randrange(10 * MINUTE_MS)
        yield _Card(random, f"c{number:06d}", start_ms).live(random.random() < 0.1)
        number += 1


class _Card:
    def __init__(self, random: Random, card: str, start_ms: int) -> None:
        self.random, self.card, self.time_ms = random, card, start_ms
        self.home = (random.uniform(-60, 60), random.uniform(-170, 170))
        self.usual = random.randrange(1_000, 8_000)
        self.tale = Tale([], [])

    def live(self, is_stolen: bool) -> Tale:
        """An honest life of up to 15 payments, and what a thief does then."""
        for _ in range(self.random.randint(5, 15)):
            self.pay(self.home, "own", self.random.uniform(0.5, 1.5))
            self.time_ms += self.random.randrange(HOUR_MS, 2 * DAY_MS)
        if is_stolen:
            self.random.choice([self.burst, self.travel, self.spend])()
        return self.tale

    def pay(self, place: tuple[float, float], device: str, factor: float, *, suspicious: bool = False) -> None:
        """One payment, that must be found or not."""
        cents = round(self.usual * factor)
        fields: dict[str, Any] = {"card": self.card, "at": self.time_ms, "cents": cents}
        fields |= {"latitude": place[0], "longitude": place[1], "device": f"{self.card}-{device}"}
        self.tale.events.append((self.time_ms, fields))
        if suspicious:
            self.tale.expected.append({"card": self.card, "at": self.time_ms, "cents": cents})

    def burst(self) -> None:
        """Eight small payments within minutes: those after the fifth are too many."""
        for count in range(8):
            self.pay(self.home, "own", 0.5, suspicious=count >= 5)
            self.time_ms += self.random.randrange(1_000, 60_000)

    def travel(self) -> None:
        """A payment at home, and minutes later one on the other side of the world."""
        self.pay(self.home, "own", 1.0)
        self.time_ms += 10 * MINUTE_MS
        self.pay((-self.home[0], self.home[1] + (150 if self.home[1] < 0 else -150)), "own", 1.0, suspicious=True)

    def spend(self) -> None:
        """A new device, and far more than usual."""
        self.pay(self.home, "stolen", 20.0, suspicious=True)
