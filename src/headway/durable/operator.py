"""The keyed operator that runs durable functions: a key is an instance, an event is what happens to it.

**What it is.** An instance is a coroutine that waits most of its life. What happened to it and what it did then is its
history, which is state of its key like any other: part of the epoch, moved with its key, restored after a crash. An
event of the key is a happening; the coroutine goes on from where it was, and gives commands: calls leave by a side
output, timers are timers of the key. So everything that holds for operators holds for functions, and nothing here knows
of crashes.

**Live and stored.** The coroutine itself cannot be stored. Instances that were active lately are kept as they are, up
to a number; any other is made anew by a replay of its history when something happens to it. Which of the two it was
makes no difference to what is emitted: that is the property of `headway.functions.instance`, and a test of its own.

**Blocked.** Where the code of today does something else than the history says, an instance must not go on: it is
blocked with the reason, and what happens to it is held until its code was mended (`retry`). All others go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Optional

import msgspec

from headway.basics.function_figures import ENDED
from headway.durable.calls import (
    CALLS,
    MESSAGES,
    OUTSIDE,
    CallRecord,
    FunctionEnded,
    Unclaimed,
    answer_of,
    call_of,
    cancel_of,
    side_of,
)
from headway.durable.live import LiveInstances
from headway.durable.meanings import calls_of, end_of, happening_of, keep_answer, left_open, show, signalled
from headway.durable.messages import (
    SCHEDULES,
    Body,
    Message,
    Reset,
    Resolve,
    Retry,
    Start,
    address_of,
    body_of,
    parts_of,
)
from headway.durable.state import BLOCKED, RUNNING, Answer, FunctionState
from headway.durable.tallies import count_end, count_phase, count_start, count_stray
from headway.durable.topics import CALL_TIMER, TopicCalls
from headway.errors import FunctionBlocked, UsageError
from headway.functions.cutting import Cut, cut_before
from headway.functions.declared import Callee, names_of_functions
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    Cancelled,
    Continued,
    Entry,
    Failure,
    Finished,
    FinishedBadly,
    Fired,
    Happening,
    Identity,
    Parent,
    Signalled,
    Started,
    TerminateAsked,
    Terminated,
    TimerCancelled,
    TimerSet,
    UpdateAnswered,
    UpdateAsked,
    decode,
    encode,
)
from headway.functions.instance import Instance
from headway.functions.recorded import Recorded, replayed
from headway.operators.base import Context, Operator, Timer
from headway.types.logs import Log

__all__ = ["UNCLAIMED", "FunctionOperator"]

UNCLAIMED: Final = "unclaimed"
_LIVE_MOST: Final = 20_000
_RETENTION: Final = "retention"
_END = {Finished: "completed", FinishedBadly: "failed", Cancelled: "cancelled", Terminated: "terminated"}

Ctx = Context[FunctionEnded]


class FunctionOperator(Operator[Message, FunctionState, FunctionEnded]):
    """Runs the functions of a group."""

    sides = {CALLS: CallRecord, MESSAGES: CallRecord, UNCLAIMED: Unclaimed}
    tallies = True

    def __init__(self, callees: Mapping[str, Callee], live_most: int = _LIVE_MOST) -> None:
        self._callees = callees
        self._live = LiveInstances(callees, live_most)
        self._topics = TopicCalls(callees)

    def on_event(self, state: FunctionState, event: Message, ctx: Ctx, /) -> None:
        """Something happens to an instance."""
        try:
            body = body_of(event)
        except msgspec.DecodeError as error:
            ctx.emit_to(UNCLAIMED, Unclaimed(to=event.to, body=event.body, reason=str(error)))
            return
        reason = self._start(state, body, ctx) if isinstance(body, Start) else self._tell(state, body, ctx)
        if reason:
            count_stray(body, ctx)
            ctx.emit_to(UNCLAIMED, Unclaimed(to=event.to, body=event.body, reason=reason))
        count_phase(state, ctx)

    def on_timer(self, state: FunctionState, timer: Timer, ctx: Ctx, /) -> None:
        """A timer of an instance is due, or it is to be forgotten."""
        if timer.name == _RETENTION:
            self._live.drop(ctx.key)
            state.status = ""
            count_phase(state, ctx)
            ctx.forget()
            return
        happening: Optional[Happening]
        if timer.name.startswith(CALL_TIMER):
            happening = self._topics.due(state, int(timer.name.removeprefix(CALL_TIMER)), ctx)
        else:
            happening = Fired(ctx.time, int(timer.name))
        if happening is not None:
            self._happen(state, happening, ctx)
        count_phase(state, ctx)

    def _start(self, state: FunctionState, body: Start, ctx: Ctx) -> str:
        """Start an instance, or not where there is one; returns why not where nobody is told otherwise."""
        name, _ = parts_of(ctx.key)
        function = self._live.function(name)
        if function is None:
            reason = f"there is no function {name!r}: there are {names_of_functions(self._callees)}"
            self._refuse(body, reason, ctx)
            ctx.forget()
            return reason
        if state.status:
            policy = body.id_reuse or function.id_reuse
            may_start = state.status in ENDED and (
                policy == "new" or (policy == "new_after_failure" and state.status != "completed")
            )
            if not may_start:
                return self._has_started(state, body, policy, ctx)
            self._clear(state, ctx)
            state.run += 1
        state.callers = [] if body.parent is None else [body.parent]
        state.started_by = body.key
        count_start(ctx)
        signals = () if body.signal is None else (signalled(body.signal, ctx.time),)
        started = Started(ctx.time, bytes(body.arguments), body.parent, signals=signals, traceparent=body.traceparent)
        self._begin(state, started, ctx)
        return ""

    def _has_started(self, state: FunctionState, body: Start, policy: str, ctx: Ctx) -> str:
        """There is an instance of this id, and it stays: its caller gets its end, or that it was refused."""
        if body.signal is not None:
            return self._tell(state, body.signal, ctx)
        if policy in ("reject", "new_after_failure") or (policy == "new" and state.status not in ENDED):
            reason = f"{ctx.key} is {state.status} already, and ids are used once (id_reuse={policy!r})"
            self._refuse(body, reason, ctx)
            return reason
        if body.parent is not None and state.status not in ENDED:
            state.callers.append(body.parent)
        elif body.parent is not None:
            self._answer(body.parent, state.run, *end_of(decode(state.history[-1])), ctx)
        return ""

    def _refuse(self, body: Start, reason: str, ctx: Ctx) -> None:
        if body.parent is not None:
            self._answer(body.parent, -1, b"null", Failure("StartRefused", reason, non_retryable=True), ctx)

    def _begin(self, state: FunctionState, started: Started, ctx: Ctx) -> None:
        """Begin a run; its time limit counts from now."""
        function = self._live.function(parts_of(ctx.key)[0])
        if function is not None and function.deadline_ms is not None:
            started = msgspec.structs.replace(started, deadline_ms=ctx.time + function.deadline_ms)
        state.status = RUNNING
        state.started_ms = ctx.time
        state.arguments = started.arguments.decode()
        self._happen(state, started, ctx)

    def _tell(self, state: FunctionState, body: Body, ctx: Ctx) -> str:
        """Something happens to an instance that should be there; returns why nothing came of it."""
        if not state.status:
            ctx.forget()
            # What goes to a schedule comes by here as well.
            return "" if ctx.key.startswith(SCHEDULES) else "there is no such instance"
        if isinstance(body, Reset):
            return self._reset(state, body, ctx)
        if isinstance(body, Retry):
            return self._retry(state, ctx) if state.status == BLOCKED else f"it is {state.status}, not blocked"
        if state.status in ENDED:
            # The answer to a call that nobody waits for any more is nothing to be told of, but for a message.
            return "" if isinstance(body, Resolve) and not body.step else f"it is {state.status}"
        reason, happening = "", happening_of(state, body, ctx.time)
        if isinstance(body, Resolve) and body.step:
            happening, reason = self._topics.reply(state, body, ctx)
        if happening is not None:
            self._happen(state, happening, ctx)
        return reason

    def _happen(self, state: FunctionState, happening: Happening, ctx: Ctx) -> None:
        """Let an instance go on with what happens to it."""
        if state.status == BLOCKED and not isinstance(happening, TerminateAsked):
            state.held.append(encode(happening))
            return
        try:
            instance = self._live.of(ctx.key, state)
            if isinstance(happening, UpdateAsked):
                refused = instance.refusal(happening)
                if refused is not None:
                    keep_answer(state, happening.update_id, Answer(error=str(refused)))
                    return
            entries = instance.take(happening)
        except FunctionBlocked as error:
            self._live.drop(ctx.key)
            if isinstance(happening, TerminateAsked):
                self._end_without_its_code(state, happening, ctx)
                return
            state.status = BLOCKED
            state.error = str(error)
            state.held.append(encode(happening))
            return
        except BaseException:
            self._live.drop(ctx.key)
            raise
        if not entries:
            return
        state.history.extend(map(encode, entries))
        self._live.keep(ctx.key, instance, state)
        self._perform(state, entries, instance, ctx)

    def _perform(self, state: FunctionState, entries: Sequence[Entry], instance: Instance, ctx: Ctx) -> None:
        """Do what the code has asked for."""
        name, instance_id = parts_of(ctx.key)
        identity = Identity(name, instance_id, state.run)
        show(state, instance)
        cancelled = {entry.number for entry in entries if isinstance(entry, CallCancelled)}
        calls = {called.number: called for called in calls_of(state, cancelled)}
        for number, entry in enumerate(entries, len(state.history) - len(entries)):
            if isinstance(entry, Called) and entry.kind != "token":
                ctx.emit_to(side_of(entry), call_of(identity, ctx.key, entry, ctx.time, instance.traceparent))
                self._topics.begin(state, entry, number, ctx)
            elif isinstance(entry, TimerSet):
                ctx.timer(str(entry.number), entry.at_ms)
            elif isinstance(entry, TimerCancelled):
                ctx.cancel(str(entry.number))
            elif isinstance(entry, CallCancelled) and entry.number in calls:
                self._take_back(state, calls[entry.number], identity, ctx)
            elif isinstance(entry, UpdateAnswered):
                failed = "" if entry.failure is None else str(entry.failure)
                keep_answer(state, entry.update_id, Answer("" if failed else entry.value.decode(), failed))
            elif isinstance(entry, Continued):
                self._continue(state, entry, ctx)
                return
            elif type(entry) in _END:
                self._end(state, entry, identity, ctx)

    def _take_back(self, state: FunctionState, called: Called, identity: Identity, ctx: Ctx) -> None:
        """Nobody waits for a call any more."""
        if called.kind != "token" and not self._topics.drop(state, called.number, ctx):
            ctx.emit_to(side_of(called), cancel_of(identity, ctx.key, called))

    def _end(self, state: FunctionState, entry: Entry, identity: Identity, ctx: Ctx) -> None:
        state.status = _END[type(entry)]
        state.ended_ms = ctx.time
        state.waits = []
        state.topics.clear()
        count_end(state, ctx)
        value, failure = end_of(entry)
        if failure is None:
            state.result = value.decode()
        else:
            state.error = str(failure) if isinstance(entry, FinishedBadly) else failure.message
        for timer in ctx.timers:
            ctx.cancel(timer)
        self._live.drop(ctx.key)
        function = self._live.function(identity.name)
        if function is not None:
            ctx.timer(_RETENTION, ctx.time + function.retention_ms)
        for caller in state.callers:
            self._answer(caller, state.run, value, failure, ctx)
        ctx.emit(
            FunctionEnded(
                function=identity.name,
                id=identity.id,
                run=state.run,
                status=state.status,
                result=state.result,
                error=state.error,
            )
        )

    def _end_without_its_code(self, state: FunctionState, asked: TerminateAsked, ctx: Ctx) -> None:
        """End an instance that is blocked: what it had under way is taken back, as far as its history says."""
        identity = Identity(*parts_of(ctx.key), state.run)
        calls = left_open(state.history)
        for called in calls:
            self._take_back(state, called, identity, ctx)
        last = Terminated(asked.reason)
        entries: list[Entry] = [asked, *(CallCancelled(called.number, by_close=True) for called in calls), last]
        state.history.extend(map(encode, entries))
        state.held.clear()
        self._end(state, last, identity, ctx)

    def _answer(self, caller: Parent, run: int, value: bytes, failure: Optional[Failure], ctx: Ctx) -> None:
        """Tell the call that has started a run what came of it."""
        identity, to = Identity(*parts_of(ctx.key), run), address_of(caller.identity.name, caller.identity.id)
        ctx.emit_to(MESSAGES, answer_of(identity, to, caller.identity.run, caller.call, value, failure))

    def _continue(self, state: FunctionState, entry: Continued, ctx: Ctx) -> None:
        """The run is over, and the next one of the same id begins."""
        began = decode(state.history[0])
        assert isinstance(began, Started)
        # Whoever waits for the answer to an update may still look.
        callers, updates, by = state.callers, state.updates, state.started_by
        self._clear(state, ctx)
        state.run += 1
        state.callers, state.updates, state.started_by = callers, updates, by
        started = Started(ctx.time, entry.arguments, began.parent, signals=entry.signals, traceparent=began.traceparent)
        self._begin(state, started, ctx)

    def _clear(self, state: FunctionState, ctx: Ctx) -> None:
        """Forget the run, but not which one it was."""
        self._leave_run(state, ctx)
        for name, value in msgspec.structs.asdict(FunctionState(run=state.run, phase=state.phase)).items():
            if not isinstance(value, Log):
                setattr(state, name, value)

    def _leave_run(self, state: FunctionState, ctx: Ctx) -> None:
        """A run is over, or another one begins."""
        self._live.drop(ctx.key)
        for timer in ctx.timers:
            ctx.cancel(timer)
        state.history.clear()
        state.held.clear()
        state.topics.clear()

    def _retry(self, state: FunctionState, ctx: Ctx) -> str:
        held = list(state.held)
        state.held.clear()
        state.status = RUNNING
        state.error = ""
        for data in held:
            happening: Any = decode(data)
            self._happen(state, happening, ctx)
        return ""

    def _reset(self, state: FunctionState, body: Reset, ctx: Ctx) -> str:
        """Go on before a call, in a run of its own: what comes for the run before is not for this one."""
        name, instance_id = parts_of(ctx.key)
        history = [decode(data) for data in state.history]
        try:
            cut = cut_before(history, body.to)
            recorded = Recorded(Identity(name, instance_id, state.code_run), tuple(cut.entries))
            instance = replayed(recorded, self._callees) if cut.entries else None
        except (UsageError, FunctionBlocked) as error:
            return f"it is not reset: {error}"
        before = Identity(name, instance_id, state.run)
        for called in left_open(state.history):
            # Another function is left alone: one that is called again gives what it has.
            if called.kind in OUTSIDE:
                self._take_back(state, called, before, ctx)
        kept = [decode(data) for data in state.held]
        self._leave_run(state, ctx)
        state.run, state.resets = state.run + 1, state.resets + 1 if cut.entries else 0
        state.status, state.ended_ms, state.result, state.error = RUNNING, 0, "", ""
        state.history.extend(map(encode, cut.entries))
        if instance is not None:
            self._live.keep(ctx.key, instance, state)
            show(state, instance)
            self._take_up(state, cut, instance, ctx)
        for happening in [*cut.at(ctx.time), *(one for one in kept if isinstance(one, Signalled))]:
            begin: Any = self._begin if isinstance(happening, Started) else self._happen
            begin(state, happening, ctx)
        return ""

    def _take_up(self, state: FunctionState, cut: Cut, instance: Instance, ctx: Ctx) -> None:
        """What a history that was cut back has under way is done by the new run."""
        places = {entry.number: place for place, entry in enumerate(cut.entries) if isinstance(entry, Called)}
        identity = Identity(*parts_of(ctx.key), state.run)
        for timer in cut.timers:
            ctx.timer(str(timer.number), timer.at_ms)
        for called in cut.calls:
            if called.kind in ("signal", "start"):
                self._happen(state, Answered(ctx.time, called.number), ctx)  # It is on its way since it was made.
            elif called.kind != "token":
                ctx.emit_to(side_of(called), call_of(identity, ctx.key, called, ctx.time, instance.traceparent))
                self._topics.begin(state, called, places[called.number], ctx)
