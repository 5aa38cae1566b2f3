"""Calls that are answered by a message: requests of them, replies to them, and the operator's part between the two.

What is known of such a call beside its history is in the row of its instance: which attempt is under way, and since
when. All that is done here follows from records of the logs and from timers of the key, so a replay does the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Optional, Union

import msgspec

from headway.basics.times import format_duration
from headway.durable.calls import CALLS, CallRecord, FunctionEnded, call_of
from headway.durable.messages import Resolve, parts_of
from headway.durable.state import FunctionState, TopicCall
from headway.functions.declared import Callee
from headway.functions.history import Answered, Called, Failed, Failure, Identity, Started, decode
from headway.functions.options import CallOptions
from headway.operators.base import Context
from headway.operators.given import Given
from headway.steps.attempt import Outcome, outcome_of
from headway.steps.policy import left_ms, ran_of
from headway.steps.topic import TopicStep

__all__ = ["CALL_TIMER", "AreFor", "Replies", "Requests", "TopicCalls"]

CALL_TIMER: Final = "call "
"""Stands before the number of a call in the name of its timer."""
_encode: Final = msgspec.json.Encoder().encode

Ctx = Context[FunctionEnded]
Ended = Union[Answered, Failed]


class Requests(Given):
    """Makes of a call what is published."""

    def __init__(self, step: TopicStep) -> None:
        self._step = step

    def arguments(self) -> dict[str, Any]:
        """The step's name, and the member that says whose the request is."""
        return {"step": self._step.name, "key": self._step.key}

    def __call__(self, record: CallRecord) -> dict[str, Any]:
        """The request."""
        return self._step.request(record.key, record.arguments.encode(), record.traceparent)


class AreFor(Given):
    """Whether a message in a topic of replies is for this step, and not for another one that shares the topic.

    What is for no step that there is counts as for this one, so that it is refused, and not passed over in silence.
    """

    def __init__(self, step: TopicStep, callees: Mapping[str, Callee]) -> None:
        self._step = step
        self._callees = callees

    def arguments(self) -> dict[str, Any]:
        """The step's name, and the member that says whose the reply is."""
        return {"step": self._step.name, "key": self._step.key}

    def __call__(self, message: Any) -> bool:
        """Whether it is."""
        name = self._step.asked_step(message)
        return name is None or name == self._step.name or not isinstance(self._callees.get(name), TopicStep)


class Replies(Given):
    """Makes of a reply what answers its call."""

    def __init__(self, step: TopicStep, callees: Mapping[str, Callee]) -> None:
        self._step = step
        self._callees = callees

    def arguments(self) -> dict[str, Any]:
        """The step's name, and the member that says whose the reply is."""
        return {"step": self._step.name, "key": self._step.key}

    def __call__(self, message: Any) -> CallRecord:
        """The answer. Raises `ValueError` for what is the reply to no call of a function that there is."""
        found = self._step.reply(message)
        name, _ = parts_of(found.caller)
        if getattr(self._callees.get(name), "kind", "") != "function":
            msg = f"a reply to {self._step.name!r} has {self._step.key}={found.key!r:.100}: there is no such function"
            raise ValueError(msg)
        return CallRecord(
            key="",
            kind="reply",
            name=self._step.name,
            to=found.caller,
            run=found.run,
            call=found.call,
            arguments=found.value.decode(),
            failure="" if found.failure is None else _encode(found.failure).decode(),
        )


class TopicCalls:
    """What the operator does about such calls. Those of other steps are none of its business."""

    def __init__(self, callees: Mapping[str, Callee]) -> None:
        self._callees = callees

    def begin(self, state: FunctionState, called: Called, entry: int, ctx: Ctx) -> None:
        """A call has left, which is the history's entry of this number."""
        step = self._step_of(called)
        if step is not None:
            call = state.topics[str(called.number)] = TopicCall(at_ms=ctx.time, entry=entry)
            self._arm(call, called, _options_of(called, step), ctx)

    def drop(self, state: FunctionState, number: int, ctx: Ctx) -> bool:
        """A call is answered, or nobody waits for it any more; returns whether it was one of these."""
        if state.topics.pop(str(number), None) is None:
            return False
        ctx.cancel(f"{CALL_TIMER}{number}")
        return True

    def reply(self, state: FunctionState, body: Resolve, ctx: Ctx) -> tuple[Optional[Ended], str]:
        """What a reply means for an instance; or why it is for nobody."""
        call = state.topics.get(str(body.call)) if body.run == state.run else None
        called = None if call is None else _called(state, call)
        if call is None or called is None or called.name != body.step:
            return None, f"nobody waits for this reply to {body.step!r}: it has come before, or too late"
        if body.failure is None:
            self.drop(state, body.call, ctx)
            return Answered(ctx.time, body.call, bytes(body.value)), ""
        if call.is_pausing:
            return None, f"the attempt of {body.step!r} that it answers has failed before"
        outcome = Outcome(failure=body.failure, types=(body.failure.type, "ReplyError"))
        return self._attempt_failed(state, call, called, outcome, ctx), ""

    def due(self, state: FunctionState, number: int, ctx: Ctx) -> Optional[Failed]:
        """The timer of a call has fired: the attempt took too long, or the pause behind it is over."""
        call = state.topics.get(str(number))
        called = None if call is None else _called(state, call)
        if call is None or called is None:
            return None
        step = self._step_of(called)
        if step is None:
            self.drop(state, number, ctx)
            told = f"{called.name!r} is no topic step any more: nobody reads its replies"
            return Failed(ctx.time, number, Failure("UnknownStep", told, non_retryable=True))
        options = _options_of(called, step)
        left = left_ms(call.at_ms, options, ctx.time)
        if call.is_pausing and (left is None or left > 0):
            call.is_pausing = False
            call.attempt += 1
            began = decode(state.history[0])
            traceparent = began.traceparent if isinstance(began, Started) else ""
            identity = Identity(*parts_of(ctx.key), state.run)
            ctx.emit_to(CALLS, call_of(identity, ctx.key, called, ctx.time, traceparent))
            self._arm(call, called, options, ctx)
            return None
        took = format_duration(options.attempt_timeout_ms or 0)
        late = TimeoutError(f"no reply in {took} (attempt_timeout)")
        return self._attempt_failed(state, call, called, outcome_of(late), ctx)

    def _attempt_failed(
        self, state: FunctionState, call: TopicCall, called: Called, outcome: Outcome, ctx: Ctx
    ) -> Optional[Failed]:
        """What follows from a failure: the call has failed, or is tried again after a pause."""
        step = self._step_of(called)
        options = CallOptions() if step is None else _options_of(called, step)
        ran = ran_of(outcome, options, call.attempt, left_ms(call.at_ms, options, ctx.time))
        if ran.retry is None:
            self.drop(state, called.number, ctx)
            assert ran.failure is not None
            return Failed(ctx.time, called.number, ran.failure)
        call.is_pausing = True
        ctx.timer(f"{CALL_TIMER}{called.number}", ctx.time + round(1_000 * (ran.retry.retry_after_s or 0)))
        return None

    @staticmethod
    def _arm(call: TopicCall, called: Called, options: CallOptions, ctx: Ctx) -> None:
        """Be woken when a reply is overdue."""
        ends = [] if options.timeout_ms is None else [call.at_ms + options.timeout_ms]
        ends += [] if options.attempt_timeout_ms is None else [ctx.time + options.attempt_timeout_ms]
        if ends:
            ctx.timer(f"{CALL_TIMER}{called.number}", min(ends))

    def _step_of(self, called: Called) -> Optional[TopicStep]:
        found = self._callees.get(called.name)
        return found if isinstance(found, TopicStep) and called.kind == "step" else None


def _called(state: FunctionState, call: TopicCall) -> Optional[Called]:
    entry = decode(state.history[call.entry])
    return entry if isinstance(entry, Called) else None


def _options_of(called: Called, step: TopicStep) -> CallOptions:
    return step.options if called.options is None else called.options.over(step.options)
