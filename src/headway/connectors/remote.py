"""Inputs whose records come over a network: a thread that talks, readers that find what has come in their queues.

**Two threads.** The engine calls a reader's `read` and must never wait for a network. So a session has a thread of its
own: it connects, finds partitions, fetches, connects again. What it has fetched lies in the reader's queue, as chunks
with the position behind each. What both threads touch is a deque and plain attributes, each written by one of them.

**Bounds.** A reader whose queue is full gets no more until half of it was read: a partition that is ahead in event time
must not fill the memory, nor keep the others from being fetched.

**Trouble.** What ends by itself (a server that restarts) is tried again, and is told once when it has lasted. What does
not (a wrong password) ends the run. What concerns one partition (records that were deleted) ends the run when that
partition is read.

`LoopSession` is for clients with an event loop. One whose client blocks has a thread of its own kind, see Kafka's.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import closing, suppress
from threading import Event
from typing import Final, Optional

from headway.connectors.base import Input, PartitionReader, Position, Session, Tell, unheard
from headway.connectors.loopthread import LoopThread
from headway.connectors.parts import RecordPart
from headway.connectors.queued import QueuedReader
from headway.connectors.troubles import Troubles
from headway.connectors.wording import wording
from headway.errors import InputError, UsageError
from headway.formats.base import Format
from headway.formats.named import FormatLike, format_of

__all__ = [
    "ANEW",
    "LoopSession",
    "RemoteInput",
    "format_without_header",
    "one_of",
]

FIRST_WAIT_S: Final = 15.0
LOOK_EVERY_S: Final = 5.0
ANEW: Final = "start with a new state directory once it is there again"
"""What is to be done where a log was deleted whose positions are kept."""
_LEAVE_S: Final = 5.0
"""How long a client may take to end: one may have something left that nobody takes any more."""
_PAUSES_S: Final = (0.05, 0.2, 0.5, 1.0)


class RemoteInput(Input):
    """An input that is read through a session with a client. `session` makes one; the rest goes through it."""

    record_parts = frozenset(RecordPart)

    @property
    def has_news(self) -> bool:
        """A thread takes what comes, so that readers know."""
        return True

    @abstractmethod
    def session(self) -> Session:
        """One client for the process."""

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """Those that there are now, by a session that ends with the answer."""
        with closing(self.session()) as session:
            return session.partitions(tell)

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """A reader with a session of its own, which ends when the reader is closed."""
        session = self.session()
        reader = session.open(partition, position, follow=follow)
        assert isinstance(reader, QueuedReader)
        reader.on_close = session.close
        return reader


def one_of(who: str, what: str, value: object, *known: str) -> None:
    """Raise `UsageError` for an option that is none of the values that it can have."""
    if value not in known:
        msg = f"{who}(..., {what}={value!r}): expected {' or '.join(map(repr, known))}"
        raise UsageError(msg)


def format_without_header(given: FormatLike, who: str) -> Format:
    """The format of messages, which have no first line. Raises `UsageError` for one that needs it."""
    form = format_of(given, f"{who}(...)")
    if form.has_header:
        msg = f"{who}(..., format={form.name!r}): messages have no first line; name the columns: Csv(columns=...)"
        raise UsageError(msg)
    return form


class LoopSession(Session):
    """A session whose client has an event loop, which runs in a thread of the session's own.

    What a kind of server needs are the coroutines below. They raise `InputError` for what does not end by itself, and
    one of `transient` for what may: then it is tried again, after pauses of up to a second.
    """

    transient: tuple[type[BaseException], ...] = (OSError, asyncio.TimeoutError)

    def __init__(self, given: Input) -> None:
        self.troubles = Troubles(given.describe())
        self._given = given
        self._names: Optional[list[str]] = None
        self._first_look = Event()
        self._thread = LoopThread(given.describe(), self.words)
        self._feeding: dict[QueuedReader, asyncio.Task[None]] = {}
        self._is_connected = asyncio.Event()
        self._doubt = asyncio.Event()
        """Set by a reader that is in trouble: whether all are is looked at now."""
        self._thread.start(self._live, self._first_look.set, self.disconnect)

    # What a kind of server is.

    @abstractmethod
    async def connect(self) -> None:
        """Connect; called again after `transient` trouble."""

    @abstractmethod
    async def disconnect(self) -> None:
        """End the client, whatever state it is in."""

    @abstractmethod
    async def names(self) -> list[str]:
        """The partitions that there are now."""

    @abstractmethod
    async def feed(self, reader: QueuedReader) -> None:
        """Fetch for a reader from `reader.fetched` on, until a bounded one is finished; called again after trouble."""

    @abstractmethod
    def reader(self, name: str, position: Optional[Position], *, follow: bool) -> QueuedReader:
        """A reader for a partition."""

    def words(self, error: BaseException) -> str:
        """What is wrong, for a person."""
        return wording(error)

    async def room(self, reader: QueuedReader) -> None:
        """Return when the reader may get more."""
        if not reader.is_full:
            return
        low = asyncio.Event()

        def wake() -> None:
            self._thread.call(low.set)

        reader.on_low = wake
        reader.is_paused = True
        while not reader.is_low:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(low.wait(), 1.0)
            low.clear()
        reader.is_paused = False

    # What the engine's thread calls.

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """Those that the thread has seen last. The first call waits for the server."""
        if not self._first_look.wait(FIRST_WAIT_S):
            why = self.troubles.last or "check the address, and whether it runs"
            msg = f"{self._given.describe()} does not answer within {FIRST_WAIT_S:.0f} s: {why}"
            raise InputError(msg)
        self.check()
        self.troubles.take(tell)
        return list(self._names or [])

    def notices(self, tell: Tell) -> None:
        """What the thread has noticed."""
        self.troubles.take(tell)

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """A reader, for which the thread fetches from now on."""
        reader = self.reader(partition, position, follow=follow)
        self._thread.call(lambda: self._begin(reader))
        return reader

    def release(self, reader: QueuedReader) -> None:
        """Fetch no more for a reader."""
        self._thread.call(lambda: self._stop(reader))

    def check(self) -> None:
        """Raise what has ended the session, if something has."""
        if self._thread.failure is not None:
            raise self._thread.failure

    def close(self) -> None:
        """End the client and the thread."""
        self._thread.close()

    # What the session's thread does.

    async def _live(self) -> None:
        attempt = 0
        while not self._thread.ended.is_set():
            try:
                names = await self._thread.until_end(self._look())
                if names is None:
                    return
                self._names = names
                self._is_connected.set()
                self._first_look.set()
                self.troubles.up()
                attempt = 0
                pause_s = LOOK_EVERY_S
            except self.transient as error:
                self._is_connected.clear()
                self.troubles.down(self.words(error))
                with suppress(Exception):  # It is made anew.
                    await asyncio.wait_for(self.disconnect(), _LEAVE_S)
                pause_s = _PAUSES_S[min(attempt, len(_PAUSES_S) - 1)]
                attempt += 1
            await self._rest(pause_s)

    async def _rest(self, seconds: float) -> None:
        """Wait so long, but not beyond `close`; nor when a reader is in trouble while all seemed to be well."""
        if not self._is_connected.is_set():
            await self._thread.pause(seconds)
            return
        with suppress(asyncio.TimeoutError):
            await self._thread.until_end(asyncio.wait_for(self._doubt.wait(), seconds))
        self._doubt.clear()

    async def _look(self) -> list[str]:
        if not self._is_connected.is_set():
            await self.connect()
        return await self.names()

    def _begin(self, reader: QueuedReader) -> None:
        self._feeding[reader] = self._thread.loop.create_task(self._feed(reader))

    def _stop(self, reader: QueuedReader) -> None:
        task = self._feeding.pop(reader, None)
        if task is not None:
            task.cancel()

    async def _feed(self, reader: QueuedReader) -> None:
        attempt = 0
        while True:
            await self._is_connected.wait()
            try:
                before = reader.fetched
                await self.feed(reader)
                return
            except self.transient as error:
                self.troubles.down(self.words(error), reader.name)
                self._doubt.set()
                attempt = 0 if reader.fetched is not before else attempt + 1
                await asyncio.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
            except InputError as error:
                reader.fail(error)
                return
            except Exception as error:
                failure = InputError(f"{self._given.describe()} cannot be read on: {self.words(error)}")
                failure.__cause__ = error
                reader.fail(failure)
                return
