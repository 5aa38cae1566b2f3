"""Where requests of commands arrive in a process that delivers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from headway.delivery.requests import Answered, Counts, Request, Requests

__all__ = ["Desk"]

_LOOK_S: Final = 0.5
"""How often the folder is looked at."""
_SAME_TICK_NS: Final = 100_000_000
"""A folder that has just changed may change again at what the file system takes for the same time."""

Place = tuple[int, int]
"""An output and a key group, by their numbers."""


class Desk:
    """Sees to it that requests are carried out in all groups of one process, each once. Runs on its event loop.

    `places` tells which there are by now, `carry_out` does what is asked of a place, step by step, and `look` tells how
    it stands.
    """

    def __init__(
        self,
        requests: Requests,
        places: Callable[[], list[Place]],
        carry_out: Callable[[Request], Iterator[tuple[Place, Counts]]],
        look: Callable[[], list[Answered]],
    ) -> None:
        self._requests = requests
        self._places = places
        self._carry_out = carry_out
        self._look = look
        self._done: set[tuple[str, Place]] = set()
        self._mark = 0
        self._seen: list[Place] = []

    async def serve(self) -> None:
        """Until the task is cancelled. Raises `StateError` when the folder, or the state, cannot be used."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Carry out what has come since the last look; also what came before, in groups that are new here."""
        mark, places = self._requests.mark(), self._places()
        if mark == self._mark and places == self._seen:
            return
        if time.time_ns() - mark > _SAME_TICK_NS:
            self._mark, self._seen = mark, places
        for name, request in self._requests.pending():
            await self._attend(name, request, places)

    async def _attend(self, name: str, request: Request, places: list[Place]) -> None:
        if request.action == "look":
            if (name, (-1, -1)) not in self._done:
                self._done.add((name, (-1, -1)))
                for answered in self._look():
                    self._requests.answer(name, answered)
            return
        answered_before = {(one.output, group) for one in self._requests.answers(name) for group in one.groups}
        todo = [
            place
            for place in places
            if request.below(*place) is not None and (name, place) not in self._done and place not in answered_before
        ]
        if not todo:
            return
        counted = dict.fromkeys(todo, Counts())
        outputs: dict[int, dict[int, int]] = {}
        for output, group in todo:
            outputs.setdefault(output, {})[group] = request.outputs[output][group]
        for place, counts in self._carry_out(msgspec.structs.replace(request, outputs=outputs)):
            counted[place] = counted[place].plus(counts)
            await asyncio.sleep(0)  # Deliveries go on meanwhile.
        for (output, group), counts in counted.items():
            self._done.add((name, (output, group)))
            self._requests.answer(name, Answered(output=output, groups=[group], counts=counts))
