"""Stands before a server, and cuts connections at moments that hurt: when the server has answered, and before anybody
has heard it. So a client has sent `COMMIT`, and cannot know what has become of it. Answers may also be held up, come in
part, or not at all while the connection stays; questions may be lost; and the server may be away.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import Final

__all__ = ["CuttingProxy", "Way"]

_HOLD_S: Final = 0.05


class Way(Enum):
    """What is thrown away when a connection is cut."""

    ANSWER = auto()
    HALF_AN_ANSWER = auto()
    """The client gets its beginning."""
    QUESTION = auto()
    """The server never gets it."""


class CuttingProxy:
    """Serves in a thread while it is entered. About one in `cut_of` answers is thrown away, with its connection.

    The first is among the first `2 * cut_of`, and so is each one behind the one before: a test that has that many
    answers is sure to see a cut; there are `cut_most` of them. `ways` names what else may be lost. One in `hold_of`
    others comes late, by some hundredths of a second; with 0 none does. Listens on `port`, or on a free one.
    """

    def __init__(
        self,
        behind: int,
        chance: random.Random,
        cut_of: int,
        hold_of: int = 0,
        *,
        port: int = 0,
        cut_most: int = 1 << 30,
        ways: Sequence[Way] = (Way.ANSWER,),
    ) -> None:
        self.port = port
        self.cut = 0
        """Connections that were cut."""
        self.dialled = 0
        """Connections that clients have made."""
        self.swallowed = 0
        """Pieces that nobody got, as the connection had fallen silent."""
        self._is_away = False
        self._behind = behind
        self._chance = random.Random(chance.randrange(1 << 30))
        self._cut_of = cut_of
        self._cut_most = cut_most
        self._ways = ways
        self._hold_of = hold_of
        self._left = self._drawn()
        self._writers: set[asyncio.StreamWriter] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        """Those to which nothing is passed on any more."""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def go_away(self) -> None:
        """End all connections, and each new one at once, until `come_back`."""
        self._is_away = True
        self._do(self._abort_all)

    def come_back(self) -> None:
        """Serve again."""
        self._is_away = False

    def fall_silent(self) -> None:
        """Nothing more comes through the connections that there are, which stay; new ones are as ever."""
        self._do(lambda: self._deaf.update(self._writers))

    def _do(self, what: Callable[[], None]) -> None:
        is_done = threading.Event()

        def do() -> None:
            what()
            is_done.set()

        self._loop.call_soon_threadsafe(do)
        is_done.wait()

    def _abort_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        # Nothing is cancelled: a task that has not begun would leave the socket open that it was made for.
        while len(asyncio.all_tasks()) > 1:
            self._abort_all()
            await asyncio.sleep(0.001)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        self._writers.add(writer)
        try:
            if self._is_away:
                return
            with suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self._behind)
                self._writers.add(back)
                try:
                    asking = asyncio.ensure_future(self._pass_on(reader, back, is_answer=False))
                    await self._pass_on(there, writer, is_answer=True)
                    await asking
                finally:
                    await self._close(back)
        finally:
            await self._close(writer)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        """Returns once its socket is closed: before, a loop that ends would leave it open."""
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._writers.discard(writer)
        self._deaf.discard(writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                if writer in self._deaf:
                    self.swallowed += 1
                    continue
                if (is_answer or Way.QUESTION in self._ways) and self._is_to_cut():
                    self.cut += 1
                    if is_answer and Way.HALF_AN_ANSWER in self._ways and self._chance.randrange(2):
                        writer.write(piece[: self._chance.randrange(len(piece))])
                        await writer.drain()
                    break
                if is_answer and self._hold_of and self._chance.randrange(self._hold_of) == 0:
                    await asyncio.sleep(self._chance.random() * _HOLD_S)
                writer.write(piece)
                await writer.drain()
        writer.close()  # Each side's end ends the other.

    def _drawn(self) -> int:
        return self._chance.randint(1, 2 * self._cut_of)

    def _is_to_cut(self) -> bool:
        self._left -= 1
        if self._left > 0 or self.cut >= self._cut_most:
            return False
        self._left = self._drawn()
        return True
