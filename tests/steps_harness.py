"""Hubs on a clock that a test moves: nothing is slept for."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Optional

import headway as hw
from headway.functions.options import CallOptions
from headway.steps.attempt import Ran, StepCall
from headway.steps.hub import Hub

STARTED_MS = 1_704_067_200_000


class FakeClock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.passed_ms = 0
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = 0
        self._gone: set[int] = set()

    def wall_ms(self) -> int:
        return STARTED_MS + self.passed_ms

    def now_ms(self) -> int:
        return 5_000 + self.passed_ms

    def at(self, at_ms: int, call: Callable[[], None]) -> Callable[[], None]:
        self._numbers += 1
        number = self._numbers
        heapq.heappush(self._timers, (at_ms, number, call))
        return lambda: self._gone.add(number)

    async def go_on(self, length_ms: int) -> None:
        """Let time pass; what is due happens in its order, and the loop comes to rest after each."""
        until_ms = self.now_ms() + length_ms
        await rest()
        while self._timers and self._timers[0][0] <= until_ms:
            at_ms, number, call = heapq.heappop(self._timers)
            if number not in self._gone:
                self.passed_ms = max(self.passed_ms, at_ms - 5_000)
                call()
                await rest()
        self.passed_ms = until_ms - 5_000
        await rest()


async def rest() -> None:
    """Until the loop has nothing more to do by itself."""
    for _ in range(20):
        await asyncio.sleep(0)


class World:
    """A hub with steps of a group, and the calls that were made."""

    def __init__(self, flow: hw.Functions, state_dir: Optional[Path] = None, worker: int = 0, workers: int = 1) -> None:
        self.clock = FakeClock()
        self.hub = Hub(flow.callees, flow.queues, lambda: self.clock)
        if state_dir is not None:
            self.hub.place(state_dir, worker, workers)
        self.hub.open()
        self.calls: dict[str, asyncio.Task[Ran]] = {}

    def call(
        self,
        name: str,
        key: str = "f/1#0.1",
        *,
        arguments: bytes = b"[]",
        attempt: int = 1,
        details: str = "",
        at_ms: Optional[int] = None,
        **options: Any,
    ) -> asyncio.Task[Ran]:
        made = StepCall(
            key=key,
            name=name,
            function="f",
            id="1",
            run=0,
            arguments=arguments,
            options=CallOptions(**options) if options else None,
            at_ms=self.clock.wall_ms() if at_ms is None else at_ms,
        )
        task = self.calls[key] = asyncio.ensure_future(self.hub.run(made, attempt, details))
        return task

    async def close(self) -> None:
        for task in self.calls.values():
            task.cancel()
        await asyncio.gather(*self.calls.values(), return_exceptions=True)
        await self.hub.close()


def in_world(
    flow: hw.Functions,
    story: Callable[[World], Awaitable[None]],
    state_dir: Optional[Path] = None,
    worker: int = 0,
    workers: int = 1,
) -> None:
    """Tell a story of a hub, of one process of a flow with a state directory where one is given."""

    async def told() -> None:
        world = World(flow, state_dir, worker, workers)
        try:
            await story(world)
        finally:
            await world.close()

    asyncio.run(told())


def group(code: Any, *, queues: Any = (), **declared: Any) -> hw.Functions:
    """A group with one step, `work`."""
    flow = hw.Functions("group", queues=queues)
    flow.step(name="work", **declared)(code)
    return flow
