"""The one of two flows that talk: a pattern finds doubtful orders, and another one what was found out about them.

A doubt goes to the other flow as a webhook. Its function posts a verdict back to `/events`; the pattern that waits for
the verdict then tells the function, by a signal, that the order is settled.
"""

from __future__ import annotations

import json
from typing import Literal
from urllib.request import Request, urlopen

import headway as hw
from headway.results import Match


class Happening(hw.Event):
    """What happens to an order."""

    order: str
    kind: Literal["placed", "paid", "doubted", "verdict"]
    cents: int = 0
    verdict: str = ""


class Doubt(hw.Event):
    """A large order that is not paid before somebody has doubts."""

    order: str
    cents: int


class Settled(hw.Event):
    """A doubt with what has come of it."""

    order: str
    verdict: str


def doubt_of(match: Match[Happening]) -> Doubt:
    [placed] = match.matched["placed"]
    return Doubt(order=placed.order, cents=placed.cents)


def settled_of(match: Match[Happening]) -> Settled:
    [verdict] = match.matched["verdict"]
    return Settled(order=verdict.order, verdict=verdict.verdict)


flow = hw.Flow("orders")
checks = flow.param("checks", "http://127.0.0.1:1", help="where the other flow listens")

events = flow.source("events", Happening, hw.http_source("/events"), time=hw.INGESTION_TIME).key_by("order")
doubtful = hw.pattern("placed", kind="placed").next("doubted", kind="doubted")
doubts = events.match("doubt", doubtful, select=doubt_of)
doubts.trigger("order.doubted", hw.webhook(f"{checks}/doubts"), retry_first="50ms", retry_longest="500ms")

answered = hw.pattern("doubted", kind="doubted").followed_by("verdict", kind="verdict")
settled = events.match("settled", answered, after=hw.skip_past_last(), select=settled_of)
settled.to("settled_file", hw.to_jsonl("settled.jsonl"))


def signal(trigger: hw.Trigger[Settled]) -> None:
    """Tell the function; what it raises is tried again."""
    url = f"{checks}/v1/functions/check_order/{trigger.value.order}/signals/settled"
    headers = {"content-type": "application/json", "idempotency-key": trigger.id}
    with urlopen(Request(url, json.dumps(trigger.value.verdict).encode(), headers), timeout=5):
        pass


settled.trigger("order.settled", hw.call(signal), retry_first="50ms", retry_longest="500ms")
