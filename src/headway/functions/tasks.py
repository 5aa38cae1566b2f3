"""Futures, tasks and handles of the deterministic loop.

They look like those of asyncio to whoever awaits, cancels or groups them. What differs is what asyncio leaves to
chance: a hash follows from the order in which objects were first put into a set or a dict, not from where they lie in
memory, so that a set of tasks is walked through in the same order in each replay; names count in the same way. Both are
given when first asked for: `asyncio.wait_for` makes a task in some versions of Python and none in others, which nobody
asks for either, and so what the user's own objects are called does not depend on it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final, Generic, Optional, TypeVar

if TYPE_CHECKING:
    from types import FrameType

    from headway.functions.loop import Loop

__all__ = ["NOT_THE_CODES", "WAKING", "Future", "Handle", "Interrupted", "Task", "TimerHandle"]

T = TypeVar("T")

_enter: Final[Callable[[Any, Any], None]] = asyncio.tasks._enter_task
_leave: Final[Callable[[Any, Any], None]] = asyncio.tasks._leave_task


class Interrupted(BaseException):
    """Raised by a watchdog into the thread of an instance whose code never waits, after `Instance.interrupt`."""


NOT_THE_CODES: Final = (KeyboardInterrupt, MemoryError, Interrupted)
"""What may come up while code runs and is no outcome of it."""

_SCOPES: Final = ("asyncio.timeouts", "asyncio.taskgroups")

WAKING: Final = Context()
"""The context of callbacks that only have a task stepped: the loop knows them by it and makes no handle for them."""

if TYPE_CHECKING:

    class _Base(asyncio.Future[T]):
        """What a future is to type checkers."""

else:

    class _Base(asyncio.Future, Generic[T]):
        """A future of asyncio that may be subscripted on each version of Python."""

        __slots__ = ()


class Future(_Base[T]):
    """A future whose hash is the same in each replay."""

    __slots__ = ("_deterministic_loop", "_ordinal")

    def __init__(self, *, loop: Loop) -> None:
        super().__init__(loop=loop)
        self._deterministic_loop = loop
        self._ordinal = 0

    def __hash__(self) -> int:
        if not self._ordinal:
            self._ordinal = self._deterministic_loop.next_ordinal()
        return self._ordinal

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self.done() else "pending"
        return f"<{type(self).__name__} {state}>"


class Task(Future[T]):
    """Steps a coroutine; the counterpart of `asyncio.Task`, whose methods it has on all versions of Python.

    `shielded` counts the scopes inside which a cancellation waits until the last of them is left.
    """

    __slots__ = ("_context", "_coro", "_error", "_name", "_requests", "_serial", "_waiter", "cancel_waits", "shielded")

    def __init__(
        self, coro: Coroutine[Any, Any, T], *, loop: Loop, name: Optional[str] = None, context: Optional[Context] = None
    ) -> None:
        super().__init__(loop=loop)
        self._coro = coro
        self._name = None if name is None else str(name)
        self._context = copy_context() if context is None else context
        self._waiter: Optional[asyncio.Future[Any]] = None
        self._error: Optional[BaseException] = None
        self._requests = 0
        self.cancel_waits = False
        self.shielded = 0
        self._serial = loop.enrol(self)

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self.done() else "pending"
        return f"<Task {state} {getattr(self._coro, '__qualname__', 'coroutine')}>"

    def get_coro(self) -> Coroutine[Any, Any, T]:
        """The coroutine that is stepped."""
        return self._coro

    def get_context(self) -> Context:
        """The context variables of the coroutine."""
        return self._context

    def get_name(self) -> str:
        """The name it was given, or one that counts."""
        if self._name is None:
            self._name = f"Task-{hash(self)}"
        return self._name

    def set_name(self, value: object) -> None:
        """Another name."""
        self._name = str(value)

    def get_stack(self, *, limit: Optional[int] = None) -> list[FrameType]:
        """The frame in which the coroutine stands, where it does."""
        frame: Optional[FrameType] = getattr(self._coro, "cr_frame", None)
        return [] if frame is None else [frame]

    def cancelling(self) -> int:
        """How many cancellations were asked for and not taken back."""
        return self._requests

    def uncancel(self) -> int:
        """Takes one of them back, and tells how many are left."""
        if self._requests:
            self._requests -= 1
            if not self._requests:
                # One that was not delivered yet is taken back as well, as from Python 3.13 on.
                self._error = None
                self.cancel_waits = False
        return self._requests

    def set_result(self, result: Any) -> None:
        """Refused: the coroutine gives it."""
        msg = "Task does not support set_result operation"
        raise RuntimeError(msg)

    def set_exception(self, exception: Any) -> None:
        """Refused: the coroutine raises it."""
        msg = "Task does not support set_exception operation"
        raise RuntimeError(msg)

    def cancel(self, msg: Optional[Any] = None) -> bool:
        """Ask the coroutine to end: `CancelledError` is raised where it waits, once.

        Inside a shielded scope that waits until the scope is left, but for what asyncio's timeouts and groups ask for,
        which may be inside of it. False for one that has ended.
        """
        if self.done():
            return False
        self._requests += 1
        if self.shielded and sys._getframe(1).f_globals.get("__name__") not in _SCOPES:
            self.cancel_waits = True
        else:
            self.interrupt(msg)
        return True

    def interrupt(self, msg: Optional[Any] = None) -> None:
        """Raise `CancelledError` at the next possible moment, without counting it as asked for."""
        waiter = self._waiter
        if waiter is not None and waiter.cancel(msg=msg):
            return
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)

    def run(self) -> None:
        """One step: to the next thing that the coroutine waits for."""
        if self.done():
            return
        loop = self._deterministic_loop
        error, self._error = self._error, None
        self._waiter = None
        _enter(loop, self)
        try:
            if error is None:
                waited = self._context.run(self._coro.send, None)
            else:
                waited = self._context.run(self._coro.throw, error)
        except StopIteration as stop:
            self._end()
            if self._error is not None:
                # Cancelled in its last step, too late for the coroutine to know.
                super().cancel()
            else:
                super().set_result(stop.value)
        except asyncio.CancelledError as cancelled:
            self._end()
            super().cancel(*cancelled.args[:1])
        except NOT_THE_CODES:
            # Not the function's doing: it goes to whoever steps the loop, and no code of the function sees it again.
            self._end()
            super().cancel()
            raise
        except BaseException as failed:
            self._end()
            super().set_exception(failed)
        else:
            self._wait_for(waited)
        finally:
            _leave(loop, self)
            # Whatever is raised holds this frame: no cycle through the task shall hold the coroutine.
            del self, error

    def leave(self) -> None:
        """It is not stepped any more, and waits for nothing."""
        self._waiter = None

    def _end(self) -> None:
        self._deterministic_loop.discharge(self._serial)

    def _wait_for(self, waited: Any) -> None:
        """Has the task stepped again when what the coroutine has yielded is done."""
        loop = self._deterministic_loop
        blocking = getattr(waited, "_asyncio_future_blocking", None)
        if waited is None:
            loop.step_soon(self)
        elif blocking and waited is not self and waited.get_loop() is loop:
            waited._asyncio_future_blocking = False
            waited.add_done_callback(self._wake, context=WAKING)
            self._waiter = waited
            if self._error is not None and waited.cancel():
                self._error = None
        else:
            self._error = RuntimeError(_misuse(waited, blocking, self))
            loop.step_soon(self)

    def _wake(self, _: object) -> None:
        """Never called: the loop sees its context and has the task stepped."""
        raise AssertionError


class Handle(asyncio.Handle):
    """A callback that is to run; may be cancelled until then."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], loop: Loop, context: Optional[Context] = None
    ) -> None:
        # Not that of asyncio, which takes a third of the time of a step.
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    def run(self) -> None:
        """Call it, unless it was cancelled. What it raises is told to the loop's handler of exceptions."""
        _run(self)


class TimerHandle(asyncio.TimerHandle):
    """A callback that is to run at a time: a durable timer."""

    __slots__ = ("_release",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: Loop,
        context: Optional[Context] = None,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = True
        self._release: Optional[Callable[[], None]] = None

    def released_by(self, release: Optional[Callable[[], None]]) -> None:
        """What is to be told when it is cancelled before its time."""
        self._release = release

    def cancel(self) -> None:
        """Its time will not come; nothing, if it has come already."""
        if not self._cancelled:
            self._cancelled = True
            release, self._release = self._release, None
            if release is not None:
                release()

    def fire(self) -> None:
        """Its time has come: it runs in the order of what is ready."""
        self._release = None
        loop: Any = self._loop
        loop.step_soon(self)

    def run(self) -> None:
        """As that of `Handle`."""
        _run(self)


def _run(handle: Any) -> None:
    if handle._cancelled:
        return
    try:
        handle._context.run(handle._callback, *handle._args)
    except NOT_THE_CODES:
        raise
    except BaseException as error:
        handle._loop.call_exception_handler({"message": "a callback has failed", "exception": error})


def _misuse(waited: Any, blocking: Optional[bool], task: Task[Any]) -> str:
    if waited is task:
        return "a task cannot await itself"
    if blocking is None:
        return f"a durable function can await only what its own loop knows, got {waited!r:.100}"
    if not blocking:
        return f"{waited!r:.100} was yielded: write `await`"
    return f"{waited!r:.100} belongs to another event loop: what it waits for must be a step"
