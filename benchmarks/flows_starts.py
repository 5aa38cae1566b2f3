"""The flow of the case `starts`: a function that ends at once, started by a pattern or by HTTP."""

from __future__ import annotations

import os
import time
from typing import Any

import headway as hw
from headway.results import Match

TIMES = os.environ.get("HEADWAY_BENCH_TIMES", os.devnull)
EVENTS = os.environ.get("HEADWAY_BENCH_EVENTS", "")
_times = os.open(TIMES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@hw.durable_workflow
async def review(context: Any, number: int) -> int:
    """Note that it was started."""
    os.write(_times, f"{number} 1 {time.time_ns()}\n".encode())
    return number


def number_of(match: Match[Any]) -> tuple[int]:
    """The argument of the function."""
    return (match.matched["left"][0]["number"],)


flow = hw.Functions("starts", [review])
if EVENTS:
    carts = flow.source("carts", hw.Json, hw.files(EVENTS), time="at").key_by("cart")
    left = carts.match("left", hw.pattern("added", kind="add").followed_by("left", kind="leave"))
    left.start(review, id=lambda match: match.matched["left"][0]["cart"], args=number_of)
