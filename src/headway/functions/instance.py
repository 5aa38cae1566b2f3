"""One run of a durable function: happenings go in, commands come out, and a history makes it again.

**What holds.** What the code does is a function of the happenings, in their order. `take` gives a happening to the code
and steps it until nothing can go on; what it asked for is appended to the history behind the happening. `restore` gives
the happenings of a history to fresh code and compares what it asks for with what is recorded. So an instance may be
dropped at any time between two happenings, and made again elsewhere, and nobody can tell.

**Happenings that come too late** change nothing and give no entries: the answer to a call that was answered or taken
back, a timer that was cancelled, a second request to cancel, an update that was taken before, and everything after the
end. Whoever feeds them may do so twice. A signal after the end gives no entries either: it is the caller's to keep.

**Leaving.** The code is never told that it is dropped. It waits, and `close` leaves it: its context is dead first, so
whatever a bare `except:` or a `finally` does then is not heard of (`closing`). Nothing is ever raised into it but the
outcome of what it awaits, and, once, `CancelledError` when somebody asks it to end. Ctrl-C and a lack of memory are not
its outcome: they go to whoever called `take`, the instance is closed, and its history is as it was before. A bare
`except:` that catches one of them is found out by the first thing that it asks its context for.

**Cancelling** raises `CancelledError` where the main coroutine waits. A function that lets it pass has the status
CANCELLED. One that catches it and returns is COMPLETED, one that goes on is RUNNING, and `cancellation` tells both from
those that were never asked. A second request is not delivered: it would hit what the function does to end orderly. To
end one that refuses, terminate it.

**Ending.** When the main coroutine has returned, calls and timers that are still open are taken back, and tasks that it
did not wait for are left like a dropped instance: none of their code runs any more. Compensations run before, when it
has failed or was cancelled.

**Blocked** (`FunctionBlocked`, `ReplayMismatch`) is not an end. The code does something that cannot be: something else
than its history says, a call into a thread, an endless round. The exception goes to the caller of `take` or `restore`,
never into the code, where a bare `except:` would make an outcome of it. The happening is not part of the history then;
a new instance takes it again once the code is right.

**A loop without an await** that also asks nothing of its context cannot be seen from inside. Whoever steps instances
has a watchdog: it notices that `take` does not come back, calls `interrupt`, after which nothing that the code does is
heard of, and raises `Interrupted` in that thread (`PyThreadState_SetAsyncExc`), again if the code catches it.

**Prior art.** Temporal's SDK for Python steps coroutines on a loop of its own and throws on eviction; Restate and
DBOS suspend by exceptions, which a bare `except` catches. Microsoft's Durable Task compares commands in their order.
Here a round's commands are a multiset, as one history must be good on all versions of Python.

**Rejected**: saving the coroutine itself, since Python cannot; running each function in a thread, which costs a stack
for each and can be left even less; a sequence number for each call in the order of the code, which a scheduler of
another version changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

import msgspec

from headway.basics.jsontext import to_json
from headway.errors import FunctionBlocked, InternalError, UsageError
from headway.functions.core import Core
from headway.functions.declared import Callee, DurableFunction
from headway.functions.history import (
    COMMANDS,
    HAPPENINGS,
    Command,
    Entry,
    Failure,
    Happening,
    Identity,
    Signalled,
    UpdateAsked,
)
from headway.functions.loop import STEPS_MAX, TooManySteps
from headway.functions.run import Run
from headway.functions.search import SearchValue
from headway.functions.status import Cancellation, Status
from headway.functions.tasks import Interrupted
from headway.functions.waits import Wait, waits_of, where

__all__ = ["Instance"]


class Instance:
    """A run of a function. Not safe for several threads; `close` it on the one that stepped it.

    `callees` are the steps and functions that its code may call by name, with their types. `steps_max` bounds what one
    round may do before the instance counts as blocked. Costs some 10 us to make and a few microseconds for each
    happening; in memory a few kilobytes.

    >>> from headway.functions.declared import durable_workflow
    >>> from headway.functions.history import Fired, Started
    >>> @durable_workflow
    ... async def remind(context, days: int) -> str:
    ...     await context.sleep(f"{days}d")
    ...     return await context.call("send_mail")
    >>> instance = Instance(remind, Identity("remind", "o-17"))
    >>> history = instance.take(Started(0, b"[7]"))
    >>> history[1:], instance.status.value
    ([TimerSet(number=1, at_ms=604800000)], 'running')
    >>> instance.close()
    >>> again = Instance(remind, Identity("remind", "o-17"))
    >>> again.restore(history)
    >>> [type(entry).__name__ for entry in again.take(Fired(604800000, 1))]
    ['Fired', 'Called']
    """

    def __init__(
        self,
        function: DurableFunction[Any],
        identity: Identity,
        *,
        callees: Optional[Mapping[str, Callee]] = None,
        steps_max: int = STEPS_MAX,
    ) -> None:
        self.function = function
        self.identity = identity
        self._core = Core(function, identity, callees or {}, steps_max)
        self._run = Run(self._core)
        self._is_closed = False

    def __del__(self) -> None:
        if not getattr(self, "_is_closed", True):
            self.close()

    @property
    def traceparent(self) -> str:
        """The W3C trace context of whoever has started it; empty for none."""
        return self._core.started.traceparent

    # What is fed.

    def take(self, happening: Happening) -> list[Entry]:
        """Give it a happening: the entries to append to its history, the happening first; none if it changes nothing.

        The first one is `Started`. Raises `FunctionBlocked` if the code cannot go on, and whatever is not the code's,
        such as `KeyboardInterrupt`; the instance is closed then, and nothing has happened.
        """
        self._check_usable()
        core = self._core
        if happening.at_ms < core.loop.now_ms:
            happening = msgspec.structs.replace(happening, at_ms=core.loop.now_ms)
        if not self._run.concerns(happening):
            return []
        core.journal.begin()
        self._guarded(happening)
        return [happening, *core.journal.end()]

    def restore(self, entries: Iterable[Entry]) -> None:
        """Make it again from its history; once, before anything else. Costs a few microseconds for each entry.

        Raises `ReplayMismatch` if the code does something else than what is recorded, and as `take` does.
        """
        self._check_usable()
        happening: Optional[Happening] = None
        commands: list[Command] = []
        for entry in entries:
            if isinstance(entry, HAPPENINGS):
                if happening is not None:
                    self._replay(happening, commands)
                happening, commands = entry, []
            elif happening is None:
                msg = f"the history of {self.identity} begins with {type(entry).__name__}, expected Started"
                raise UsageError(msg)
            else:
                assert isinstance(entry, COMMANDS)
                commands.append(entry)
        if happening is not None:
            self._replay(happening, commands)
        self._core.journal.end_replay()
        self._raise_fault()

    def refusal(self, asked: UpdateAsked) -> Optional[Failure]:
        """Why an update would not be accepted: it is answered with that, and not given to `take`; None if it is.

        The code is asked, so it belongs where `take` is called. Changes nothing, as `query`.
        """
        self._check_usable()
        if self.status is not Status.RUNNING:
            return Failure("FunctionEnded", f"the function has ended: {self.status.value}")
        try:
            return self._core.updates.refusal(asked)
        finally:
            self._leave_if_touched()

    def query(self, name: str, value: bytes = b"null") -> bytes:
        """The answer of the code's own handler of a query, as JSON. Never changes anything.

        Raises `UsageError` for a query that is unknown, and what the handler raises. A handler that has woken a part of
        the function is refused, and the instance is closed: it is made again from its history.
        """
        self._check_usable()
        search = dict(self._core.search)
        before = to_json(self._core.state, "context.state")
        try:
            return self._core.updates.query(name, value)
        finally:
            if to_json(self._core.state, "context.state") != before:
                self._core.state.clear()
                self._core.state.update(msgspec.json.decode(before))
            if self._core.search != search:
                self._core.search.clear()
                self._core.search.update(search)
            self._leave_if_touched()

    @property
    def is_closed(self) -> bool:
        """Whether it was left; then it can only be made anew, from its history."""
        return self._is_closed

    def interrupt(self) -> None:
        """Its code runs and never waits: nothing that it does from now on is heard of, and `take` will say so.

        The one method that another thread may call; it then raises `Interrupted` in the thread that steps.
        """
        self._core.block("its code runs on and waits for nothing: a loop without an `await`, or work for a step")

    def close(self) -> None:
        """Leave the coroutine, silently: its context is dead first. Never raises; once is enough."""
        self._is_closed = True
        self._core.loop.close()
        self._core.release()
        self._run.release()

    # What is seen from outside.

    @property
    def status(self) -> Status:
        """How far it has come."""
        return self._run.status

    @property
    def outcome(self) -> Optional[Command]:
        """How it has ended: `Finished`, `FinishedBadly`, `Cancelled`, `Continued` or `Terminated`; None until then."""
        return self._run.outcome

    @property
    def state(self) -> dict[str, Any]:
        """The function's variables, `context.state`."""
        return self._core.state

    @property
    def search(self) -> dict[str, SearchValue]:
        """The fields by which it is found, `context.search`; not to be changed."""
        return self._core.search.plain

    @property
    def cancellation(self) -> Cancellation:
        """What has become of the request to cancel."""
        if self._run.cancel_reason is None:
            return Cancellation.NOT_ASKED
        if self.status is Status.RUNNING:
            return Cancellation.ASKED
        return Cancellation.FOLLOWED if self.status is Status.CANCELLED else Cancellation.SWALLOWED

    @property
    def is_compensating(self) -> bool:
        """Whether the code has failed, and what it had done is being taken back."""
        return self._run.undoing is not None and self.status is Status.RUNNING

    @property
    def waits(self) -> list[Wait]:
        """What it waits for now, for people: calls, timers, signals, conditions."""
        return waits_of(self._core)

    def first_waits(self, most: int) -> list[Wait]:
        """As `waits`, at most so many; takes no longer when there are more."""
        return waits_of(self._core, most)

    @property
    def line(self) -> str:
        """The line of the user's code at which the main coroutine waits; empty if it does not."""
        return "" if self._run.main is None or self._run.main.done() else where(self._run.main.get_coro())

    @property
    def now_ms(self) -> int:
        """The time of the last happening."""
        return self._core.loop.now_ms

    @property
    def unread_signals(self) -> tuple[Signalled, ...]:
        """Signals that have come and that nobody has taken."""
        return self._core.queued()

    # Inside.

    def _check_usable(self) -> None:
        if self._is_closed:
            msg = f"instance {self.identity} is closed: make a new one and restore it"
            raise InternalError(msg)

    def _leave_if_touched(self) -> None:
        if self._core.loop.was_touched:
            self.close()

    def _replay(self, happening: Happening, commands: list[Command]) -> None:
        if not self._run.concerns(happening):
            self._core.journal.block(
                FunctionBlocked(f"the history of {self.identity} says {happening!r:.200}, which nothing waits for")
            )
            self._raise_fault()
        self._core.journal.begin(commands)
        self._guarded(happening)
        self._core.journal.end()
        self._raise_fault()

    def _guarded(self, happening: Happening) -> None:
        """One round. Whatever goes wrong beside the code's own outcome closes the instance and is raised."""
        try:
            self._run.round(happening)
        except TooManySteps:
            self._core.block("it steps without an end and waits for nothing")
        except Interrupted:
            self.interrupt()
        except BaseException:
            self.close()
            raise
        self._raise_fault()

    def _raise_fault(self) -> None:
        fault = self._core.journal.fault
        if fault is not None:
            self.close()
            raise fault
