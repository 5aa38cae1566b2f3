"""Writing the log that a run writes itself; see `headway.inbox.runlog`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Optional

from headway.errors import HeadwayError
from headway.inbox.appender import Appender, Told
from headway.inbox.commits import Inbox, Item, Outcome
from headway.inbox.settings import InboxSettings
from headway.inbox.window import hash_of

__all__ = ["RunLogWriter"]


class RunLogWriter:
    """Appends to the partition of one worker, from one event loop; a thread of its own waits for the disk.

    Opened on the loop by `open`. Several writers of one loop to one partition share the log and the thread. Raises what
    `InboxLog` raises.
    """

    def __init__(self, directory: Path, settings: InboxSettings) -> None:
        self._directory = directory
        self._settings = settings
        self._opened: Optional[_Opened] = None

    def open(self) -> None:
        """Open the log; reads the keys of the window, some 10 ms for each 10,000 of them."""
        loop = asyncio.get_running_loop()
        place = (id(loop), self._directory)
        if place not in _OPENED:
            _OPENED[place] = _Opened(loop, Inbox(self._directory, self._settings, first_counts=True))
        self._opened = _OPENED[place]
        self._opened.users += 1

    async def append(self, items: Sequence[Item]) -> None:
        """Make records durable that are not yet. Raises `StateError` when they are not, as on a full disk."""
        outcome = await self.submit(items)
        if isinstance(outcome, Exception):
            raise outcome

    def submit(self, items: Sequence[Item]) -> asyncio.Future[Outcome]:
        """As `append`, without waiting; the result is what came of it."""
        assert self._opened is not None
        done: asyncio.Future[Outcome] = self._opened.loop.create_future()
        self._opened.appender.submit(items, sum(len(item.lines) for item in items), done)
        return done

    def knows(self, key: str) -> bool:
        """Whether a record with this key is durable, as far as the window goes."""
        assert self._opened is not None
        return self._opened.inbox.window.find(hash_of(key.encode()), 0) is not None

    def close(self) -> None:
        """Have what was submitted committed, and let the log go."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        opened.users -= 1
        if opened.users == 0:
            del _OPENED[id(opened.loop), self._directory]
            with suppress(HeadwayError):
                opened.appender.close()


class _Opened:
    """A log that is open, and who uses it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, inbox: Inbox) -> None:
        self.loop = loop
        self.inbox = inbox
        self.users = 0
        self.appender = Appender(inbox, self._deliver, lambda: None)

    def _deliver(self, told: Told) -> None:
        with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            self.loop.call_soon_threadsafe(_settle, told)


_OPENED: Final[dict[tuple[int, Path], _Opened]] = {}
"""Open logs by their loops and folders; each is used on its loop alone."""


def _settle(told: Told) -> None:
    for future, outcome in told:
        if not future.done():
            future.set_result(outcome)
