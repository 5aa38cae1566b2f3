"""A thread with an event loop of its own: with a client that needs one it talks to a server, beside the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any, Optional, TypeVar

from headway.errors import InputError

__all__ = ["LoopThread"]

_Done = TypeVar("_Done")


class LoopThread:
    """Runs one coroutine until it is over, or until `close`.

    `failure` is what has ended it early: an `InputError` as it was raised, and any other error as one, in `words`, so
    that nobody waits for ever for what a thread has met.
    """

    def __init__(self, described: str, words: Callable[[BaseException], str]) -> None:
        self.failure: Optional[InputError] = None
        self.loop = asyncio.new_event_loop()
        self.ended = asyncio.Event()
        """Set by `close`: what the thread does is to end soon."""
        self._described = described
        self._words = words
        self._thread: Optional[Thread] = None

    def start(
        self,
        live: Callable[[], Coroutine[Any, Any, None]],
        over: Callable[[], None],
        leave: Optional[Callable[[], Coroutine[Any, Any, None]]] = None,
    ) -> None:
        """Run `live`, then `leave`, whatever became of it, on the loop; and `over` when nothing runs there any more."""

        def run() -> None:
            asyncio.set_event_loop(self.loop)
            try:
                self.loop.run_until_complete(live())
            except InputError as error:
                self.failure = error
            except BaseException as error:
                self.failure = InputError(f"{self._described} cannot be read on: {self._words(error)}")
                self.failure.__cause__ = error
            finally:
                left = asyncio.all_tasks(self.loop)
                for task in left:
                    task.cancel()
                self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
                if leave is not None:
                    with suppress(Exception):  # It is the end of it, whatever it says.
                        self.loop.run_until_complete(leave())
                over()
                self.loop.close()

        self._thread = Thread(target=run, name=f"headway {self._described}", daemon=True)
        self._thread.start()

    def call(self, what: Callable[[], Any]) -> bool:
        """Have something called on the loop, from another thread; False where the loop has ended."""
        try:
            self.loop.call_soon_threadsafe(what)
        except RuntimeError:
            return False
        return True

    def close(self) -> None:
        """Let `live` end, and wait for it. Called from another thread."""
        self.call(self.ended.set)
        if self._thread is not None:
            self._thread.join()

    async def pause(self, seconds: float) -> None:
        """Wait so long, but not beyond `close`."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.ended.wait(), seconds)

    async def until_end(self, work: Coroutine[Any, Any, _Done]) -> Optional[_Done]:
        """What comes of something that a server is asked; None after `close`, which does not wait for it."""
        working = asyncio.ensure_future(work)
        ending = asyncio.ensure_future(self.ended.wait())
        try:
            await asyncio.wait([working, ending], return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            for task in (working, ending):
                task.cancel()
            await asyncio.wait([working, ending])
