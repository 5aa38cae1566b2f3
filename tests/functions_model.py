"""A run of a program in memory, on asyncio's own loop: no history, no replay, no engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Optional

from tests.functions_grammar import Interpreter, Node


class Model:
    """A program in memory: futures of asyncio, a list of what it asks for, and a time that is told."""

    def __init__(self, program: tuple[Node, ...], now_ms: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.now_ms = now_ms
        self.calls: dict[str, list[asyncio.Future[Any]]] = {}
        self.timers: list[tuple[int, asyncio.Future[Any]]] = []
        self.waiting: dict[str, list[asyncio.Future[Any]]] = {}
        self.queued: dict[str, list[Any]] = {}
        self.conditions: list[tuple[Callable[[], bool], asyncio.Future[Any]]] = []
        self.undos: list[str] = []
        self.commands: list[tuple[Any, ...]] = []
        self.is_undoing = False
        self.has_ended = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.main = self._task(Interpreter(self).block(program))
        self.undoing: Optional[asyncio.Task[None]] = None
        self.drain()

    def _task(self, part: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self.loop.create_task(part)
        self.tasks.append(task)
        return task

    # What a program needs.

    def call(self, label: str) -> Awaitable[Any]:
        future = self.loop.create_future()
        self.commands.append(("call", label))
        self.calls.setdefault(label, []).append(future)
        return self._cancellable(future, lambda: self._call_cancelled(label, future))

    child = call

    def _call_cancelled(self, label: str, future: asyncio.Future[Any]) -> None:
        self.calls[label].remove(future)
        self.commands.append(("call cancelled", label))

    def _timer(self, ms: int) -> asyncio.Future[Any]:
        future = self.loop.create_future()
        self.commands.append(("timer", self.now_ms + ms))
        self.timers.append((self.now_ms + ms, future))
        return future

    def _no_timer(self, future: asyncio.Future[Any]) -> None:
        for at_ms, timer in self.timers:
            if timer is future:
                self.timers.remove((at_ms, timer))
                self.commands.append(("timer cancelled", at_ms))
                return

    def sleep(self, ms: int) -> Awaitable[Any]:
        future = self._timer(ms)
        return self._cancellable(future, lambda: self._no_timer(future))

    async def _cancellable(self, future: asyncio.Future[Any], cancelled: Callable[[], None]) -> Any:
        try:
            return await future
        except asyncio.CancelledError:
            if not self.has_ended:
                cancelled()
            raise

    async def wait(self, label: str, limit_ms: Optional[int]) -> Any:
        if self.queued.get(label):
            return self.queued[label].pop(0)
        come = self.loop.create_future()
        self.waiting.setdefault(label, []).append(come)
        if limit_ms is None:
            return await come
        limit = self._timer(limit_ms)
        try:
            done, _ = await asyncio.wait([come, limit], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            come.cancel()
            if not self.has_ended:
                self._no_timer(limit)
            raise
        if come in done:
            self._no_timer(limit)
            return come.result()
        come.cancel()
        raise TimeoutError

    async def until(self, holds: Callable[[], bool]) -> Any:
        if not holds():
            future = self.loop.create_future()
            self.conditions.append((holds, future))
            await future

    async def gather(self, parts: list[Coroutine[Any, Any, Any]]) -> Any:
        tasks = [self._task(part) for part in parts]
        error: Optional[BaseException] = None
        cancelled = False
        seen: set[Any] = set()
        while left := [task for task in tasks if not task.done() or task not in seen]:
            try:
                await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                cancelled = True
                _cancel(tasks)
            for task in tasks:
                if task.done() and task not in seen:
                    seen.add(task)
                    failed = asyncio.CancelledError() if task.cancelled() else task.exception()
                    if failed is not None and error is None and not cancelled:
                        error = failed
                        _cancel(tasks)
        if cancelled:
            raise asyncio.CancelledError
        if error is not None:
            raise error
        return [task.result() for task in tasks]

    async def first(self, parts: list[Coroutine[Any, Any, Any]]) -> Any:
        order: list[asyncio.Task[Any]] = []
        tasks = [self._task(part) for part in parts]
        for task in tasks:
            task.add_done_callback(order.append)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            _cancel(tasks)
        return order[0].result()

    async def limited(self, ms: int, part: Coroutine[Any, Any, Any]) -> Any:
        limit = self._timer(ms)
        inner = self._task(part)
        cancelled = expired = False
        while not inner.done():
            try:
                await asyncio.wait([inner] if expired else [inner, limit], return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                cancelled = True
                inner.cancel()
            if limit.done() and not expired and not inner.done():
                expired = True
                inner.cancel()
        if not self.has_ended:
            self._no_timer(limit)
        if inner.cancelled():
            raise asyncio.CancelledError if cancelled or not expired else TimeoutError
        # What a scope swallows gives no value.
        return inner.result()

    def compensate(self, label: str) -> None:
        self.undos.append(label)

    # What happens.

    def drain(self) -> None:
        """Until nothing can go on."""
        while True:
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            if self.loop._ready:  # type: ignore[attr-defined]
                continue
            if self.main.done() and not self.has_ended:
                self._after_main()
                if self.loop._ready:  # type: ignore[attr-defined]
                    continue
            if not self._met():
                return

    def _met(self) -> bool:
        met = False
        for holds, future in list(self.conditions):
            if future.done():
                self.conditions.remove((holds, future))
            elif holds():
                future.set_result(None)
                met = True
        return met and not self.has_ended

    def _after_main(self) -> None:
        failed = self.main.cancelled() or self.main.exception() is not None
        if failed and self.undoing is None and self.undos:
            self.undoing = self._task(self._undo())
        if self.undoing is None or self.undoing.done():
            self.has_ended = True

    async def _undo(self) -> None:
        while self.undos:
            with suppress(ValueError):
                await self.call(self.undos.pop())

    def answer(self, label: str, value: Any) -> None:
        future = self.calls[label].pop(0)
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)
        self.drain()

    def fire(self) -> None:
        at_ms, future = min(self.timers, key=lambda timer: timer[0])
        self.now_ms = max(self.now_ms, at_ms)
        self.timers.remove((at_ms, future))
        future.set_result(None)
        self.drain()

    def signal(self, label: str, value: Any) -> None:
        for future in self.waiting.get(label, []):
            if not future.done():
                future.set_result(value)
                break
        else:
            self.queued.setdefault(label, []).append(value)
        self.drain()

    def cancel(self) -> None:
        if not self.main.done():
            self.main.cancel()
        self.drain()

    def round(self) -> list[tuple[Any, ...]]:
        """What it has asked for since it was last asked."""
        commands, self.commands = self.commands, []
        return sorted(commands)

    def close(self) -> None:
        """Leave it: what it does then is not looked at."""
        self.has_ended = True
        for _ in range(100):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.exception()
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.loop.set_exception_handler(lambda *_: None)
        self.loop.close()


def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        if not task.done():
            task.cancel()
