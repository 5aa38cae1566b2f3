"""Card payments that look like fraud: velocity, distance, a new device, and unusual amounts, by rules that change.

    headway run flows/fraud_score.py --drain
    headway run flows/fraud_score.py --set input='pay/payments-*.jsonl' --set rules=rules.jsonl

Without `input` the flow reads synthetic payments. A line of `rules` is `{"at": epoch ms, "threshold": 60,
"blocked": ["XX"]}`: it applies to all payments from its time on.
"""

from math import asin, cos, exp, radians, sin, sqrt

import headway as hw
from headway.generate.stories import story_events

HOUR_MS = 3_600_000
HALF_LIFE_MS = 7 * 24 * HOUR_MS
DEVICES_MAX = 10


class Payment(hw.Event):
    """A payment with a card."""

    card: str
    at: hw.Time
    cents: int
    latitude: float
    longitude: float
    device: str
    country: str = ""


class Rule(hw.Event):
    """What applies from a time on."""

    at: hw.Time
    threshold: int = 60
    blocked: list[str] = []


class Rules(hw.State):
    """What applies now."""

    threshold: int = 60
    blocked: list[str] = []


class Card(hw.State):
    """What is known of a card; services that decide may read it."""

    at: hw.Time = 0
    latitude: float = 0.0
    longitude: float = 0.0
    recent: list[hw.Time] = []
    devices: list[str] = []
    usual_cents: float = 0.0
    weight: float = 0.0
    score: int = 0


class Suspicion(hw.Event):
    """The trigger's data: the score and its parts."""

    score: int
    threshold: int
    reasons: dict[str, int]
    cents: int


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The way along a great circle."""
    (lat_a, lon_a), (lat_b, lon_b) = [tuple(map(radians, point)) for point in (a, b)]
    chord = sin((lat_b - lat_a) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin((lon_b - lon_a) / 2) ** 2
    return 12_742 * asin(sqrt(min(1.0, chord)))


class Score(hw.Operator[Payment, Card, Suspicion]):
    """Scores each payment against what the card did before. A card without payments for 90 days is forgotten."""

    broadcasts = {"rules": Rule}
    shared_type = Rules

    def on_rules(self, rules: Rules, rule: Rule, ctx: hw.Context[Suspicion]) -> None:
        """From now on this applies."""
        rules.threshold, rules.blocked = rule.threshold, rule.blocked

    def on_event(self, card: Card, payment: Payment, ctx: hw.Context[Suspicion]) -> None:
        """Score, tell, remember."""
        reasons = {name: points for name, points in self._reasons(card, payment, ctx.shared).items() if points}
        card.score = sum(reasons.values())
        if card.score >= ctx.shared.threshold:
            ctx.emit(Suspicion(score=card.score, threshold=ctx.shared.threshold, reasons=reasons, cents=payment.cents))
        self._remember(card, payment)
        ctx.timer("forget", payment.at + 90 * 24 * HOUR_MS)

    def on_timer(self, card: Card, timer: hw.Timer, ctx: hw.Context[Suspicion]) -> None:
        """The card is not used any more."""
        ctx.forget()

    def _reasons(self, card: Card, payment: Payment, rules: Rules) -> dict[str, int]:
        if not card.devices:
            return {"blocked country": 100 * (payment.country in rules.blocked)}
        hours = max((payment.at - card.at) / HOUR_MS, 1 / 60)
        way = distance_km((card.latitude, card.longitude), (payment.latitude, payment.longitude))
        lately = sum(1 for at in card.recent if at > payment.at - HOUR_MS // 6)
        return {
            "velocity": 60 if lately >= 5 else 0,
            "distance": 60 if way / hours > 900 and way > 50 else 0,
            "new device": 0 if payment.device in card.devices else 30,
            "amount": 30 if card.weight > 0 and payment.cents > 5 * card.usual_cents / card.weight else 0,
            "blocked country": 100 * (payment.country in rules.blocked),
        }

    def _remember(self, card: Card, payment: Payment) -> None:
        fade = exp(-(payment.at - card.at) / HALF_LIFE_MS * 0.6931471805599453) if card.devices else 0.0
        card.usual_cents = card.usual_cents * fade + payment.cents
        card.weight = card.weight * fade + 1
        card.at, card.latitude, card.longitude = payment.at, payment.latitude, payment.longitude
        lately = [at for at in card.recent if at > payment.at - HOUR_MS // 6]
        others = [device for device in card.devices if device != payment.device]
        card.recent = [*lately[-20:], payment.at]
        card.devices = [*others[1 - DEVICES_MAX :], payment.device]


flow = hw.Flow("fraud-score")
path = flow.param("input", "", help="files of payments, such as 'pay/payments-*.jsonl'; generated if empty")
rules = flow.param("rules", "", help="file of rules; without it the threshold is 60")
output = flow.param("output", "suspicious.jsonl", help="file for the triggers, CloudEvents one a line")
out_of_order = flow.param("out_of_order", "2s", help="how far behind the latest event of its file an event may come")

source = hw.files(path) if path else story_events("payments")
payments = flow.source("payments", Payment, source, time="at", out_of_order=out_of_order, idle_after="1m")
changes: hw.Stream[Rule]
if rules:
    changes = flow.source("rules", Rule, hw.files(rules), time="at", idle_after="1s")
else:
    changes = payments.flat_map(lambda payment: (), into=Rule, name="no-rules")
suspicious = payments.key_by("card").process("score", Score(), rules=changes.broadcast())
suspicious.trigger("card.suspicious", hw.to_jsonl(output))
