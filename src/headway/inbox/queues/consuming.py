"""The thread that takes messages from a queue, makes them durable in an inbox, and acknowledges them.

It does one thing after the other: take, append, acknowledge. The queue's client goes on receiving meanwhile, up to as
many messages as it may hold without an acknowledgement, and so the next group is the larger, the slower the disk.

It stops taking while the flow is far behind: then messages wait in the queue, which is made for it, and not on the disk
of the flow's state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Optional

from headway.basics.crashpoints import reached
from headway.connectors.loopthread import LoopThread
from headway.connectors.remote import FIRST_WAIT_S
from headway.connectors.troubles import Troubles
from headway.errors import InputError, LockedStateError, StateError
from headway.inbox.commits import Inbox
from headway.inbox.log import NoRoomError
from headway.inbox.queues.base import Consumer, Message
from headway.inbox.queues.records import item_of

__all__ = ["Consuming"]

_PAUSES_S: Final = (0.05, 0.2, 0.5, 1.0)
_LOCKED_S: Final = 15.0
"""How long the process that had the log before may take to end."""
_FULL_S: Final = 1.0
_BEHIND_S: Final = 0.02
_QUIET_S: Final = 1.0
"""A bounded run ends when nothing has come for so long."""
_LEAVE_S: Final = 5.0


class Consuming:
    """Takes messages until it is closed; with `follow=False` until the queue has been quiet for a second.

    `open_inbox` opens the log; `waiting` tells how many records of it the flow still needs, of which there may be
    `most_waiting`.
    """

    def __init__(
        self,
        described: str,
        consumer: Consumer,
        open_inbox: Callable[[], Inbox],
        waiting: Callable[[], int],
        troubles: Troubles,
        *,
        most_waiting: int,
        follow: bool,
    ) -> None:
        self.is_finished = False
        """Whether a bounded run has all that there was; all of it is durable."""
        self._described = described
        self._consumer = consumer
        consumer.tell = troubles.tell
        self._open_inbox = open_inbox
        self._waiting = waiting
        self._troubles = troubles
        self._most_waiting = most_waiting
        self._follow = follow
        self._thread = LoopThread(described, consumer.words)
        self._disk = ThreadPoolExecutor(1, "headway-inbox")
        self._inbox: Optional[Inbox] = None
        self._attempt = 0
        """How many connections have ended in trouble since the queue answered last."""
        self._has_answered = False
        self._begun_s = time.monotonic()
        self._thread.start(self._live, self._disk.shutdown)

    @property
    def failure(self) -> Optional[InputError]:
        """What has ended it."""
        return self._thread.failure

    def close(self) -> None:
        """Let what is under way be acknowledged, and end."""
        self._thread.close()

    async def _live(self) -> None:
        self._inbox = await self._opened()
        if self._inbox is None:
            return
        # Clients cancel what waits for a connection that has ended; nobody else cancels this.
        transient: tuple[type[BaseException], ...] = (asyncio.CancelledError, *self._consumer.transient)
        try:
            while not (self._thread.ended.is_set() or self.is_finished):
                try:
                    await self._thread.until_end(self._consumer.connect())
                    await self._consume()
                except transient as error:
                    self._trouble(self._consumer.words(error))
                finally:
                    with suppress(Exception):  # It is made anew, or not needed any more.
                        await asyncio.wait_for(self._consumer.disconnect(), _LEAVE_S)
                if self._attempt:
                    await self._thread.pause(_PAUSES_S[min(self._attempt, len(_PAUSES_S)) - 1])
        finally:
            await self._on_disk(self._inbox.close)

    def _trouble(self, reason: str) -> None:
        """A connection was not made, or has ended. Raises `InputError` when a bounded run has waited long enough."""
        self._attempt += 1
        self._troubles.down(reason)
        if not (self._follow or self._has_answered) and time.monotonic() - self._begun_s > FIRST_WAIT_S:
            msg = f"{self._described} does not answer within {FIRST_WAIT_S:.0f} s: {reason}"
            raise InputError(msg)

    def _answered(self) -> None:
        """The queue has done all that was asked of it. That it lets one connect is not enough: it may drop whoever has.

        So whoever is dropped again and again waits longer each time.
        """
        self._attempt = 0
        self._has_answered = True
        self._troubles.up()

    async def _opened(self) -> Optional[Inbox]:
        """The log, once the process that had it before has ended; None where this one ends before that."""
        until = time.monotonic() + _LOCKED_S
        while not self._thread.ended.is_set():
            try:
                return await self._on_disk(self._open_inbox)  # type: ignore[no-any-return]
            except LockedStateError as error:
                if time.monotonic() > until:
                    raise InputError(str(error)) from error
                await self._thread.pause(0.05)
            except StateError as error:
                raise InputError(str(error)) from error
        return None

    async def _consume(self) -> None:
        quiet_since = time.monotonic()
        while not self._thread.ended.is_set():
            while self._waiting() > self._most_waiting and not self._thread.ended.is_set():
                await self._thread.pause(_BEHIND_S)
            messages = await self._thread.until_end(self._consumer.take())
            if messages:
                await self._append(messages)
                reached("queue-answer.before")
                await self._consumer.done(messages)
                reached("queue-answer.after")
                quiet_since = time.monotonic()
            self._answered()
            if messages:
                continue
            if not self._follow and time.monotonic() - quiet_since >= _QUIET_S:
                self.is_finished = True
                return

    async def _append(self, messages: Sequence[Message]) -> None:
        """Make messages durable. Where there is no room it is waited for."""
        assert self._inbox is not None
        items = list(map(item_of, messages))
        while True:
            try:
                [outcome] = await self._on_disk(self._inbox.commit, [items])
                if not isinstance(outcome, Exception):
                    return
                raise outcome
            except NoRoomError as error:
                self._troubles.down(str(error))
                if self._thread.ended.is_set():
                    raise ConnectionError(str(error)) from error  # It is left to the queue.
                await self._thread.pause(_FULL_S)
            except StateError as error:
                raise InputError(str(error)) from error

    async def _on_disk(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await self._thread.loop.run_in_executor(self._disk, work, *arguments)
