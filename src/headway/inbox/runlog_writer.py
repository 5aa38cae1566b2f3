"""Writing the log that a run writes itself; see `headway.inbox.runlog`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Optional

from headway.errors import HeadwayError
from headway.inbox.appender import Appender, Told
from headway.inbox.commits import Inbox, Item, Outcome
from headway.inbox.settings import InboxSettings
from headway.inbox.window import hash_of

__all__ = ["RunLogWriter"]


class RunLogWriter:
    """Appends to the partition of one worker, from one event loop; a thread of its own waits for the disk.

    Opened on the loop by `open`. Raises what `InboxLog` raises.
    """

    def __init__(self, directory: Path, settings: InboxSettings) -> None:
        self._directory = directory
        self._settings = settings
        self._inbox: Optional[Inbox] = None
        self._appender: Optional[Appender] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    def open(self) -> None:
        """Open the log; reads the keys of the window, some 10 ms for each 10,000 of them."""
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(self._directory, self._settings, first_counts=True)
        self._appender = Appender(self._inbox, self._deliver, lambda: None)

    async def append(self, items: Sequence[Item]) -> None:
        """Make records durable that are not yet. Raises `StateError` when they are not, as on a full disk."""
        outcome = await self.submit(items)
        if isinstance(outcome, Exception):
            raise outcome

    def submit(self, items: Sequence[Item]) -> asyncio.Future[Outcome]:
        """As `append`, without waiting; the result is what came of it."""
        assert self._appender is not None and self._loop is not None
        done: asyncio.Future[Outcome] = self._loop.create_future()
        self._appender.submit(items, sum(len(item.lines) for item in items), done)
        return done

    def knows(self, key: str) -> bool:
        """Whether a record with this key is durable, as far as the window goes."""
        assert self._inbox is not None
        return self._inbox.window.find(hash_of(key.encode()), 0) is not None

    def close(self) -> None:
        """Have what was submitted committed, and let the log go."""
        if self._appender is not None:
            with suppress(HeadwayError):
                self._appender.close()
            self._appender = None

    def _deliver(self, told: Told) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            self._loop.call_soon_threadsafe(_settle, told)


def _settle(told: Told) -> None:
    for future, outcome in told:
        if not future.done():
            future.set_result(outcome)
