"""Flows with a fault each, as people plant them without noticing; and the same flow without one."""

from __future__ import annotations

HEAD = """
import random
import time
import headway as hw

MADE = [{"at": 1000 * n, "user": f"u{n * 7 % 11}", "tags": [f"t{n % 5}", f"t{n % 3}", "new"]} for n in range(300)]

class Seen(hw.State):
    count: int = 0
    tags: list[str] = []

SEEN = 0

"""
TAIL = """

flow = hw.Flow("planted")
logs = {"left": MADE[::2], "right": MADE[1::2]}
steps = flow.source("steps", hw.Json, hw.items(logs), time="at", out_of_order="5s")
steps.key_by("user").process("count", Count()).trigger("counted", hw.to_jsonl("counted.jsonl"))
"""
GOOD = """
class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx):
        state.count += 1
        state.tags = sorted(set(state.tags + event["tags"]))
        ctx.emit({"count": state.count})
"""
CLOCK = """
class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx):
        state.count += 1
        ctx.emit({"count": state.count, "made": time.time_ns()})
"""
CHANCE = """
class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx):
        state.count += 1
        if random.random() < 0.1:
            ctx.emit({"count": state.count})
"""
GLOBAL = """
class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx):
        global SEEN
        SEEN += 1
        state.count += 1
        ctx.emit({"count": state.count, "of": SEEN})
"""
SET_ORDER = """
class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx):
        state.tags = list(set(state.tags) | set(event["tags"]))
        ctx.emit({"first": state.tags[0]})
"""
DEFAULT = """
class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx, seen={}):
        seen[ctx.key] = seen.get(ctx.key, 0) + 1
        ctx.emit({"count": seen[ctx.key]})
"""


def flow_text(operator: str) -> str:
    return HEAD + operator + TAIL
