"""Runs steps of a flow in a process of its own, on this or another machine: `headway worker`.

It asks for as much work as it has room for, under leases, says at short intervals that it is there, and tells what
came of each attempt. Whatever happens to the connection or to the flow, a step goes on, and its outcome is told once
the flow is there again; whether it still counts, the flow decides. A worker that dies just dies: its leases end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Optional

import msgspec

from headway.errors import ServiceError, UsageError
from headway.functions.history import Failure
from headway.steps.attempt import Outcome
from headway.steps.http import HttpStep
from headway.steps.local import Local, Running
from headway.steps.wire import (
    Alive,
    HeartbeatAnswer,
    Heartbeats,
    Poll,
    PollAnswer,
    Release,
    Step,
    complete_of,
    fail_of,
)
from headway.steps.worker_client import Refused, WorkerClient

__all__ = ["Worker"]

_POLL_MS: Final = 10_000
_BEAT_LEAST_S: Final = 0.05
_LAST_POLL_S: Final = 0.5
_TELL_S: Final = 600.0
"""How long an outcome is kept for a flow that is not there."""


class _Held:
    """A step that this worker has."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.running: Optional[Running] = None
        self.beats = False
        self.details = b""
        self.is_lost = False

    def beat(self, details: bytes) -> None:
        self.beats = True
        self.details = details or self.details

    @property
    def beat_every_s(self) -> float:
        """Often enough for its lease, and for the step's own heartbeats."""
        timeout_ms = self.step.heartbeat_timeout_ms or self.step.lease_ms
        return max(_BEAT_LEAST_S, min(self.step.lease_ms, timeout_ms) / 3_000)


class Worker:
    """Runs steps, by their names, of some queues; up to `concurrency` at once.

    `tell` takes what a person should know.
    """

    def __init__(
        self,
        steps: Mapping[str, Any],
        queues: Sequence[str],
        client: WorkerClient,
        *,
        concurrency: int,
        name: str,
        tell: Callable[[str], None],
    ) -> None:
        self._steps = steps
        self._queues = list(queues)
        self._client = client
        self._concurrency = concurrency
        self._name = name
        self._tell = tell
        self._held: dict[str, _Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unknown: set[str] = set()
        self._is_stopping = False
        self.done = 0
        """Attempts whose outcome the flow has taken."""

    async def run(self, stopping: asyncio.Event, aborting: asyncio.Event) -> None:
        """Work until `stopping`: then nothing new is begun, and what runs is finished, unless `aborting` comes before.

        Raises `ServiceError` and `UsageError` where the flow would never give it work.
        """
        self._local = Local(self._concurrency)
        self._has_room = asyncio.Event()
        self._has_more = asyncio.Event()
        polling = asyncio.ensure_future(self._poll_on())
        beating = asyncio.ensure_future(self._beat_on())
        stop = asyncio.ensure_future(stopping.wait())
        try:
            await _first_of(polling, beating, stop)
            self._is_stopping = True
            self._has_room.set()
            # What comes meanwhile is given back. Who hears nothing for so long has asked where there is no work.
            await asyncio.wait({polling}, timeout=_LAST_POLL_S)
            polling.cancel()
            if self._tasks:
                self._tell(f"finishing {len(self._tasks)} steps, and taking no more")
                await self._finish(beating, aborting)
        finally:
            for task in (polling, beating, stop, *self._tasks):
                task.cancel()
            await asyncio.gather(polling, beating, stop, *self._tasks, return_exceptions=True)
            self._local.close()
            for step in self._steps.values():
                if isinstance(step, HttpStep):
                    await step.close()
            await self._client.close()

    async def _finish(self, beating: asyncio.Future[None], aborting: asyncio.Event) -> None:
        abort = asyncio.ensure_future(aborting.wait())
        finishing = asyncio.ensure_future(asyncio.wait(set(self._tasks)))
        try:
            await _first_of(abort, finishing, beating)
            if not finishing.done():
                await self._abort()
        finally:
            abort.cancel()
            finishing.cancel()

    async def _poll_on(self) -> None:
        wait_ms = 0  # The first answer comes at once: it says which queues there are not.
        while not self._is_stopping:
            if len(self._held) >= self._concurrency:
                self._has_room.clear()
                await self._has_room.wait()
                continue
            ask = Poll(self._queues, min(1_000, self._concurrency - len(self._held)), wait_ms, self._name)
            found = await self._client.ask("poll", ask, PollAnswer, wait_s=wait_ms / 1_000)
            wait_ms = _POLL_MS
            self._tell_unknown(found.unknown)
            if self._is_stopping:
                await self._client.ask("release", Release([step.lease for step in found.steps]), dict)
                return
            for step in found.steps:
                held = self._held[step.lease] = _Held(step)
                task = asyncio.ensure_future(self._do(held))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            self._has_more.set()

    def _tell_unknown(self, unknown: Sequence[str]) -> None:
        for queue in set(unknown) - self._unknown:
            self._unknown.add(queue)
            self._tell(f'the flow has no queue {queue!r} for workers: declare hw.Queue({queue!r}, runs_on="workers")')

    async def _do(self, held: _Held) -> None:
        step = held.step
        try:
            outcome = await self._outcome(held)
            if not held.is_lost:
                await asyncio.wait_for(self._say(step, outcome), _TELL_S)
                self.done += 1
        except Refused as error:
            self._tell(f"step {step.name!r} of {step.key}, attempt {step.attempt}: {error}")
        except (ServiceError, UsageError) as error:
            self._tell(f"what came of step {step.name!r} of {step.key} is refused: {error}")
        except asyncio.TimeoutError:
            self._tell(f"step {step.name!r} of {step.key}: nobody was there to take what came of it")
        finally:
            self._held.pop(step.lease, None)
            self._has_room.set()

    async def _outcome(self, held: _Held) -> Outcome:
        step = self._steps.get(held.step.name)
        if step is None:
            known = ", ".join(sorted(self._steps)) or "none"
            failure = Failure("UnknownStep", f"worker {self._name} has no step {held.step.name!r}: it has {known}")
            return Outcome(failure=failure, types=("UnknownStep",))
        running = held.running = self._local.start(step, held.step.work, held.beat)
        try:
            return await asyncio.shield(running.task)
        except asyncio.CancelledError:
            running.abandon()
            raise

    async def _say(self, step: Step, outcome: Outcome) -> None:
        """Tell what came of a step, as often as it takes. What the flow cannot take for its size is a failure."""
        if outcome.failure is None:
            try:
                await self._client.ask("complete", complete_of(step, outcome), dict)
                return
            except Refused as error:
                if error.status != 413:
                    raise
                told = f"the result of step {step.name!r} is too large for the flow: {error} (headway run --max-body)"
                outcome = Outcome(failure=Failure("UsageError", told, non_retryable=True))
        await self._client.ask("fail", fail_of(step, outcome), dict)

    async def _beat_on(self) -> None:
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        while True:
            every_s = min((held.beat_every_s for held in self._held.values()), default=None)
            left_s = None if every_s is None else max(0.0, last_s + every_s - loop.time())
            if left_s == 0:
                last_s = loop.time()
                await self._beat()
                continue
            # One that has come may have to be told of sooner.
            self._has_more.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._has_more.wait(), left_s)

    async def _beat(self) -> None:
        told = [self._alive(held) for held in self._held.values()]
        answer = await self._client.ask("heartbeat", Heartbeats(told, self._name), HeartbeatAnswer)
        for lease in answer.lost:
            held = self._held.get(lease)
            if held is not None and held.running is not None and not held.running.task.done():
                held.is_lost = True
                held.running.cancel()

    @staticmethod
    def _alive(held: _Held) -> Alive:
        beats = held.beats
        held.beats = False
        return Alive(held.step.lease, beats, msgspec.Raw(held.details or b"null"))

    async def _abort(self) -> None:
        """End what runs, and tell the flow, so that it need not wait for the leases to end."""
        stopped = Outcome(failure=Failure("WorkerLost", f"worker {self._name} was stopped"), types=("WorkerLost",))
        left = list(self._held.values())
        for held in left:
            held.is_lost = True
            if held.running is not None:
                held.running.abandon()
        for held in left:
            with suppress(Refused, asyncio.TimeoutError):
                await asyncio.wait_for(self._client.ask("fail", fail_of(held.step, stopped), dict), 2.0)


async def _first_of(*tasks: asyncio.Future[Any]) -> None:
    """Wait for the first of some tasks; raises what it has raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
