"""A small state machine, a door, and a flow that runs it, for tests of single cases."""

from __future__ import annotations

from typing import Any

import headway as hw
from headway.testing import FlowTest


def door(**options: Any) -> hw.StateMachine[None]:
    given: dict[str, Any] = {"states": ("shut", "open", "gone"), "initial": "shut", "final": ("gone",)}
    events = {"open": hw.where(kind="open"), "shut": hw.where(kind="shut"), "break": hw.where(kind="break")}
    return hw.StateMachine("door", **{**given, "events": events, **options})


def whole_door() -> hw.StateMachine[None]:
    return door().on("shut", "open", to="open").on("open", "shut", to="shut").on(("shut", "open"), "break", to="gone")


def run(machine: hw.StateMachine[Any], **options: Any) -> FlowTest:
    declared = hw.Flow("doors")
    doors = declared.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    moves = doors.state_machine("door", machine, **options)
    moves.trigger("moved", hw.to_list([]))
    moves.side("illegal").trigger("illegal", hw.to_list([]))
    return FlowTest(declared)


def send(test: FlowTest, at: int, kind: str) -> None:
    test.send("events", {"key": "a", "at": at, "kind": kind})
