"""How many instances there are of each kind, and how long they took: counted as they change, never by looking at all.

The counts are kept with the state, so that they are exact over crashes and restarts. Names of functions are few, and so
are names of counts.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

from headway.basics.function_figures import ASLEEP, DURATION_BOUNDS_S, WORKING
from headway.durable.messages import Body, Resolve, parts_of
from headway.durable.state import RUNNING, FunctionState
from headway.operators.base import Context

__all__ = ["count_end", "count_phase", "count_start", "count_stray"]

_CALLS: Final = ("step ", "query ", "function ", "start ")


def count_phase(state: FunctionState, ctx: Context[Any]) -> None:
    """Something has happened to an instance: it may count as another one now."""
    phase = state.status
    if phase == RUNNING:
        phase = WORKING if any(wait.startswith(_CALLS) for wait in state.waits) else ASLEEP
    before = state.phase
    if phase != before:
        name, _ = parts_of(ctx.key)
        if before:
            ctx.tally(f"{name}/{before}", -1)
        if phase:
            ctx.tally(f"{name}/{phase}", 1)
        state.phase = phase


def count_start(ctx: Context[Any]) -> None:
    """A function is started."""
    ctx.tally(f"{parts_of(ctx.key)[0]}/started", 1)


def count_stray(body: Body, ctx: Context[Any]) -> None:
    """Something came for nobody; replies by a topic are counted."""
    if isinstance(body, Resolve) and body.step:
        ctx.tally(f"{parts_of(ctx.key)[0]}/stray", 1)


def count_end(state: FunctionState, ctx: Context[Any]) -> None:
    """A run has come to its end."""
    name, _ = parts_of(ctx.key)
    took_ms = max(0, ctx.time - state.started_ms)
    ctx.tally(f"{name}/ended {state.status}", 1)
    ctx.tally(f"{name}/took {bisect_left(DURATION_BOUNDS_S, took_ms / 1_000)}", 1)
    ctx.tally(f"{name}/took ms", took_ms)
