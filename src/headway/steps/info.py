"""What a step may know of its own attempt, and how it tells that it is alive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Optional

import msgspec

from headway.basics.jsontext import to_json
from headway.errors import UsageError
from headway.steps.attempt import DETAILS_MOST, Work

__all__ = ["StepInfo", "running_as", "step_info"]


class StepInfo:
    """The attempt that runs: `hw.step_info()`, inside a step. Safe to be used by any thread of the step."""

    def __init__(self, work: Work, beat: Callable[[bytes], None]) -> None:
        self.key: str = work.key
        """The idempotency key: the same in all attempts of a call, and in no other call. Hand it to whoever does the
        thing, so that it is done once."""
        self.attempt: int = work.attempt
        """1 for the first one. It counts over restarts of the flow."""
        self.step: str = work.name
        self.queue: str = work.queue
        self.function: str = work.function
        """The name of the function that calls; `id` and `run` say which one of it."""
        self.id: str = work.id
        self.run: int = work.run
        self.deadline_ms: Optional[int] = work.deadline_ms
        """When nobody waits for this attempt any more: wall clock, epoch milliseconds. None without a time limit."""
        self.heartbeat_timeout_ms: Optional[int] = work.heartbeat_timeout_ms
        """How long it may be silent, in milliseconds."""
        self.last_details: Any = msgspec.json.decode(work.last_details) if work.last_details else None
        """What the last heartbeat of the attempt before has said; None where nothing."""
        self.traceparent: str = work.traceparent
        """The W3C trace context of whoever has started the function, to be handed on; empty for none."""
        self._beat = beat
        self._is_cancelled = False

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for this attempt any more: it should tidy up and end."""
        return self._is_cancelled

    def heartbeat(self, details: Any = None) -> None:
        """Tell that the step is alive, and how far it has come.

        `details` is JSON, of up to 2,000 bytes: the next attempt finds it as `last_details`, if this one fails. Raises
        `asyncio.CancelledError` when nobody waits for this attempt any more: a step in a thread or a process, which
        nothing else can stop, ends by it. Costs some microseconds.
        """
        if self._is_cancelled:
            msg = "nobody waits for this step any more"
            raise asyncio.CancelledError(msg)
        encoded = b"" if details is None else to_json(details, "details of a heartbeat")
        if len(encoded) > DETAILS_MOST:
            msg = f"details of a heartbeat have {len(encoded):,} bytes, {DETAILS_MOST:,} may be: say where it stands"
            raise UsageError(msg)
        self._beat(encoded)

    def cancel(self) -> None:
        """For whoever runs the step: nobody waits for it any more."""
        self._is_cancelled = True

    def __repr__(self) -> str:
        return f"<step {self.step!r} {self.key} attempt {self.attempt}>"


_running: Final[ContextVar[Optional[StepInfo]]] = ContextVar("headway_step", default=None)


def step_info() -> StepInfo:
    """The attempt inside which this is called, in a thread or a process too. Raises `UsageError` outside of a step.

    >>> from headway.steps.attempt import Work
    >>> running_as(StepInfo(Work("refund/o-1#0.2", "charge", "refund", "o-1", 0, 1, "default", "[]"), print))
    >>> step_info().key, step_info().attempt
    ('refund/o-1#0.2', 1)
    """
    found = _running.get()
    if found is None:
        msg = "step_info() is for the code of a step while it runs: there is none here"
        raise UsageError(msg)
    return found


def running_as(info: StepInfo) -> None:
    """Say which attempt the code runs that follows in this context."""
    _running.set(info)
