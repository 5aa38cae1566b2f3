"""The keyed operator that runs schedules: a key is a schedule.

**What is due is told through the log.** A timer of the key says that a time has come. What follows depends on how late
that is: after a week in which no run was there, a schedule is to catch up. Handlers have no clock, on purpose. So the
timer only emits a message to the schedule itself, which is a record of a log; it comes back with the time at which the
log took it, and that is now. Which starts happen is therefore a function of what is in the logs, and a run that begins
again after a crash does the same. A start has an id that contains the time that was due, so none happens twice.

**Ends come back.** Unless both may run, a schedule calls its function as a parent calls a child, so that it is told of
the end.

**Changed and removed.** Each run begins with a message to each schedule that the code has, with its timetable. Another
timetable counts from then on. A schedule that the code does not have any more starts nothing, and is forgotten when
anything is told to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Optional

import msgspec

from headway.durable.calls import MESSAGES, CallRecord
from headway.durable.messages import (
    SCHEDULES,
    Announced,
    Due,
    Message,
    Pause,
    Resolve,
    Resume,
    Trigger,
    body_of,
    parts_of,
)
from headway.durable.schedules import Schedule, due_times, to_be_started
from headway.functions.options import CallOptions
from headway.operators.base import Context, Operator, Timer
from headway.types.schema import Json, State

__all__ = ["ScheduleOperator", "ScheduleState"]

_DUE: Final = "due"
_BUFFERED_MOST: Final = 1_000
_encode: Final = msgspec.json.Encoder().encode

Ctx = Context[Json]


class ScheduleState(State):
    """The row of one schedule."""

    timetable: str = ""
    """What the code said when it was last announced."""
    next_ms: int = 0
    """When it is due next; 0 where it is not."""
    paused: bool = False
    reason: str = ""
    """Why it is paused, for people."""
    calls: int = 0
    """How many starts there were."""
    last_ms: int = 0
    """The time that was due when something was last started."""
    last_id: str = ""
    running: dict[str, str] = {}
    """The ids of those that run, by the numbers of their calls; not kept where all may run at once."""
    buffered: list[int] = []
    """Times that were due and wait for the end of what runs."""
    skipped: int = 0
    """How often nothing was started because what was started before still ran."""
    missed: int = 0
    """How often nothing was started because it was too late."""


class ScheduleOperator(Operator[Message, ScheduleState, Json]):
    """Runs the schedules of a group of functions."""

    sides = {MESSAGES: CallRecord}

    def __init__(self, schedules: Mapping[str, Schedule]) -> None:
        self._schedules = schedules

    def on_event(self, state: ScheduleState, event: Message, ctx: Ctx, /) -> None:
        """Something is told to a schedule."""
        schedule = self._schedules.get(parts_of(ctx.key)[1])
        if schedule is None:
            ctx.forget()
            return
        body = body_of(event)
        if isinstance(body, Announced):
            self._announced(state, schedule, ctx)
        elif isinstance(body, Due):
            self._due(state, schedule, body.at_ms, ctx)
        elif isinstance(body, Resolve):
            self._ended(state, schedule, str(body.call), ctx)
        elif isinstance(body, Pause):
            state.paused, state.reason, state.next_ms = True, body.reason, 0
            ctx.cancel(_DUE)
        elif isinstance(body, Resume):
            state.paused, state.reason = False, ""
            self._arm(state, schedule.timetable.next_after(ctx.time), ctx)
        elif isinstance(body, Trigger):
            self._act(state, schedule, ctx.time, ctx)

    def on_timer(self, state: ScheduleState, timer: Timer, ctx: Ctx, /) -> None:
        """A time has come: how late that is, is known when this comes back."""
        if parts_of(ctx.key)[1] not in self._schedules:
            ctx.forget()
            return
        due = CallRecord(
            key=f"{ctx.key}.due.{state.next_ms}", kind="due", name="", to=ctx.key, arguments=str(state.next_ms)
        )
        ctx.emit_to(MESSAGES, due)

    def _announced(self, state: ScheduleState, schedule: Schedule, ctx: Ctx) -> None:
        text = schedule.timetable.text
        if state.timetable != text:
            state.timetable = text
            if not state.paused:
                self._arm(state, schedule.timetable.next_after(ctx.time), ctx)

    def _arm(self, state: ScheduleState, next_ms: Optional[int], ctx: Ctx) -> None:
        state.next_ms = next_ms or 0
        if next_ms is None:
            ctx.cancel(_DUE)
        else:
            ctx.timer(_DUE, next_ms)

    def _due(self, state: ScheduleState, schedule: Schedule, first_ms: int, ctx: Ctx) -> None:
        if state.paused or first_ms != state.next_ms:
            return  # It was paused or changed meanwhile.
        due, next_ms = due_times(schedule.timetable, first_ms, ctx.time)
        starts = to_be_started(schedule, due, ctx.time, is_last=next_ms is None or next_ms > ctx.time)
        state.missed += len(due) - len(starts)
        for due_ms in starts:
            self._act(state, schedule, due_ms, ctx)
        self._arm(state, next_ms, ctx)

    def _act(self, state: ScheduleState, schedule: Schedule, due_ms: int, ctx: Ctx) -> None:
        """A time is due, and not missed."""
        overlap = schedule.overlap
        if overlap == "allow" or not state.running:
            self._start(state, schedule, due_ms, ctx)
        elif overlap in ("cancel", "terminate"):
            state.skipped += len(state.buffered)
            state.buffered = [due_ms]
            for number, instance_id in state.running.items():
                self._end(schedule, number, instance_id, overlap, ctx)
        elif overlap != "skip" and len(state.buffered) < (1 if overlap == "buffer_one" else _BUFFERED_MOST):
            state.buffered.append(due_ms)
        else:
            state.skipped += 1

    def _start(self, state: ScheduleState, schedule: Schedule, due_ms: int, ctx: Ctx) -> None:
        state.calls += 1
        state.last_ms, state.last_id = due_ms, schedule.id_at(due_ms)
        is_awaited = schedule.overlap != "allow"
        if is_awaited:
            state.running[str(state.calls)] = state.last_id
        start = CallRecord(
            key=f"{ctx.key}.start.{state.last_id}.{state.calls}",
            kind="function" if is_awaited else "start",
            name=schedule.function.name,
            caller=ctx.key if is_awaited else "",
            call=state.calls,
            to=state.last_id,
            arguments=schedule.arguments_at(due_ms).decode(),
            at_ms=ctx.time,
        )
        ctx.emit_to(MESSAGES, start)

    def _end(self, schedule: Schedule, number: str, instance_id: str, how: str, ctx: Ctx) -> None:
        options = CallOptions(parent_close="terminate" if how == "terminate" else "cancel")
        cancel = CallRecord(
            key=f"{ctx.key}.{how}.{number}",
            kind="cancel",
            name=schedule.function.name,
            caller=ctx.key,
            to=instance_id,
            options=_encode(options).decode(),
        )
        ctx.emit_to(MESSAGES, cancel)

    def _ended(self, state: ScheduleState, schedule: Schedule, number: str, ctx: Ctx) -> None:
        if state.running.pop(number, None) is not None and not state.running and state.buffered:
            self._start(state, schedule, state.buffered.pop(0), ctx)


def is_told_to_schedules(message: Message) -> bool:
    """Whether a message is for a schedule."""
    return message.to.startswith(f"{SCHEDULES}/")
