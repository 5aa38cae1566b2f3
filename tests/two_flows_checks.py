"""The other one of two flows that talk: each doubt starts a function, which looks twice, says so, and hears the end."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.request import Request, urlopen

import headway as hw
from headway import durable_workflow


class Doubt(hw.Event):
    """As the other flow tells it."""

    order: str
    cents: int


@durable_workflow
async def check_order(context: Any, order: str, cents: int) -> str:
    first, second = await context.gather(context.call("look", order, 1), context.call("look", order, 2))
    await context.sleep("20ms")
    verdict = "good" if (first + second + cents) % 2 else "bad"
    await context.call("tell", order, verdict)
    return f"{verdict}, and settled as {await context.wait('settled', returns=str)}"


flow = hw.Functions("checks", [check_order], live_most=5)
orders = flow.param("orders", "http://127.0.0.1:1", help="where the other flow listens")
PROMPT = hw.RetryPolicy(initial="50ms", maximum_interval="500ms")


def effect(text: str) -> None:
    """One line in a file, whole or not at all."""
    file = os.open("effects.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\n".encode())
    os.close(file)


@flow.step
async def look(order: str, number: int) -> int:
    effect(f"{order}/look-{number}")
    return len(order) * number


@flow.step(retry=PROMPT)
def tell(order: str, verdict: str) -> None:
    """Post the verdict to the other flow; a repeat has the same key."""
    effect(f"{order}/tell")
    event = {"order": order, "kind": "verdict", "verdict": verdict}
    headers = {"content-type": "application/json", "idempotency-key": f"{order}/verdict"}
    with urlopen(Request(f"{orders}/events", json.dumps(event).encode(), headers), timeout=5):
        pass


doubts = flow.source("doubts", Doubt, hw.http_source("/doubts"), time=hw.INGESTION_TIME).key_by("order")
doubts.start(check_order, id="order", args=lambda doubt: (doubt.order, doubt.cents))
flow.ended.to("ended", hw.to_jsonl("ended.jsonl"))
