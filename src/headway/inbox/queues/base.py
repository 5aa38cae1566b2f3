"""What a consumer of a queue is: the contract between queues that cannot be read again and whoever makes them durable.

A queue forgets what is acknowledged. So a message is written to the inbox first, a log in the state directory, and
acknowledged once that is durable; the flow reads the log. What is killed in between, on either side, makes the queue
hand the message out again: then it has the same `id`, and the inbox passes it over. Where a queue knows no ids, such a
message is there twice. A message that has the id of another one, but another value, is a message of its own.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Optional

from headway.connectors.base import Tell, unheard
from headway.connectors.wording import wording

__all__ = ["BATCH", "QUIET_S", "Consumer", "Losses", "Message", "gathered"]

BATCH: Final = 256
"""Messages that are made durable together, at most."""
QUIET_S: Final = 1.0
"""How long `take` waits for a message."""


class Message(NamedTuple):
    """One message of a queue."""

    value: bytes
    """In the format of the source."""
    id: Optional[str] = None
    """What it is known by when it is handed out again, together with its value; None where the queue does not say."""
    key: Optional[str] = None
    headers: Sequence[tuple[str, bytes]] = ()
    time_ms: Optional[int] = None
    """When it was made, in epoch milliseconds; None for the time at which the inbox takes it."""
    token: Any = None
    """What the consumer needs to acknowledge it."""


class Consumer(ABC):
    """Takes messages from a queue and acknowledges them. All coroutines run on one event loop, one after the other.

    They raise one of `transient` for what may end by itself: then `disconnect` and `connect` are called again, after
    pauses of up to a second, and whatever was not acknowledged is expected to be handed out again. They raise
    `InputError` for what does not end by itself, which ends the run; any other exception does, too.
    """

    transient: tuple[type[BaseException], ...] = (OSError, asyncio.TimeoutError)

    tell: Tell = staticmethod(unheard)
    """Takes what a person should know, such as that messages were lost. Set by whoever runs the consumer."""

    @abstractmethod
    async def connect(self) -> None:
        """Connect to the queue. Called once at first, and then after trouble, always after `disconnect`."""

    @abstractmethod
    async def take(self) -> Sequence[Message]:
        """The next messages, at most `BATCH`; none when there is nothing for a second.

        Cancelled at the end of a run; what it would have returned must then be handed out again by the queue.
        """

    @abstractmethod
    async def done(self, messages: Sequence[Message]) -> None:
        """What the last `take` has returned is durable: acknowledge it. Called once for each `take` that had some."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Release what `connect` took, whatever state it is in. Nothing is acknowledged by that."""

    async def look(self) -> str:
        """Connect, take nothing, and say what is there. Called instead of all others, by whoever looks before a run."""
        return "is taken from while the flow runs"

    def words(self, error: BaseException) -> str:
        """What is wrong, for a person, without what is secret."""
        return wording(error)


class Losses:
    """Counts messages that a queue has handed out, will not hand out again, and that there was no room for.

    Told are the first of them, the tenth, the hundredth and so on, and at the end how many they were.
    """

    def __init__(self, tell: Tell, what: str) -> None:
        self._tell = tell
        self._what = what
        self._count = 0
        self._told = 0

    def add(self) -> None:
        """One more is lost."""
        self._count += 1
        if self._count >= 10 * self._told:
            self._say()

    def end(self) -> None:
        """The connection ends: tell what was not told."""
        if self._count > self._told:
            self._say()

    def _say(self) -> None:
        self._told = self._count
        self._tell(f"{self._count:,} {self._what}")


async def gathered(come: asyncio.Queue[Any], most: int) -> list[Any]:
    """What has come into a queue, at most so many; waits for the first one, but no longer than a second."""
    found: list[Any] = []
    try:
        found.append(await asyncio.wait_for(come.get(), QUIET_S))
    except asyncio.TimeoutError:
        return found
    while len(found) < most and not come.empty():
        found.append(come.get_nowait())
    return found
