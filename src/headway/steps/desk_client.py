"""Asking the hubs of a flow's processes, from the server beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headway.steps.desk import read_framed, short_path
from headway.steps.desk_protocol import (
    ACK,
    Ask,
    Beat,
    End,
    Ended,
    GiveBack,
    Given,
    Heard,
    Held,
    decode_answer,
    desk_paths,
)
from headway.steps.frames import framed

__all__ = ["Desks", "NobodyThere"]


class NobodyThere(Exception):
    """No process of the flow answers: it does not run, or is about to."""


class Desks:
    """All processes of one flow, as far as they are there."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    async def ask(self, ask: Ask) -> Given:
        """Work for a worker, from whichever process has some. Raises `NobodyThere`.

        When this is cancelled, nothing was handed over.
        """
        tasks = [asyncio.ensure_future(_exchange(path, ask)) for path in desk_paths(self._state_dir)]
        found: list[Given] = []
        try:
            pending = set(tasks)
            while pending and not any(given.works for given in found):
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                found += [task.result() for task in done if task.exception() is None]
        except asyncio.CancelledError:
            await self._give_back_all(tasks)
            raise
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        found = [task.result() for task in tasks if not task.cancelled() and task.exception() is None]
        if not found:
            raise NobodyThere
        works = [work for given in found for work in given.works]
        await self.give_back([work.lease for work in works[ask.most :]])
        return Given(works[: ask.most], found[0].unknown)

    async def beat(self, held: Sequence[Held]) -> list[str]:
        """Which of these leases are over in all processes. Raises `NobodyThere`."""
        left, answered = list(held), False
        for path in desk_paths(self._state_dir):
            try:
                answer = await _exchange(path, Beat(left))
            except (OSError, asyncio.IncompleteReadError):
                continue
            assert isinstance(answer, Heard)
            answered = True
            left = [one for one in left if one.lease in answer.lost]
            if not left:
                break
        if not answered:
            raise NobodyThere
        return [one.lease for one in left]

    async def end(self, end: End) -> bool:
        """Whether an outcome counts in one of the processes. Raises `NobodyThere`."""
        answered = False
        for path in desk_paths(self._state_dir):
            try:
                answer = await _exchange(path, end)
            except (OSError, asyncio.IncompleteReadError):
                continue
            assert isinstance(answer, Ended)
            answered = True
            if answer.counts:
                return True
        if not answered:
            raise NobodyThere
        return False

    async def give_back(self, leases: list[str]) -> None:
        """These were not begun with."""
        for path in desk_paths(self._state_dir) if leases else ():
            try:
                await _exchange(path, GiveBack(leases))
            except (OSError, asyncio.IncompleteReadError):
                continue  # Who is gone has no leases.

    async def _give_back_all(self, tasks: Sequence[asyncio.Future[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        given = [task.result() for task in tasks if not task.cancelled() and task.exception() is None]
        await self.give_back([work.lease for one in given for work in one.works])


async def _exchange(path: Path, question: Any) -> Any:
    """One question and its answer. Raises `OSError` and `IncompleteReadError` where nobody is there."""
    with short_path(path) as short:
        reader, writer = await asyncio.open_unix_connection(short)
    try:
        writer.write(framed(question))
        await writer.drain()
        answer = decode_answer(await read_framed(reader))
        if isinstance(answer, Given):
            writer.write(ACK)  # Not waited for: between here and the caller nothing may be cancelled.
        return answer
    finally:
        writer.close()
