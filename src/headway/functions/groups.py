"""Waiting for several things: all of them, the first, or each as it comes.

They differ from those of asyncio in what becomes of the others: when one has failed, or the first is there, the others
are cancelled, so that no call is under way for which nobody waits. And none of them makes a task for what is a future
already, such as a call.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Iterable
from typing import Any, Optional, Union

from headway.functions.loop import Loop
from headway.functions.tasks import Future

__all__ = ["AsCompleted", "First", "Gather", "as_future", "flattened"]


def flattened(awaitables: tuple[Union[Awaitable[Any], Iterable[Awaitable[Any]]], ...]) -> list[Awaitable[Any]]:
    """What is to be awaited, given one by one or as one iterable that has an order. Raises `TypeError` for others."""
    if len(awaitables) == 1 and not inspect.isawaitable(awaitables[0]):
        only = awaitables[0]
        if isinstance(only, (set, frozenset)) and any(asyncio.iscoroutine(item) for item in only):
            for item in only:
                getattr(item, "close", lambda: None)()
            msg = "coroutines in a set would begin in another order each time: give a list"
            raise TypeError(msg)
        if isinstance(only, Iterable):
            return list(only)
    found: list[Any] = []
    for item in awaitables:
        if not inspect.isawaitable(item):
            msg = f"something to await was expected, got {item!r:.100}"
            raise TypeError(msg)
        found.append(item)
    return found


def as_future(loop: Loop, awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
    """The thing itself, if it is a future, else a task that awaits it."""
    if asyncio.isfuture(awaitable):
        if awaitable.get_loop() is not loop:
            msg = f"{awaitable!r:.100} belongs to another event loop: what it waits for must be a step"
            raise ValueError(msg)
        return awaitable
    if asyncio.iscoroutine(awaitable):
        return loop.create_task(awaitable)
    return loop.create_task(_wrapped(awaitable))


async def _wrapped(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class Gather(Future[list[Any]]):
    """All results, in the order of what was given."""

    __slots__ = ("_cancelled", "_error", "_left", "_return_exceptions", "members")

    def __init__(self, loop: Loop, awaitables: list[Awaitable[Any]], *, return_exceptions: bool) -> None:
        super().__init__(loop=loop)
        self._return_exceptions = return_exceptions
        self._error: Optional[BaseException] = None
        self._cancelled = False
        self.members = [as_future(loop, awaitable) for awaitable in awaitables]
        self._left = len(self.members)
        for member in self.members:
            member.add_done_callback(self._one_done)
        if not self.members:
            self.set_result([])

    def cancel(self, msg: Optional[Any] = None) -> bool:
        """Cancel all that are not done; it is cancelled when they have ended."""
        if self.done():
            return False
        self._cancelled = True
        self._cancel_members()
        return True

    def _cancel_members(self) -> None:
        for member in self.members:
            if not member.done():
                member.cancel()

    def _one_done(self, member: asyncio.Future[Any]) -> None:
        self._left -= 1
        error = _error_of(member)
        if error is not None and self._error is None and not self._return_exceptions and not self._cancelled:
            self._error = error
            self._cancel_members()
        if self._left or self.done():
            return
        if self._cancelled:
            super().cancel()
        elif self._error is not None:
            _fail(self, self._error)
        else:
            self.set_result([_error_of(each) or each.result() for each in self.members])


class First(Future[Any]):
    """What comes first: its result or its error. The others are cancelled, and not waited for."""

    __slots__ = ("members",)

    def __init__(self, loop: Loop, awaitables: list[Awaitable[Any]]) -> None:
        super().__init__(loop=loop)
        self.members = [as_future(loop, awaitable) for awaitable in awaitables]
        if not self.members:
            self.set_exception(ValueError("first of nothing: give at least one thing to await"))
        for member in self.members:
            member.add_done_callback(self._one_done)

    def cancel(self, msg: Optional[Any] = None) -> bool:
        """Cancel all of them."""
        if not super().cancel(msg):
            return False
        self._cancel_members()
        return True

    def _cancel_members(self) -> None:
        for member in self.members:
            if not member.done():
                member.cancel()

    def _one_done(self, member: asyncio.Future[Any]) -> None:
        error = _error_of(member)
        if self.done():
            return
        if error is None:
            self.set_result(member.result())
        else:
            _fail(self, error)
        self._cancel_members()


class AsCompleted:
    """Each as it comes: `async for done in context.as_completed(...)` gives futures that are done, to be awaited."""

    def __init__(self, loop: Loop, awaitables: list[Awaitable[Any]]) -> None:
        self._loop = loop
        self._done: deque[asyncio.Future[Any]] = deque()
        self._waiter: Optional[Future[None]] = None
        members = [as_future(loop, awaitable) for awaitable in awaitables]
        self._left = len(members)
        for member in members:
            member.add_done_callback(self._one_done)

    def __aiter__(self) -> AsCompleted:
        return self

    async def __anext__(self) -> asyncio.Future[Any]:
        if not self._left:
            raise StopAsyncIteration
        while not self._done:
            self._waiter = Future(loop=self._loop)
            await self._waiter
        self._left -= 1
        return self._done.popleft()

    def _one_done(self, member: asyncio.Future[Any]) -> None:
        self._done.append(member)
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _error_of(member: asyncio.Future[Any]) -> Optional[BaseException]:
    """The error of a future that is done; asking for it keeps it from being told as one that nobody awaits."""
    return asyncio.CancelledError() if member.cancelled() else member.exception()


def _fail(future: Future[Any], error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        asyncio.Future.cancel(future)
    else:
        future.set_exception(error)
