"""Threads that functions of users run in.

The pool of the standard library waits for its threads when the interpreter ends, so that one function which never
returns keeps the process from ending. These threads are daemons. What is given up on goes on to its end all the same,
because no thread can be stopped from outside, and keeps its place until then: there are never more than so many.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Optional

__all__ = ["Threads", "as_exception"]

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", contextvars.Context, Callable[[], Any]]


class Threads:
    """At most `most` threads, started when they are needed. To be used from one event loop."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._jobs: SimpleQueue[Optional[_Job]] = SimpleQueue()
        self._count = 0
        self._busy = 0
        self._is_closed = False

    async def run(self, function: Callable[[], Any]) -> Any:
        """What the function returns or raises, in a thread, in a copy of the caller's context.

        Where all threads are busy it waits for one. When the caller is cancelled before, it is not run.
        """
        assert not self._is_closed, "nothing runs in threads that were closed"
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._busy >= self._count < self._most:
            self._count += 1
            threading.Thread(target=self._work, name=f"{self._name} {self._count}", daemon=True).start()
        self._busy += 1
        self._jobs.put((loop, future, contextvars.copy_context(), function))
        return await future

    def close(self) -> None:
        """Let the threads end when they have done what they do."""
        self._is_closed = True
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, context, function = job
            result, error = None, None
            if not future.cancelled():
                try:
                    result = context.run(function)
                except BaseException as raised:
                    error = raised
            try:
                loop.call_soon_threadsafe(self._over, future, result, error)
            except RuntimeError:  # The loop is closed: nobody waits any more.
                return
            del job, future, context, function, result, error

    def _over(self, future: asyncio.Future[Any], result: Any, error: Optional[BaseException]) -> None:
        self._busy -= 1
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(as_exception(error))


def as_exception(error: BaseException) -> Exception:
    """The error as one that does not end the loop: SystemExit in a function ends the function and nothing else."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    wrapped.__cause__ = error
    return wrapped
