"""Stories of cards: people pay near home with their devices; some cards are stolen. Rules change meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final

from headway.generate.tale import DAY_MS, HOUR_MS, MINUTE_MS, Tale, trigger

__all__ = ["payment_rules", "payment_stories"]

_WEIGHTS: Final = {"velocity": 60, "distance": 60, "device": 30, "amount": 30, "country": 100}
"""Points for each reason where no rule says otherwise: those of `flows/fraud_score.py`."""
_THRESHOLD: Final = 60
_RULES: Final[tuple[dict[str, Any], ...]] = (
    {"threshold": 30},
    {"weights": {"device": 60, "amount": 10}, "off": ["distance"]},
    {"off": ["FR"]},
    {"blocked": ["XX"]},
    {},
)
"""What applies from day 2, 4, 6, 8 and 10 on: each rule replaces the one before."""
_COUNTRIES: Final = (*("DE", "FR", "IT", "US") * 5, "XX")
_THEFT: Final = 0.15
_ODD: Final = 0.3


def payment_rules(start_ms: int) -> list[dict[str, Any]]:
    """The rules, in the order of their times."""
    return [{"at": start_ms + (2 + 2 * number) * DAY_MS, **rule} for number, rule in enumerate(_RULES)]


def payment_stories(random: Random, start_ms: int) -> Iterator[Tale]:
    """One card after the other, about every 5 minutes; some are stolen, and then used in one of four ways."""
    rules = payment_rules(start_ms)
    number = 0
    while True:
        start_ms += random.randrange(10 * MINUTE_MS)
        yield _Card(random, f"c{number:06d}", start_ms, rules).live()
        number += 1


class _Card:
    def __init__(self, random: Random, card: str, start_ms: int, rules: list[dict[str, Any]]) -> None:
        self.random, self.card, self.time_ms, self.rules = random, card, start_ms, rules
        self.home = (random.uniform(-60, 60), random.uniform(-170, 170))
        self.away = (-self.home[0], self.home[1] + (150 if self.home[1] < 0 else -150))
        self.country = random.choice(_COUNTRIES)
        self.usual = random.randrange(1_000, 8_000)
        self.tale = Tale([], [])

    def live(self) -> Tale:
        """An honest life of up to 15 payments, one of which may be odd, and what a thief does then."""
        random = self.random
        count = random.randint(5, 15)
        odd_at = random.randrange(1, count) if random.random() < _ODD else 0
        for number in range(count):
            if odd_at and number == odd_at:
                random.choice([self.phone, self.treat, self.trip])()
            else:
                self.pay(factor=random.uniform(0.5, 1.5))
            self.time_ms += random.randrange(HOUR_MS, 2 * DAY_MS)
        if random.random() < _THEFT:
            random.choice([self.burst, self.series, self.travel, self.spend])()
        return self.tale

    def pay(self, *reasons: str, factor: float = 1.0, device: str = "own", away: bool = False) -> None:
        """One payment, with the reasons there are to suspect it."""
        cents, place = round(self.usual * factor), self.away if away else self.home
        fields: dict[str, Any] = {"card": self.card, "at": self.time_ms, "cents": cents, "country": self.country}
        fields |= {"latitude": place[0], "longitude": place[1], "device": f"{self.card}-{device}"}
        self.tale.events.append((self.time_ms, fields))
        found = _found(reasons, self.country, next((r for r in self.rules[::-1] if r["at"] <= self.time_ms), {}))
        if found is not None:
            self.tale.expected.append(trigger("card.suspicious", self.card, self.time_ms, {**found, "cents": cents}))

    def phone(self) -> None:
        """Honest: a new device."""
        self.pay("device", device="new")

    def treat(self) -> None:
        """Honest: something dear."""
        self.pay("amount", factor=9.0)

    def trip(self) -> None:
        """Honest: far from home, and back, at the speed of an aeroplane."""
        self.time_ms += DAY_MS
        self.pay(away=True)
        self.time_ms += DAY_MS

    def burst(self) -> None:
        """Six payments within a minute or little more: each that follows three others is too many."""
        for count in range(6):
            self.pay(*(["velocity"] if count >= 3 else []), factor=0.5)
            self.time_ms += self.random.randrange(10_000, 20_000)

    def series(self) -> None:
        """Thirteen payments, each some minutes after the other: those after the tenth are too many for an hour."""
        for count in range(13):
            self.pay(*(["velocity"] if count >= 10 else []), factor=0.5)
            self.time_ms += self.random.randrange(200_000, 340_000)

    def travel(self) -> None:
        """A payment at home, and minutes later one on the other side of the world."""
        self.pay()
        self.time_ms += 10 * MINUTE_MS
        self.pay("distance", away=True)

    def spend(self) -> None:
        """A new device, and far more than usual."""
        self.pay("device", "amount", device="stolen", factor=30.0)


def _found(reasons: Sequence[str], country: str, rule: dict[str, Any]) -> dict[str, Any] | None:
    """What must be told of a payment under a rule; None where the score stays below the threshold."""
    reasons = [*reasons, *(["country"] if country in rule.get("blocked", ()) else [])]
    weights, off = {**_WEIGHTS, **rule.get("weights", {})}, rule.get("off", ())
    points = {reason: weights[reason] for reason in reasons if reason not in off and country not in off}
    score, threshold = sum(points.values()), rule.get("threshold", _THRESHOLD)
    return {"score": score, "threshold": threshold, "reasons": points} if score >= threshold else None
