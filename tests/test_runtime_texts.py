"""Texts that are more than texts: members of enumerations as keys and as names of timers."""

from __future__ import annotations

from enum import Enum
from typing import Any

from hypothesis import given, settings
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check
from tests.workflow_harness import events

import headway as hw


class Color(str, Enum):
    RED = "red"
    BLUE = "blue"


class Wait(str, Enum):
    LONG = "long"
    SHORT = "short"


class Waits(hw.Operator[hw.Json, hw.State]):
    """Sets, moves and cancels timers by names of an enumeration, and by the same names as plain text."""

    def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> None:
        if event["kind"] == "a":
            ctx.timer(Wait.LONG, ctx.time + 9)
            ctx.timer("short", ctx.time + 2)
        elif event["kind"] == "b":
            ctx.cancel("long")
        else:
            ctx.emit({"long": ctx.due("long"), "short": ctx.due(Wait.SHORT)})

    def on_timer(self, state: hw.State, timer: hw.Timer, ctx: hw.Context) -> None:
        ctx.emit({"is_long": timer.name == Wait.LONG, "at": timer.at})


@settings(SLOW, max_examples=10)
@given(drawn=events(), where=conditions())
def test_they_are_the_texts_that_they_stand_for(drawn: list[dict[str, Any]], where: Conditions) -> None:
    def make(input_of: Any, output_of: Any) -> hw.Flow:
        flow = hw.Flow("colors")
        drawn = flow.source("events", hw.Json, input_of("events"), time="at", out_of_order=50)
        keyed = drawn.key_by(lambda event: Color.RED if event["key"] == "a" else Color.BLUE)
        keyed.process("waits", Waits()).trigger("out", output_of("out"))
        return flow

    lines = check(make, {"events": {"0": drawn}}, where)["out"]
    assert {line["subject"] for line in lines} <= {"red", "blue"}
