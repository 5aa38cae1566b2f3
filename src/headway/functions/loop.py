"""A deterministic event loop: what runs, and in which order, follows from what happened and from nothing else.

asyncio is a library of coroutines, locks, queues and groups above a small interface, the event loop. A durable function
may use the library if the loop below it is one that can be replayed: it has no sockets, no threads and no clock of its
own. Temporal's SDK for Python has shown that this works; this loop does the same, with these properties.

* What is ready stands in one queue, first in, first out. A round takes one happening (an answer, a timer, a signal)
  and steps until the queue is empty. So there are never two happenings in one round, and the questions to which the
  versions of Python give different answers, such as what `wait_for` does when its timer and its result are there
  together, are not asked.
* The time is that of the last happening. `call_later` sets a durable timer; a sleep of nothing only lets others run.
* A set of tasks is walked through in the same order each time, as their hash is a number of ours (`tasks`).
* Nothing is thrown into a coroutine to suspend or to drop it. What cannot go on waits. A loop that is dropped is
  *dead* before anything in it is closed: calls into it give futures that are never done and set off nothing, and raise
  nothing either, as a bare `except` in an endless loop would then never come back.
* It is *live* only while a round runs. Whatever runs code of it at another time, such as the collector of garbage that
  ends a generator, finds it as dead as one that was dropped.

An asynchronous generator that is left half-way is neither ended where the collector finds it, which is another moment
each time, nor in a task of its own: it waits, and is closed with the loop. Whoever needs its `finally` writes
`async with contextlib.aclosing(...)`.

What needs threads, sockets or processes is refused by name, with what to do instead; the author is told even if the
code catches the error, because the function is then blocked (`instance`).

Rejected: a loop without tasks, which steps only awaitables of its own (half the time of a step, and the whole library
of asyncio lost); replacing functions of `asyncio` while a round runs (other threads of the process see them);
`asyncio.all_tasks` (it would have to know each task, and nobody needs it here: it finds none).
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context
from types import CodeType, FrameType
from typing import Any, Final, Optional, Protocol, TypeVar, Union, cast

from headway.basics.times import LAST_TIMER_MS
from headway.functions.closing import close_coroutine, close_generator
from headway.functions.failures import ReadOnly
from headway.functions.refusals import REFUSED, refusal
from headway.functions.tasks import WAKING, Future, Handle, Task, TimerHandle

__all__ = ["STEPS_MAX", "Loop", "TooManySteps"]

T = TypeVar("T")

STEPS_MAX: Final = 1_000_000
"""Steps of one round. One that takes more waits for nothing: it would never end."""

_AS_COMPLETED: Final[CodeType] = asyncio.as_completed.__code__
_WAIT: Final[CodeType] = asyncio.wait.__code__

_logger: Final = logging.getLogger("headway.functions")

_Ready = Union[Handle, TimerHandle, Task[Any]]


class TooManySteps(Exception):
    """A round has taken `STEPS_MAX` steps and goes on."""


class Timers(Protocol):
    """Who sets the loop's timers."""

    def set_timer(self, at_ms: int, fire: Callable[[], None]) -> Callable[[], None]:
        """Have `fire` called at that time; gives what cancels it."""


class Loop(asyncio.AbstractEventLoop):
    """An event loop of asyncio whose time is told and whose timers are somebody else's.

    `refused` is called with the message when code asks for what a durable function cannot have.

    >>> loop = Loop(timers=None)
    >>> async def add(one: int, other: int) -> int:
    ...     await asyncio.sleep(0)
    ...     return one + other
    >>> total = loop.create_task(add(1, 2))
    >>> loop.run()
    >>> total.result()
    3
    """

    def __init__(
        self,
        timers: Optional[Timers],
        *,
        refused: Callable[[str], None] = lambda message: None,
        steps_max: int = STEPS_MAX,
    ) -> None:
        self._timers = timers
        self.refused = refused
        self._steps_max = steps_max
        self._ready: deque[_Ready] = deque()
        self._tasks: dict[int, Task[Any]] = {}
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self._started = 0
        self._ordinals = 0
        self._matched: dict[int, Task[Any]] = {}
        self.now_ms = 0
        self.is_live = False
        self.is_dead = False
        self.is_looking = False
        self.was_touched = False
        self.silent: Callable[[], bool] = lambda: False

    def run(self) -> None:
        """Step until nothing can go on. Raises `TooManySteps` and `NOT_THE_CODES`, nothing else."""
        ready = self._ready
        left = self._steps_max
        inside = _Inside(self)
        was_live, self.is_live = self.is_live, not self.is_dead
        try:
            while ready:
                if left == 0:
                    raise TooManySteps
                left -= 1
                ready.popleft().run()
        finally:
            self.is_live = was_live and not self.is_dead
            inside.leave()

    def abandon(self) -> None:
        """Nothing of it runs any more, to any effect."""
        self.is_dead = True
        self.is_live = False
        self._ready.clear()

    def close(self) -> None:
        """Leave all coroutines. What they do then has no effect and is not heard of. Never raises."""
        self.abandon()
        if not self._tasks and not self._generators:
            return
        inside = _Inside(self)
        try:
            while self._tasks:
                _, task = self._tasks.popitem()
                close_coroutine(task.get_coro(), task)
                task.leave()
            while self._generators:
                close_generator(self._generators.pop())
        finally:
            inside.leave()
            self._ready.clear()

    def release(self) -> None:
        """Let go of whoever set it up, once it is closed: what is left behind is then freed without the collector."""
        self._timers = None
        self.refused = _ignore
        self.silent = _always

    def next_ordinal(self) -> int:
        """The next number of those that hashes and names are made of."""
        self._ordinals += 1
        return self._ordinals

    def enrol(self, task: Task[Any]) -> int:
        """Takes a new task; it is stepped as soon as those before it are."""
        self._started += 1
        if self.is_dead:
            # Never started, so nothing of it runs.
            task.get_coro().close()
        else:
            self._tasks[self._started] = task
            self._ready.append(task)
        return self._started

    def discharge(self, serial: int) -> None:
        """A task has ended."""
        self._tasks.pop(serial, None)

    def step_soon(self, item: _Ready) -> None:
        """Has something run after all that is ready now."""
        if self.is_looking:
            self.was_touched = True
            msg = "queries, conditions and checks of updates only look: they cannot set or wake anything"
            raise ReadOnly(msg)
        if not self.is_dead:
            self._ready.append(item)

    @property
    def open_tasks(self) -> list[Task[Any]]:
        """Those that have not ended, in the order of their start."""
        return list(self._tasks.values())

    # What asyncio asks a loop for.

    def time(self) -> float:
        """The time of the last happening, in seconds since 1970."""
        return self.now_ms / 1_000

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Optional[Context] = None
    ) -> Handle:
        """Has a callback run after all that is ready now."""
        if context is WAKING:
            self.step_soon(callback.__self__)  # type: ignore[attr-defined]
            return _WOKEN
        handle = Handle(callback, args, self, context)
        self.step_soon(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Optional[Context] = None
    ) -> TimerHandle:
        """Has a callback run after that many seconds: a durable timer."""
        return self.call_at(self.now_ms / 1_000 + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Optional[Context] = None
    ) -> TimerHandle:
        """Has a callback run at a time, in seconds since 1970; what is past runs after all that is ready now."""
        if math.isnan(when):
            msg = "a timer cannot be due at a time that is not a number"
            raise ValueError(msg)
        handle = TimerHandle(when, callback, args, self, context)
        if self.is_dead or not self.is_live:
            return handle
        # Up to the next millisecond, but for what floats lose of whole ones.
        at_ms = math.ceil(when * 1_000 - 1e-3) if abs(when) < 1e12 else math.copysign(math.inf, when)
        if at_ms <= self.now_ms:
            self._ready.append(handle)
        elif at_ms <= LAST_TIMER_MS and self._timers is not None:
            handle.released_by(self._timers.set_timer(int(at_ms), handle.fire))
        return handle

    def create_future(self) -> Future[Any]:
        """A future of this loop."""
        return Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: Optional[str] = None, context: Optional[Context] = None
    ) -> Task[T]:
        """A task that steps a coroutine; its first step comes after all that is ready now."""
        if not asyncio.iscoroutine(coro):
            msg = f"a coroutine was expected, got {coro!r}"
            raise TypeError(msg)
        frame = sys._getframe(1)
        if frame.f_code.co_name == "ensure_future" or frame.f_globals.get("__name__") == "asyncio.tasks":
            made = self._in_order(coro, frame)
            if made is not None:
                return made
        return Task(coro, loop=self, name=name, context=context)

    def _in_order(self, coro: Coroutine[Any, Any, T], frame: Optional[FrameType]) -> Optional[Task[T]]:
        """The task of a coroutine that `asyncio.as_completed` takes out of a set: those of its list begin in its order.

        It puts the coroutines into a set before it makes tasks of them, and their hash is where they lie in memory.
        """
        for _ in range(6):
            if frame is None or not frame.f_globals.get("__name__", "").startswith("asyncio"):
                return None
            if frame.f_code is _AS_COMPLETED or frame.f_code is _WAIT:
                break
            frame = frame.f_back
        else:
            return None
        if frame is None:
            return None
        found = self._matched.pop(id(coro), None)
        if found is not None:
            return found
        given = frame.f_locals.get("fs")
        if frame.f_code is _AS_COMPLETED and isinstance(given, (list, tuple)) and any(item is coro for item in given):
            for item in given:
                if asyncio.iscoroutine(item) and id(item) not in self._matched:
                    made: Task[Any] = Task(item, loop=self)
                    hash(made)
                    self._matched[id(item)] = made
            return self._matched.pop(id(coro))
        coro.close()
        message = (
            f"asyncio.{frame.f_code.co_name} begins coroutines that are not in a list in another order each time: give "
            "it a list of tasks (asyncio.create_task), or use context.as_completed or context.gather"
        )
        self.refused(message)
        raise RuntimeError(message)

    def get_debug(self) -> bool:
        """Never: the checks of asyncio read the clock."""
        return False

    def is_running(self) -> bool:
        """Whether a round runs."""
        return self.is_live

    def is_closed(self) -> bool:
        """Whether it was left."""
        return self.is_dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody awaits is told in the log, once: neither in a replay nor by a loop that was left."""
        if not self.is_dead and not self.silent():
            _logger.warning("%s", context.get("message"), exc_info=context.get("exception"))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """As `call_exception_handler`."""
        self.call_exception_handler(context)

    async def shutdown_asyncgens(self) -> None:
        """Nothing: they are closed with the loop."""

    def keep_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Called by the collector for an asynchronous generator that was left half-way."""
        self._generators.append(generator)


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(self: Loop, *_: Any, **__: Any) -> Any:
        message = refusal(name)
        self.refused(message)
        raise RuntimeError(message)

    refuse.__name__ = name
    refuse.__doc__ = f"Refused: {refusal(name)}"
    return refuse


for _name in REFUSED:
    setattr(Loop, _name, _refusing(_name))


_WOKEN: Final = Handle(lambda: None, (), cast("Loop", None), Context())
"""What `call_soon` gives for a task that is woken: futures do not keep it."""


class _Inside:
    """The thread's running loop and its hooks while a loop runs, and as they were before."""

    __slots__ = ("_hooks", "_previous")

    def __init__(self, loop: Loop) -> None:
        self._previous = asyncio._get_running_loop()
        self._hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(loop)
        sys.set_asyncgen_hooks(firstiter=None, finalizer=loop.keep_generator)

    def leave(self) -> None:
        sys.set_asyncgen_hooks(*self._hooks)
        asyncio._set_running_loop(self._previous)


def _ignore(message: str) -> None:
    """Nobody is told any more."""


def _always() -> bool:
    return True
