"""Runs attempts of steps in this process: on its event loop, in threads, or in processes beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final, Optional, TypeGuard, Union

from headway.errors import UsageError
from headway.functions.history import Failure
from headway.steps.attempt import Outcome, Work, outcome_of
from headway.steps.declared import RegisteredStep
from headway.steps.http import HttpStep
from headway.steps.info import StepInfo, running_as
from headway.steps.processes import Processes, ProcessRun
from headway.targets.threads import Threads, as_exception

__all__ = ["GRACE_S", "Local", "Running", "Runs", "is_run"]

GRACE_S: Final = 5.0
"""How long a step in a process may go on once it is cancelled, before its process is killed."""

_Beat = Callable[[bytes], None]

Runs = Union[RegisteredStep, HttpStep]
"""Steps that are run by whoever takes them from a queue. Others are answered by messages, and wait in no queue."""


def is_run(callee: object) -> TypeGuard[Runs]:
    """Whether something that may be called is a step that is run."""
    return isinstance(callee, (RegisteredStep, HttpStep))


class Running:
    """One attempt that runs. Its `task` is done when the code has really come to its end."""

    def __init__(self, task: asyncio.Task[Outcome], cancel: Callable[[], None]) -> None:
        self.task = task
        self.cancel = cancel
        """Tell the code that nobody waits for it: an `async` step gets `CancelledError`, once; a thread hears it at its
        next heartbeat; a process as well, and is killed if it goes on for longer than the grace."""

    def abandon(self) -> None:
        """Wait for it no longer, whether it ends or not."""
        self.cancel()
        self.task.cancel()


class Local:
    """Runs attempts from one event loop; whoever calls bounds how many at once.

    `threads` is how many ordinary functions may run at once, those that wait for processes included.
    """

    def __init__(self, threads: int, grace_s: float = GRACE_S) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._threads = Threads(threads, "headway-step")
        self._processes: Optional[Processes] = None
        self._grace_s = grace_s

    def start(self, step: Runs, work: Work, beat: _Beat) -> Running:
        """Begin an attempt. `beat` is called on the loop, with the details of each heartbeat."""
        if not isinstance(step, RegisteredStep):
            task = asyncio.ensure_future(_caught(step.run(work)))
            return Running(task, lambda: _cancel(task))
        if step.runs_in == "process":
            return self._start_process(step, work, beat)
        try:
            given, named = step.signature.decode(work.arguments.encode())
        except UsageError as error:
            return _over(_refused(error))

        def beats(details: bytes) -> None:
            # An async step may have threads of its own.
            if threading.get_ident() == self._thread:
                beat(details)
            else:
                _soon(self._loop, lambda: beat(details))

        info = StepInfo(work, beats)
        if step.runs_in == "async":
            task = asyncio.ensure_future(_run(info, step, lambda: step.code(*given, **named)))

            def cancel() -> None:
                info.cancel()
                task.cancel()

            return Running(task, cancel)
        task = asyncio.ensure_future(_run(info, step, lambda: self._threads.run(lambda: step.code(*given, **named))))
        return Running(task, info.cancel)

    def _start_process(self, step: RegisteredStep, work: Work, beat: _Beat) -> Running:
        if self._processes is None:
            self._processes = Processes()
        run = ProcessRun(self._processes, step.place, work, lambda details: _soon(self._loop, lambda: beat(details)))
        task = asyncio.ensure_future(_caught(self._threads.run(run.run)))

        def cancel() -> None:
            run.cancel()
            killing = self._loop.call_later(self._grace_s, run.kill)
            task.add_done_callback(lambda _: killing.cancel())

        return Running(task, cancel)

    def close(self) -> None:
        """Let threads end with what they do, and end all processes."""
        if self._processes is not None:
            self._processes.close()
        self._threads.close()


async def _run(info: StepInfo, step: RegisteredStep, call: Callable[[], Any]) -> Outcome:
    """What the code of a step comes to, whatever it raises; on the loop itself or in a thread."""
    running_as(info)
    try:
        value = await call()
    except asyncio.CancelledError as error:
        if info.is_cancelled:
            return Outcome(failure=Failure("CancelledError", "nobody waits for it any more", non_retryable=True))
        return outcome_of(as_exception(error))
    except BaseException as error:
        return outcome_of(as_exception(error))
    try:
        return Outcome(step.signature.encode_result(value))
    except UsageError as error:
        return _refused(error)


async def _caught(work: Any) -> Outcome:
    """An outcome, also where whatever gives it fails."""
    try:
        outcome: Outcome = await work
    except Exception as error:
        return outcome_of(error)
    return outcome


def _refused(error: UsageError) -> Outcome:
    return Outcome(failure=Failure("UsageError", str(error), non_retryable=True))


def _over(outcome: Outcome) -> Running:
    async def over() -> Outcome:
        return outcome

    return Running(asyncio.ensure_future(over()), lambda: None)


def _cancel(task: asyncio.Task[Outcome]) -> None:
    task.cancel()


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:  # The loop is closed: nobody waits any more.
        return
