"""Where workers are served in a flow's process: a socket in the state directory, which the server beside it asks.

Only the user of the run can open it. Each connection has one question. Work that is handed over counts as handed over
once the asker has said that it has it: one that is gone by then has taken nothing away.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Optional

import msgspec

from headway.steps.desk_protocol import ACK, Ask, Beat, End, Ended, GiveBack, Given, Heard, LeasedWork, decode_question
from headway.steps.frames import LENGTH, framed
from headway.steps.hub import Hub

__all__ = ["Desk", "desk_path", "read_framed", "short_path"]

_PATH_MOST: Final = 100
"""Bytes: the path of a socket may have no more than 107."""


def desk_path(state_dir: Path, worker: int) -> Path:
    """The socket of one process of a flow."""
    return state_dir / "run" / f"steps-{worker:02d}.sock"


class Desk:
    """Answers for one hub, on its event loop."""

    def __init__(self, hub: Hub, path: Path) -> None:
        self._hub = hub
        self._path = path
        self._server: Optional[asyncio.AbstractServer] = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0

    async def open(self) -> None:
        """Listen. Raises `OSError`."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with suppress(FileNotFoundError):
                self._path.unlink()
            with short_path(self._path) as path:
                sock.bind(path)
            self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._serve, sock=sock, backlog=256)
        except BaseException:
            sock.close()
            raise

    async def close(self) -> None:
        """Answer nobody any more; who waits for work gets none."""
        if self._server is not None:
            self._server.close()
            with suppress(FileNotFoundError):
                self._path.unlink()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            question = decode_question(await read_framed(reader))
            if isinstance(question, Ask):
                await self._ask(question, reader, writer)
            else:
                await _say(writer, self._answer(question))
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError, asyncio.CancelledError):
            pass  # Who asks is gone, or this process is about to be.
        finally:
            self._tasks.discard(task)
            writer.close()

    def _answer(self, question: Any) -> Any:
        hub = self._hub
        if isinstance(question, Beat):
            lost = []
            for held in question.held:
                if not hub.heard(held.lease):
                    lost.append(held.lease)
                elif held.beats:
                    hub.beaten(held.lease, held.details)
            return Heard(lost)
        if isinstance(question, End):
            return Ended(hub.complete(question.lease, question.outcome))
        assert isinstance(question, GiveBack)
        for lease in question.leases:
            hub.give_back(lease)
        return Ended()

    async def _ask(self, ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        known = self._hub.worker_queues
        said = asyncio.ensure_future(reader.read(1))
        """What the asker says next: that it has what it was given, or by its end that it is gone."""
        works: list[LeasedWork] = []
        try:
            works = await self._works([queue for queue in ask.queues if queue in known], ask, said)
            await _say(writer, Given(works, [queue for queue in ask.queues if queue not in known]))
            if works and await said == ACK:
                works = []
        finally:
            for one in works:
                self._hub.give_back(one.lease)
            said.cancel()

    async def _works(self, queues: list[str], ask: Ask, said: asyncio.Future[bytes]) -> list[LeasedWork]:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + ask.wait_ms / 1_000
        self._turn += 1
        while not said.done():
            # No queue goes before the others each time.
            at = self._turn % len(queues) if queues else 0
            found = self._hub.lease([*queues[at:], *queues[:at]], ask.most)
            if found:
                return [LeasedWork(one.lease, one.lease_ms, one.work) for one in found]
            woken: asyncio.Future[None] = loop.create_future()

            def wanted(queue: str, woken: asyncio.Future[None] = woken) -> bool:
                if queue not in queues or woken.done():
                    return False
                woken.set_result(None)
                return True

            unwant = self._hub.want(wanted)
            try:
                left_s = max(0.0, until_s - loop.time())
                events: set[asyncio.Future[Any]] = {woken, said}
                await asyncio.wait(events, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                unwant()
            if not woken.done():
                break
        return []


async def read_framed(reader: asyncio.StreamReader) -> bytes:
    """The next message."""
    head = await reader.readexactly(LENGTH.size)
    return await reader.readexactly(LENGTH.unpack(head)[0])


async def _say(writer: asyncio.StreamWriter, message: Any) -> None:
    writer.write(framed(message))
    await writer.drain()


class short_path:  # noqa: N801 - it is used as a function is
    """A path that a socket may have, for one that is too long: by way of the folder's descriptor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _PATH_MOST:
            return str(self._path)
        self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)
