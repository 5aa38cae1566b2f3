"""What a context and an instance share: the run's loop, its open calls, timers, signals and conditions.

The context is the side of the user's code, the instance that of whoever feeds happenings. Everything that the code can
set off goes through here, and nothing does unless a round runs: `is_deaf` is asked first.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Optional

import msgspec

from headway.basics.jsontext import to_json
from headway.errors import FunctionBlocked, UsageError
from headway.functions.awaitables import Call, ConditionWait, SignalWait, Timer, inert
from headway.functions.declared import Callee, DurableFunction
from headway.functions.failures import ReadOnly, error_of
from headway.functions.history import (
    CallCancelled,
    Called,
    CallKind,
    Continued,
    Failure,
    Identity,
    Signalled,
    Started,
    TimerCancelled,
)
from headway.functions.journal import Journal, describe
from headway.functions.loop import STEPS_MAX, Loop
from headway.functions.options import STEP_OPTIONS, CallOptions
from headway.functions.search import SearchFields
from headway.functions.tasks import NOT_THE_CODES, Future, Interrupted
from headway.functions.updates import Updates

__all__ = ["Core", "Undo"]

_SENT: Final = ("signal", "start")
"""Kinds of calls that cannot be taken back once they are on their way."""

_DEAF_MAX: Final = 10_000
"""How often code may ask without being heard, beyond what a round may do, before it is told to stop."""

_loop_class: Final[Any] = Loop


class Undo(msgspec.Struct, frozen=True):
    """A call that takes back what was done."""

    kind: CallKind
    name: str
    arguments: bytes
    to: str
    options: Optional[CallOptions]


class Core:
    """The run of one function, below its context and its instance."""

    def __init__(
        self,
        function: DurableFunction[Any],
        identity: Identity,
        callees: Mapping[str, Callee],
        steps_max: int = STEPS_MAX,
    ) -> None:
        self.function = function
        self.identity = identity
        self.callees = callees
        self.loop: Loop = _loop_class(self, refused=self.refuse, steps_max=steps_max)
        self.journal = Journal(self.loop.abandon)
        self.loop.silent = self.is_silent
        self.started = Started(0)
        self.calls: dict[int, Call] = {}
        self.children: dict[int, Called] = {}
        self.timers: dict[int, tuple[int, Callable[[], None]]] = {}
        self.signals: dict[str, deque[Signalled]] = {}
        self.waiting: dict[str, deque[SignalWait]] = {}
        self.conditions: list[ConditionWait] = []
        self.undos: list[Undo] = []
        self.updates = Updates(self)
        self.state: dict[str, Any] = {}
        self.search = SearchFields(function.search)
        self.ended_by: Optional[Continued] = None
        self.interruption: Optional[BaseException] = None
        self._children_made = 0
        self._commands_left = steps_max
        self._steps_max = steps_max
        self._randoms: dict[str, random.Random] = {}

    # Who may do what, and when.

    def is_deaf(self) -> bool:
        """Whether what the code asks for now has no effect: no round runs, or the run is over.

        Raises `ReadOnly` for what a query, a condition or the check of an update asks for.
        """
        if self.loop.is_looking:
            msg = f"{self.identity}: queries, conditions and checks of updates only look: they cannot call or wait"
            raise ReadOnly(msg)
        if not self.loop.is_live:
            self._commands_left -= 1
            if self._commands_left < -_DEAF_MAX:
                # It asks on and on and never waits: only this ends it, unless it catches that as well.
                raise Interrupted
            return True
        if sys.exc_info()[0] in NOT_THE_CODES:
            # Caught by a bare `except`, which goes on as if it were an outcome of what it awaited.
            self.interruption = sys.exc_info()[1]
            self.loop.abandon()
            return True
        self._commands_left -= 1
        if self._commands_left < 0:
            self._commands_left = 0
            self.block(f"it has done more than {self._steps_max} things without waiting for anything")
        return self.loop.is_dead

    def is_silent(self) -> bool:
        """Whether logs are not written: this was told before, or is not to be heard."""
        return self.journal.is_replaying or not (self.loop.is_live or self.loop.is_looking)

    def looking(self, look: Callable[[], Any]) -> Any:
        """What `look` gives; it can do nothing meanwhile."""
        loop = self.loop
        before, loop.is_looking = loop.is_looking, True
        try:
            return look()
        finally:
            loop.is_looking = before

    def refuse(self, message: str) -> None:
        """Code has asked for what a durable function cannot have."""
        if self.loop.is_live:
            self.block(message)

    def block(self, why: str) -> None:
        """The run cannot go on as it is written."""
        self.journal.block(FunctionBlocked(f"function {self.identity} is blocked: {why}"))

    def run(self) -> None:
        """Step the code until nothing can go on; conditions are looked at whenever all else waits."""
        self._commands_left = self._steps_max
        self.loop.run()
        while self.conditions and self._met():
            self.loop.run()

    def _met(self) -> bool:
        """Has those go on whose condition holds; whether there was one."""
        if self.loop.is_dead:
            return False
        self._commands_left -= 1
        if self._commands_left < 0:
            self.block("its conditions hold again and again, and nothing is waited for")
            return False
        met = False
        for wait in tuple(self.conditions):
            if wait.done():
                self.conditions.remove(wait)
            elif wait.look(self):
                met = True
        return met

    def release(self) -> None:
        """Let go of all that points back here, once nothing of it runs any more.

        Else each instance that is dropped would wait for the collector, which looks rarely where millions of objects
        live.
        """
        for call in self.calls.values():
            call.leave()
        for held in (self.timers, self.calls, self.waiting, self.conditions):
            held.clear()
        self.loop.release()

    def end_with(self, command: Continued) -> None:
        """The run ends here: nothing that its code does from now on has an effect."""
        self.ended_by = command
        self.loop.abandon()

    # Calls.

    def call(
        self,
        kind: CallKind,
        name: str,
        arguments: bytes,
        decode: Callable[[bytes], Any],
        *,
        to: str = "",
        options: Optional[CallOptions] = None,
    ) -> Future[Any]:
        """A call leaves now; what it gives is awaited."""
        if self.is_deaf():
            return inert(self.loop)
        number = self.journal.call(kind, name, arguments, to, options)
        if not number:
            return inert(self.loop)
        call = Call(self, Called(number, kind, name, arguments, to, options), decode)
        self.calls[number] = call
        if kind == "start":
            self.children[number] = call.called
        return call

    def resolved(
        self, step: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], options: Optional[CallOptions]
    ) -> tuple[Any, ...]:
        """The kind, name, encoded arguments, decoder and options of a call, which go before what is declared.

        Raises `UsageError` for what cannot be called, and for arguments and options that it does not take.
        """
        if isinstance(step, str):
            found = self.callees.get(step)
            if found is None:
                if options is not None:
                    options.check_taken(STEP_OPTIONS, f"step {step!r}")
                return "step", step, _by_name(step, arguments, keywords), msgspec.json.decode, options
            step = found
        elif not isinstance(step, Callee):
            msg = (
                f"context.call({step!r:.100}, ...): expected the name of a step, a declared step, or a durable function"
            )
            raise UsageError(msg)
        if options is not None:
            options.check_taken(step.takes, f"{step.kind} {step.name!r}")
        return (
            step.kind,
            step.name,
            step.encode_arguments(*arguments, **keywords),
            step.decode_result,
            step.options if options is None else options.over(step.options),
        )

    def add_undo(
        self, step: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], options: Optional[CallOptions]
    ) -> None:
        """Keeps a call for the case that the function fails."""
        kind, name, encoded, _, chosen = self.resolved(step, arguments, keywords, options)
        if not self.is_deaf():
            to = self.next_child_id() if kind == "function" else ""
            self.undos.append(Undo(kind, name, encoded, to, chosen))

    def answered(self, number: int, value: bytes) -> None:
        """A call has its result."""
        call = self.calls.pop(number)
        call.leave()
        try:
            decoded = call.decode(value)
        except Exception as error:
            failure = Failure("ResultError", f"its result is not of the declared type: {error}")
            call.set_exception(error_of(failure, describe(call.called)))
        else:
            call.set_result(decoded)

    def failed(self, number: int, failure: Failure) -> None:
        """A call has failed for good."""
        call = self.calls.pop(number)
        call.leave()
        call.set_exception(error_of(failure, _named(call.called)))

    def call_cancelled(self, call: Call) -> None:
        """Nobody waits for a call any more."""
        number = call.called.number
        call.leave()
        if self.calls.pop(number, None) is not None and self.loop.is_live and call.called.kind not in _SENT:
            self.journal.note(CallCancelled(number))

    def next_child_id(self) -> str:
        """The id of a child that was given none: the same in each replay."""
        self._children_made += 1
        run = f".{self.identity.run}" if self.identity.run else ""
        return f"{self.identity.id}{run}.{self._children_made}"

    # Timers.

    def set_timer(self, at_ms: int, fire: Callable[[], None]) -> Callable[[], None]:
        """Have `fire` called when its time comes; gives what cancels it. The loop's timers come this way, too."""
        number = 0 if self.is_deaf() else self.journal.timer(at_ms)
        if not number:
            return _nothing
        timers, loop, journal = self.timers, self.loop, self.journal
        timers[number] = (at_ms, fire)

        def cancel() -> None:
            if timers.pop(number, None) is not None and loop.is_live:
                journal.note(TimerCancelled(number))

        return cancel

    def sleep_until(self, at_ms: int) -> Future[Any]:
        """Done at a time; what is past only lets others run."""
        timer = Timer(self.loop)
        if at_ms <= self.loop.now_ms:
            self.loop.call_soon(timer.fire)
        else:
            timer.release = self.set_timer(at_ms, timer.fire)
        return timer

    # Signals.

    def wait(self, name: str, decode: Callable[[bytes], Any], timeout_ms: Optional[int]) -> Future[Any]:
        """The next signal of a name: the one that has waited longest, or the first to come."""
        if self.is_deaf():
            return inert(self.loop)
        wait = SignalWait(self, name, decode)
        queue = self.signals.get(name)
        if queue:
            wait.give(queue.popleft())
            return wait
        self.waiting.setdefault(name, deque()).append(wait)
        if timeout_ms is not None:
            wait.release = self.set_timer(self.loop.now_ms + timeout_ms, wait.expire)
        return wait

    def signalled(self, signal: Signalled) -> None:
        """A signal has come: for the one who has waited longest, or kept until somebody waits."""
        waits = self.waiting.get(signal.name)
        while waits:
            wait = waits.popleft()
            if not wait.done():
                wait.give(signal)
                return
        self.signals.setdefault(signal.name, deque()).append(signal)

    def queued(self) -> tuple[Signalled, ...]:
        """Signals that nobody has taken, in the order in which they came for each name."""
        return tuple(signal for name in sorted(self.signals) for signal in self.signals[name])

    def random_for(self, purpose: str) -> random.Random:
        """Chance that is the same in each replay and another one for each run."""
        found = self._randoms.get(purpose)
        if found is None:
            seed = hashlib.sha256(f"{self.identity}\0{purpose}".encode()).digest()
            found = self._randoms[purpose] = random.Random(seed)
        return found


def _by_name(step: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bytes:
    """The arguments of a step of which only the name is known."""
    if arguments and keywords:
        msg = (
            f"context.call({step!r}, ...): of a step that is only named, arguments are given all by position or all by "
            "name: pass the step itself to mix them"
        )
        raise UsageError(msg)
    return to_json(keywords or arguments, f"context.call({step!r}, ...): arguments")


def _named(called: Called) -> str:
    what = {"function": "child", "start": "start of"}.get(called.kind, called.kind)
    return f"{what} {called.name!r}" if called.name else what


def _nothing() -> None:
    """What cancels a timer that was never armed."""
