"""Card payments that look like fraud: velocity, distance, a new device, unusual amounts; by rules that change.

    headway run flows/fraud_score.py --drain
    headway run flows/fraud_score.py --set input='pay/payments-*.jsonl' --set rules='pay/rules-*.jsonl' --drain

Without `input` the flow reads synthetic payments and rules; `headway generate payments DIR` makes others. A rule is a
line such as `{"at": epoch ms, "threshold": 80, "weights": {"device": 50}, "off": ["distance"], "blocked": ["XX"]}`:
from its time on it replaces the rule before. `headway state get flows/fraud_score.py score c000042` shows a card.

With `--serve 127.0.0.1:8090` other services may ask for what a card's last payment came to, before they take the next:
`curl http://127.0.0.1:8090/v1/views/scores/c000042`, or the highest of all at `/v1/views/scores:top?n=5`.
"""

from math import asin, cos, radians, sin, sqrt

import headway as hw
from headway.generate.stories import payment_rule_events, story_events

MINUTE_MS, HOUR_MS, WEEK_MS = 60_000, 3_600_000, 604_800_000
WEIGHTS = {"velocity": 60, "distance": 60, "device": 30, "amount": 30, "country": 100}
"""Points for each reason to suspect a payment."""


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
    """What applies from a time on; `off` are kill switches, of reasons or of whole countries."""

    at: hw.Time
    threshold: int = 60
    weights: dict[str, int] = {}
    off: list[str] = []
    blocked: list[str] = []


class Rules(hw.State):
    """What applies now, to all cards."""

    rule: Rule = Rule(at=0)


class Card(hw.State):
    """What is known of a card, and its last score; `cents / weight` is a mean with a half-life of a week."""

    score: int = 0
    reasons: dict[str, int] = {}
    at: hw.Time = 0
    place: tuple[float, float] = (0.0, 0.0)
    recent: list[hw.Time] = []
    devices: list[str] = []
    cents: float = 0.0
    weight: float = 0.0


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
    """Scores each payment by what the card did before."""

    broadcasts = {"rules": Rule}
    shared_type = Rules

    def on_rules(self, rules: Rules, rule: Rule, ctx: hw.Context[Suspicion]) -> None:
        """From now on this applies."""
        rules.rule = rule

    def on_event(self, card: Card, payment: Payment, ctx: hw.Context[Suspicion]) -> None:
        """Score, tell, remember."""
        rule, weights = ctx.shared.rule, {**WEIGHTS, **ctx.shared.rule.weights}
        found = self.reasons(card, payment, rule) if payment.country not in rule.off else []
        card.reasons = {reason: weights[reason] for reason in found if reason not in rule.off}
        card.score = sum(card.reasons.values())
        if card.score >= rule.threshold:
            ctx.emit(Suspicion(score=card.score, threshold=rule.threshold, reasons=card.reasons, cents=payment.cents))
        fade = 0.5 ** ((payment.at - card.at) / WEEK_MS) if card.weight else 0.0
        card.cents, card.weight = card.cents * fade + payment.cents, card.weight * fade + 1
        card.at, card.place = payment.at, (payment.latitude, payment.longitude)
        card.recent = [*card.recent[-9:], payment.at]
        card.devices = [*[device for device in card.devices if device != payment.device][-9:], payment.device]

    def reasons(self, card: Card, payment: Payment, rule: Rule) -> list[str]:
        """Why the payment is suspicious; of the first one of a card only the country can tell."""
        ago = [payment.at - at for at in card.recent]
        way_km = distance_km(card.place, (payment.latitude, payment.longitude))
        hours = max(payment.at - card.at, MINUTE_MS) / HOUR_MS
        known = bool(card.weight)
        checks = {
            "velocity": sum(ms < MINUTE_MS for ms in ago) >= 3 or sum(ms < HOUR_MS for ms in ago) >= 10,
            "distance": known and way_km > 50 and way_km / hours > 900,
            "device": known and payment.device not in card.devices,
            "amount": known and payment.cents > 5 * card.cents / card.weight,
            "country": payment.country in rule.blocked,
        }
        return [reason for reason, holds in checks.items() if holds]


flow = hw.Flow("fraud-score")
path = flow.param("input", "", help="files of payments, such as 'pay/payments-*.jsonl'; generated if empty")
rules = flow.param("rules", "", help="files of rules, such as 'pay/rules-*.jsonl'")
output = flow.param("output", "suspicious.jsonl", help="file for the triggers, CloudEvents one a line")
out_of_order = flow.param("out_of_order", "2s", help="how far behind the latest event of its file an event may come")

source = hw.files(path) if path else story_events("payments")
payments = flow.source("payments", Payment, source, time="at", out_of_order=out_of_order, idle_after="1m")
changes: hw.Stream[Rule]
if rules or not path:
    rule_source = hw.files(rules) if rules else payment_rule_events()
    changes = flow.source("rules", Rule, rule_source, time="at", idle_after="1s")
else:
    changes = payments.flat_map(lambda payment: (), into=Rule, name="no-rules")
score = hw.Expiring(Score(), hw.ttl("90d"))
suspicious = payments.key_by("card").process("score", score, rules=changes.broadcast())
suspicious.trigger("card.suspicious", hw.to_jsonl(output))
flow.serve("scores", hw.state_of(suspicious), fields=("score", "reasons", "at"), index="score")
