"""One attempt of a call in a hub, from when it waits to when its outcome is known: what it is to be looked at for."""

from __future__ import annotations

import asyncio
from typing import Any, Optional

from headway.basics.times import format_duration
from headway.functions.history import Failure
from headway.functions.options import CallOptions
from headway.steps.attempt import Outcome, StepCall, Work, outcome_of
from headway.steps.local import Running
from headway.steps.policy import late, never_started
from headway.steps.room import Room

__all__ = ["UnderWay", "WorkerLost", "cancelled"]


class WorkerLost(Exception):
    """A worker was not heard of for the length of its lease."""


class UnderWay:
    """An attempt that waits or runs. Times are those of the hub's clock `now_ms`, None where there is no limit."""

    def __init__(
        self,
        call: StepCall,
        step: Any,
        options: CallOptions,
        number: int,
        room: Room[UnderWay],
        last_details: str,
        *,
        wall_ms: int,
        now_ms: int,
    ) -> None:
        self.call = call
        self.step = step
        """As it is declared here; None for one that only workers know."""
        self.options = options
        self.number = number
        self.room = room
        self.details = last_details
        """What its last heartbeat, or that of the attempt before, has said: JSON."""
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.ticket: Optional[int] = None
        """While it waits."""
        self.running: Optional[Running] = None
        """While it runs in this process."""
        self.lease: str = ""
        """While a worker has it."""
        self.queued_ms = now_ms
        self.began_ms = 0
        self.heard_ms = 0
        """When the worker that has it was heard of last."""
        self.beaten_ms = 0
        """When the step itself has told last that it is alive."""
        self._offset_ms = now_ms - wall_ms
        self._deadline_ms = _sum(call.at_ms + self._offset_ms, options.timeout_ms)
        # Of the first attempt the time counts from the call, which may have waited on the disk.
        waits_since_ms = call.at_ms + self._offset_ms if number == 1 else now_ms
        self._start_by_ms = _sum(waits_since_ms, options.start_timeout_ms)

    def begin(self, now_ms: int) -> Work:
        """It runs from now on; returns what whoever runs it is given."""
        self.ticket = None
        self.began_ms = self.heard_ms = self.beaten_ms = now_ms
        ends_ms = _least(self._deadline_ms, _sum(now_ms, self.options.attempt_timeout_ms))
        return Work(
            key=self.call.key,
            name=self.call.name,
            function=self.call.function,
            id=self.call.id,
            run=self.call.run,
            attempt=self.number,
            queue=self.room.queue.name,
            arguments=self.call.arguments.decode(),
            deadline_ms=_sum(-self._offset_ms, ends_ms),
            heartbeat_timeout_ms=self.options.heartbeat_timeout_ms,
            last_details=self.details,
            traceparent=self.call.traceparent,
        )

    @property
    def look_at_ms(self) -> Optional[int]:
        """When it has to be looked at next, if nothing happens before."""
        if self.ticket is not None:
            return _least(self._deadline_ms, self._start_by_ms)
        return _least(
            self._deadline_ms,
            _sum(self.began_ms, self.options.attempt_timeout_ms),
            _sum(self.beaten_ms, self.options.heartbeat_timeout_ms),
            self.heard_ms + self.room.queue.lease_ms if self.lease else None,
        )

    def overdue(self, now_ms: int) -> Optional[Outcome]:
        """What has come of it because a time has passed; None where none has."""
        options = self.options
        if _has_passed(self._deadline_ms, now_ms):
            return Outcome(failure=late(options))
        if self.ticket is not None:
            if _has_passed(self._start_by_ms, now_ms):
                return Outcome(failure=never_started(options, self.room.queue.name))
            return None
        if _has_passed(_sum(self.began_ms, options.attempt_timeout_ms), now_ms):
            took = format_duration(options.attempt_timeout_ms or 0)
            return outcome_of(TimeoutError(f"the attempt was not done in {took} (attempt_timeout)"))
        if _has_passed(_sum(self.beaten_ms, options.heartbeat_timeout_ms), now_ms):
            silent = format_duration(options.heartbeat_timeout_ms or 0)
            return outcome_of(TimeoutError(f"no heartbeat for {silent} (heartbeat_timeout)"))
        if self.lease and _has_passed(self.heard_ms + self.room.queue.lease_ms, now_ms):
            silent = format_duration(self.room.queue.lease_ms)
            return outcome_of(WorkerLost(f"its worker was not heard of for {silent}"))
        return None


def cancelled() -> Outcome:
    """Nobody waits for it any more."""
    return Outcome(failure=Failure("CancelledError", "nobody waits for it any more", non_retryable=True))


def _sum(since_ms: int, length_ms: Optional[int]) -> Optional[int]:
    return None if length_ms is None else since_ms + length_ms


def _least(*times: Optional[int]) -> Optional[int]:
    known = [time for time in times if time is not None]
    return min(known) if known else None


def _has_passed(at_ms: Optional[int], now_ms: int) -> bool:
    return at_ms is not None and at_ms <= now_ms
