"""What a happening does to a run: who is given it, and what follows when the main coroutine has ended."""

from __future__ import annotations

from contextvars import Context as Variables
from typing import Any, Optional

import msgspec

from headway.errors import UsageError
from headway.functions.context import Context
from headway.functions.core import Core
from headway.functions.failures import failure_of
from headway.functions.history import (
    Answered,
    CallCancelled,
    CancelAsked,
    Cancelled,
    Command,
    Failed,
    Failure,
    Finished,
    FinishedBadly,
    Fired,
    Happening,
    Signalled,
    Started,
    TerminateAsked,
    Terminated,
    TimerCancelled,
    UpdateAsked,
)
from headway.functions.status import ENDED, Status
from headway.functions.tasks import Task
from headway.functions.undoing import undo_all

__all__ = ["Run"]


class Run:
    """The main coroutine above a core, from its start to its end."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.status = Status.RUNNING
        self.outcome: Optional[Command] = None
        self.main: Optional[Task[Any]] = None
        self.undoing: Optional[Task[list[Failure]]] = None
        self.cancel_reason: Optional[str] = None
        self._verdict: Optional[Command] = None
        self._ending: Optional[Command] = None
        self._deadline_passed = False
        self._signal_ids: set[str] = set()

    def concerns(self, happening: Happening) -> bool:
        """Whether a happening changes anything: it came neither too late nor twice."""
        if isinstance(happening, Started):
            return self.main is None
        if self.main is None or self.status is not Status.RUNNING:
            return False
        core = self.core
        if isinstance(happening, (Answered, Failed)):
            return happening.call in core.calls
        if isinstance(happening, Fired):
            return happening.timer in core.timers
        if isinstance(happening, Signalled):
            return not happening.signal_id or happening.signal_id not in self._signal_ids
        if isinstance(happening, CancelAsked):
            return self.cancel_reason is None
        if isinstance(happening, UpdateAsked):
            return not core.updates.is_known(happening.update_id)
        return True

    def release(self) -> None:
        """Let go of the code: what it has raised holds the frames in which that happened, and these the run."""
        self.main = None

    def round(self, happening: Happening) -> None:
        """Give it a happening that concerns it, and step it until nothing can go on."""
        core = self.core
        core.loop.now_ms = max(core.loop.now_ms, happening.at_ms)
        if isinstance(happening, TerminateAsked):
            self._end(Terminated(happening.reason))
            return
        core.loop.is_live = True
        try:
            self._apply(happening)
            core.run()
            if self.main is not None and self.main.done():
                self._after_main(self.main)
        finally:
            core.loop.is_live = False
        if core.interruption is not None:
            raise core.interruption
        if core.ended_by is not None:
            self._end(core.ended_by)
        elif self._ending is not None:
            self._end(self._ending)

    def _apply(self, happening: Happening) -> None:
        core = self.core
        if isinstance(happening, Answered):
            core.answered(happening.call, happening.value)
        elif isinstance(happening, Fired):
            core.timers.pop(happening.timer)[1]()
        elif isinstance(happening, Failed):
            core.failed(happening.call, happening.failure)
        elif isinstance(happening, Signalled):
            self._signalled(happening)
        elif isinstance(happening, Started):
            self._start(happening)
        elif isinstance(happening, UpdateAsked):
            core.updates.asked(happening)
        elif isinstance(happening, CancelAsked):
            self.cancel_reason = happening.reason
            self._cancel_main()

    def _signalled(self, signal: Signalled) -> None:
        if signal.signal_id:
            self._signal_ids.add(signal.signal_id)
        self.core.signalled(signal)

    def _start(self, started: Started) -> None:
        core = self.core
        core.started = started
        for signal in started.signals:
            self._signalled(signal)
        if started.deadline_ms is not None:
            core.set_timer(max(started.deadline_ms, started.at_ms + 1), self._at_deadline)
        self.main = core.loop.create_task(
            self._code(started.arguments), name=self.core.function.name, context=Variables()
        )

    def _code(self, arguments: bytes) -> Any:
        """The coroutine of the user's code, or one that fails for arguments that it does not take."""
        try:
            values, names = self.core.function.decode_arguments(arguments)
            return self.core.function.code(Context(self.core), *values, **names)
        except (UsageError, TypeError) as error:
            return _failing(error)

    def _cancel_main(self) -> None:
        if self.main is not None and not self.main.done():
            self.main.cancel()

    def _at_deadline(self) -> None:
        if self.cancel_reason is None:
            self._deadline_passed = True
        self._cancel_main()

    def _after_main(self, main: Task[Any]) -> None:
        """The main coroutine has ended: its compensations run if it did so badly, and then that is its outcome."""
        core = self.core
        if self._verdict is None:
            # Told before compensations run: what comes meanwhile does not change why it has ended.
            self._verdict = self._outcome(main)
            if core.undos and not isinstance(self._verdict, Finished):
                self.undoing = core.loop.create_task(undo_all(core), name="compensations", context=Variables())
                core.run()
        if self.undoing is None:
            self._ending = self._verdict
        elif self.undoing.done():
            self._ending = _with_failures(self._verdict, tuple(self.undoing.result()))

    def _outcome(self, main: Task[Any]) -> Command:
        if main.cancelled():
            if self.cancel_reason is not None:
                return Cancelled(self.cancel_reason)
            if self._deadline_passed:
                return FinishedBadly(Failure("DeadlineExceeded", "the function was not done at its deadline"))
            return FinishedBadly(Failure("CancelledError", "the code cancelled itself: nobody has asked it to end"))
        error = main.exception()
        if error is not None:
            return FinishedBadly(failure_of(error))
        try:
            return Finished(self.core.function.encode_result(main.result()))
        except UsageError as unfit:
            return FinishedBadly(Failure("ResultError", str(unfit)))

    def _end(self, command: Command) -> None:
        """What is still open is taken back, and the run is over."""
        core = self.core
        journal = core.journal
        for number, call in sorted(core.calls.items()):
            if call.called.kind in ("signal", "start"):
                continue
            if call.called.kind != "function" or call.called.parent_close != "abandon":
                journal.note(CallCancelled(number, by_close=True))
        for number, child in sorted(core.children.items()):
            if child.parent_close != "abandon":
                journal.note(CallCancelled(number, by_close=True))
        for number in sorted(core.timers):
            journal.note(TimerCancelled(number))
        core.updates.end()
        told = journal.note(command)
        if journal.fault is None:
            self.status = ENDED[type(told)]
            self.outcome = told
        core.calls.clear()
        core.timers.clear()
        core.loop.close()


def _with_failures(command: Command, failures: tuple[Failure, ...]) -> Command:
    """The end of a function, with the compensations that have failed."""
    if isinstance(command, Cancelled):
        return msgspec.structs.replace(command, failures=failures)
    assert isinstance(command, FinishedBadly)
    failure = command.failure
    return FinishedBadly(msgspec.structs.replace(failure, others=(*failure.others, *failures)))


async def _failing(error: BaseException) -> None:
    raise error
