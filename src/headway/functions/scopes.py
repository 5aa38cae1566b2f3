"""Parts of a function that end by themselves, are ended, or are not to be ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Optional, cast

from headway.basics.times import format_duration
from headway.functions.failures import TimeoutExpired
from headway.functions.tasks import Task

if TYPE_CHECKING:
    from headway.functions.core import Core

__all__ = ["Scope", "Shield"]

_Kind = Optional[type[BaseException]]


class Scope:
    """What is awaited inside can be cancelled as one: `async with context.scope() as scope: ...`, `scope.cancel()`.

    Leaving a scope that was cancelled is no error: the code goes on after it, and `scope.was_cancelled` says so. One
    with a time limit raises `TimeoutError` when the limit has passed.
    """

    def __init__(self, core: Core, timeout_ms: Optional[int] = None) -> None:
        self._core = core
        self._timeout_ms = timeout_ms
        self._release: Optional[Callable[[], None]] = None
        self._task: Optional[Task[object]] = None
        self._requests_before = 0
        self._shields = 0
        self._has_expired = False
        self.was_cancelled = False

    async def __aenter__(self) -> Scope:
        task = _current()
        self._task = task
        self._requests_before = task.cancelling()
        self._shields = task.shielded
        if self._timeout_ms is not None:
            self._release = self._core.set_timer(self._core.loop.now_ms + self._timeout_ms, self._expire)
        return self

    async def __aexit__(self, kind: _Kind, error: Optional[BaseException], _: Optional[TracebackType]) -> bool:
        task, self._task = self._task, None
        release, self._release = self._release, None
        if release is not None and not self._has_expired:
            release()
        if task is None or not (self.was_cancelled or self._has_expired):
            return False
        mine = task.uncancel() <= self._requests_before and (kind is None or kind is asyncio.CancelledError)
        if not mine:
            return False
        if self._has_expired and kind is not None:
            msg = f"it took longer than {format_duration(self._timeout_ms or 0)}"
            raise TimeoutExpired(msg) from error
        return True

    def cancel(self) -> None:
        """What is awaited inside is cancelled; nothing, once the scope is left."""
        if self._task is not None and not self.was_cancelled:
            self.was_cancelled = True
            self._cancel()

    def _expire(self) -> None:
        self._has_expired = True
        if self._task is not None and not self.was_cancelled:
            self._cancel()

    def _cancel(self) -> None:
        task = self._task
        assert task is not None
        # A shield inside of the scope holds it back, one around the scope does not.
        inside = task.shielded > self._shields
        if inside:
            task.cancel()
        else:
            shields, task.shielded = task.shielded, 0
            try:
                task.cancel()
            finally:
                task.shielded = shields


class Shield:
    """What is awaited inside is not cancelled from outside: a cancellation waits until the block is left."""

    def __init__(self) -> None:
        self._task: Optional[Task[object]] = None

    async def __aenter__(self) -> None:
        self._task = _current()
        self._task.shielded += 1

    async def __aexit__(self, kind: _Kind, error: Optional[BaseException], _: Optional[TracebackType]) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.shielded -= 1
        if task.shielded == 0 and task.cancel_waits:
            task.cancel_waits = False
            if kind is None:
                raise asyncio.CancelledError
            task.interrupt()


def _current() -> Task[object]:
    task = cast("Optional[Task[object]]", asyncio.current_task())
    if task is None:
        msg = "a scope can only be entered where code of a durable function runs"
        raise RuntimeError(msg)
    return task
