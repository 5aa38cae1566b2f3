"""Queues and consumers that exist only in tests."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from headway.errors import InputError
from headway.inbox.queues.base import Consumer, Message


@dataclass
class FakeQueue:
    """Hands out what is not acknowledged again, from the oldest on, to whoever connects anew."""

    chance: random.Random
    fails_of: int = 0
    has_ids: bool = True
    waiting: deque[int] = field(default_factory=deque)
    handed: list[int] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    durable: int = 0
    failure: InputError | None = None

    def put(self, numbers: range) -> None:
        self.waiting.extend(numbers)

    def trouble(self) -> None:
        if self.failure is not None:
            raise self.failure
        # An empty queue has none: what fails again and again is never quiet, and so a bounded run would never end.
        is_busy = self.waiting or self.handed
        if self.fails_of and is_busy and self.chance.randrange(self.fails_of) == 0:
            raise ConnectionError("it is away")


class FakeConsumer(Consumer):
    def __init__(self, queue: FakeQueue) -> None:
        self.queue = queue

    async def connect(self) -> None:
        self.queue.trouble()
        assert not self.queue.handed, "disconnect() comes before connect()"

    async def take(self) -> Sequence[Message]:
        queue = self.queue
        queue.trouble()
        count = min(len(queue.waiting), queue.chance.randrange(1, 8))
        taken = [queue.waiting.popleft() for _ in range(count)]
        queue.handed += taken
        queue.trouble()
        return [
            Message(b'{"n": %d}' % n, str(n) if queue.has_ids else None, f"k{n}", [("h", b"%d" % n)], n or None)
            for n in taken
        ]

    async def done(self, messages: Sequence[Message]) -> None:
        queue = self.queue
        queue.trouble()
        queue.acknowledged += queue.handed[: len(messages)]
        assert len(queue.handed) == len(messages)
        queue.handed.clear()
        queue.trouble()

    async def disconnect(self) -> None:
        self.queue.waiting.extendleft(reversed(self.queue.handed))
        self.queue.handed.clear()


class Given(Consumer):
    """Hands out what it was given, once, group by group."""

    def __init__(self, groups: Sequence[Sequence[Message]]) -> None:
        self.left = list(groups)

    async def connect(self) -> None:
        pass

    async def take(self) -> Sequence[Message]:
        return self.left.pop(0) if self.left else []

    async def done(self, messages: Sequence[Message]) -> None:
        pass

    async def disconnect(self) -> None:
        pass
