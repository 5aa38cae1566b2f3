"""The thread that makes durable what many clients send at once: whatever has come while it wrote is its next group."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, Optional

from headway.basics.crashpoints import reached
from headway.basics.histogram import Histogram
from headway.errors import StateError
from headway.inbox.commits import Inbox, Item, Outcome
from headway.inbox.log import BrokenLogError

__all__ = ["Appender", "Told"]

_GROUP_BYTES: Final = 8 << 20
_GROUP_BATCHES: Final = 4_096

Told = Sequence[tuple[Any, Outcome]]
"""What came of batches, each by what it was submitted with."""


class _Submitted(NamedTuple):
    items: Sequence[Item]
    size: int
    token: Any


class Appender:
    """Commits batches to an inbox in a thread of its own, in the order in which they are submitted.

    `deliver` is called in that thread with the outcomes of each group, once it is durable. `on_broken` is called once,
    when the inbox takes nothing any more before it is opened anew. `closed` lets the inbox go.
    """

    def __init__(self, inbox: Inbox, deliver: Callable[[Told], None], on_broken: Callable[[], None]) -> None:
        self._inbox = inbox
        self._deliver = deliver
        self._on_broken = on_broken
        self._queue: SimpleQueue[Optional[_Submitted]] = SimpleQueue()
        self.queued_bytes = 0
        """What was submitted and not yet delivered, about."""
        self.groups = 0
        self.batches = 0
        self._thread = threading.Thread(target=self._run, name="headway-inbox", daemon=True)
        self._thread.start()

    @property
    def is_broken(self) -> bool:
        """Whether the inbox takes nothing any more."""
        return self._inbox.log.is_broken

    @property
    def syncs(self) -> Histogram:
        """How long it took to make groups durable, since the inbox was opened."""
        return self._inbox.log.syncs

    def submit(self, items: Sequence[Item], size: int, token: Any) -> None:
        """Have a batch of so many bytes committed; `deliver` gets the outcome with the token. Called by one thread."""
        self.queued_bytes += size
        self._queue.put(_Submitted(items, size, token))

    def delivered(self, size: int) -> None:
        """Whoever submitted a batch of so many bytes has its outcome. Called by the same thread."""
        self.queued_bytes -= size

    def close(self) -> None:
        """Commit what was submitted, and let the inbox go."""
        self._queue.put(None)
        self._thread.join()
        self._inbox.close()

    def _run(self) -> None:
        was_broken = False
        while True:
            group, is_last = self._gather()
            if group:
                outcomes = self._outcomes(group)
                reached("inbox-answer.before")
                self._deliver(list(zip((one.token for one in group), outcomes)))
                reached("inbox-answer.after")
            if self.is_broken and not was_broken:
                was_broken = True
                self._on_broken()
            if is_last:
                return

    def _outcomes(self, group: Sequence[_Submitted]) -> Sequence[Outcome]:
        self.groups += 1
        self.batches += len(group)
        try:
            return self._inbox.commit([one.items for one in group])
        except StateError as error:
            return [error] * len(group)
        except Exception as error:
            # Clients must not wait for ever, whatever it is; what is in the log now is not known.
            self._inbox.log.give_up(f"unexpected {type(error).__name__}: {error}")
            return [BrokenLogError(str(error))] * len(group)

    def _gather(self) -> tuple[list[_Submitted], bool]:
        """What has come, waiting for the first; and whether nothing comes after it."""
        group: list[_Submitted] = []
        size = 0
        one = self._queue.get()
        while one is not None:
            group.append(one)
            size += one.size
            if size >= _GROUP_BYTES or len(group) >= _GROUP_BATCHES:
                return group, False
            try:
                one = self._queue.get_nowait()
            except Empty:
                return group, False
        return group, True
