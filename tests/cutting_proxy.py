"""Stands before a server, and cuts connections at moments that hurt: when the server has answered, and before anybody
has heard it. So a client has sent `COMMIT`, and cannot know what has become of it. Answers may also be held up.
"""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final

_HOLD_S: Final = 0.05


class CuttingProxy:
    """Serves in a thread while it is entered. One in `cut_of` answers is thrown away, with its connection.

    One in `hold_of` others comes late, by some hundredths of a second; with 0 none does.
    """

    def __init__(self, behind: int, chance: random.Random, cut_of: int, hold_of: int = 0) -> None:
        self.port = 0
        self.cut = 0
        """Connections that were cut."""
        self._behind = behind
        self._chance = random.Random(chance.randrange(1 << 30))
        self._cut_of = cut_of
        self._hold_of = hold_of
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

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        ours = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not ours]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)  # A transport closes its socket in the turn after.

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self._behind)
                try:
                    asking = asyncio.ensure_future(self._pass_on(reader, back, is_answer=False))
                    await self._pass_on(there, writer, is_answer=True)
                    await asking
                finally:
                    back.close()
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                if is_answer and self._chance.randrange(self._cut_of) == 0:
                    self.cut += 1
                    break
                if is_answer and self._hold_of and self._chance.randrange(self._hold_of) == 0:
                    await asyncio.sleep(self._chance.random() * _HOLD_S)
                writer.write(piece)
                await writer.drain()
        writer.close()  # Each side's end ends the other.
