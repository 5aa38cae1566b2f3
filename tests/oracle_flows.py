"""Small flows for the tests of the oracle and of the kit: operators made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

import headway as hw
from headway.testing import OracleResult, run_oracle

Logs = dict[str, dict[str, list[Any]]]
Handler = Callable[[Any, Any, hw.Context[Any]], Any]


class Tally(hw.State):
    n: int = 0
    names: list[str] = []


class Run(hw.Operator[Any, Tally, hw.Json]):
    """An operator made of functions."""

    sides = {"side": hw.Json}

    def __init__(self, event: Handler, timer: Handler = lambda state, timer, ctx: None) -> None:
        self._event, self._timer = event, timer

    def on_event(self, state: Tally, event: Any, ctx: hw.Context[hw.Json]) -> None:
        self._event(state, event, ctx)

    def on_timer(self, state: Tally, timer: hw.Timer, ctx: hw.Context[hw.Json]) -> None:
        self._timer(state, timer, ctx)


def see(label: str) -> Run:
    """Emits each event it sees with a label."""
    return Run(lambda state, event, ctx: ctx.emit({"by": label, "key": ctx.key, "saw": event["n"]}))


def emit_each(values: Callable[[Any], list[hw.Json]]) -> Run:
    """Emits what a function makes of each event."""

    def on_event(state: Tally, event: Any, ctx: hw.Context[hw.Json]) -> None:
        for value in values(event):
            ctx.emit(value)

    return Run(on_event)


def source(flow: hw.Flow, name: str = "s", out_of_order: int = 0) -> hw.SourceStream[hw.Json]:
    return flow.source(name, hw.Json, hw.items([]), time="at", out_of_order=out_of_order)


def event(at: int, n: int = 0, key: Any = "a") -> hw.Json:
    return {"at": at, "n": n, "key": key}


def lines(result: OracleResult, name: str = "out") -> list[Any]:
    return [msgspec.json.decode(line) for line in result.outputs[name]]


def run(flow: hw.Flow, *events: Any, drain: bool = False) -> OracleResult:
    return run_oracle(flow, {"s": {"p": list(events)}}, drain=drain)


def keyed(event: Handler, timer: Handler = lambda state, timer, ctx: None) -> hw.Flow:
    """A flow of one operator."""
    flow = hw.Flow("f")
    source(flow).key_by("key").process("op", Run(event, timer)).to("out", hw.to_list([]))
    return flow
