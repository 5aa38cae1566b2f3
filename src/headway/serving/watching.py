"""Who waits for another version of a key: looked up once for each snapshot, however many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Optional

from headway.serving.answers import KeyAnswer
from headway.web.problems import ProblemError

__all__ = ["Watchers"]

_SLICE = 200
"""Keys that are looked up before requests have their turn."""

Look = Callable[[str, str], KeyAnswer]
"""What a view says of a key now."""


class Watchers:
    """Waits for a version of a key that is another one than a given ETag. Everything on one event loop.

    `look` answers for a view and a key; `most` may wait at a time.
    """

    def __init__(self, look: Look, most: int) -> None:
        self._look = look
        self._most = most
        self._waiting: dict[tuple[str, str], dict[asyncio.Future[Optional[KeyAnswer]], str]] = {}
        self.count = 0
        """How many wait now."""
        self.has_ended = False

    async def wait(self, view: str, key: str, etag: str, within_s: float) -> Optional[KeyAnswer]:
        """The next version; None when there was none in time, or the server is about to end.

        Raises `ProblemError` when too many wait already, and what `look` raises.
        """
        if self.has_ended:
            return None
        if self.count >= self._most:
            raise ProblemError(429, f"{self._most:,} clients wait already: come again", headers={"retry-after": "1"})
        waiter: asyncio.Future[Optional[KeyAnswer]] = asyncio.get_running_loop().create_future()
        group = self._waiting.setdefault((view, key), {})
        group[waiter] = etag
        self.count += 1
        try:
            return await asyncio.wait_for(waiter, within_s)
        except asyncio.TimeoutError:
            return None
        finally:
            self.count -= 1
            del group[waiter]
            if not group and self._waiting.get((view, key)) is group:
                del self._waiting[view, key]

    async def tell(self) -> None:
        """There is another snapshot: look at all keys that somebody waits for."""
        for number, (view, key) in enumerate(list(self._waiting)):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            waiters = list(self._waiting.get((view, key), {}).items())
            try:
                answer = self._look(view, key)
            except Exception as error:  # Each of those who wait is told, and the others are looked at all the same.
                for waiter, _ in waiters:
                    if not waiter.done():
                        waiter.set_exception(error)
                continue
            for waiter, etag in waiters:
                if answer.etag != etag and not waiter.done():
                    waiter.set_result(answer)

    def end(self) -> None:
        """Send everybody home."""
        self.has_ended = True
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
