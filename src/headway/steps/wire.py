"""What workers and a flow say to each other over HTTP: JSON that a worker in any language can write.

POST /v1/steps/poll        {"queues": ["payments"], "most": 4, "wait_ms": 10000}
POST /v1/steps/heartbeat   {"steps": [{"lease": "…", "beats": true, "details": …}]}
POST /v1/steps/complete    {"lease": "…", "value": …}
POST /v1/steps/fail        {"lease": "…", "failure": {"type": "…", "message": "…"}}
POST /v1/steps/release     {"leases": ["…"]}
"""

from __future__ import annotations

from typing import Final, Optional

import msgspec

from headway.functions.history import Failure
from headway.steps.attempt import DETAILS_MOST, Outcome, Work
from headway.steps.desk_protocol import Held, LeasedWork

__all__ = [
    "PATH",
    "WAIT_MOST_MS",
    "Complete",
    "Fail",
    "HeartbeatAnswer",
    "Heartbeats",
    "Poll",
    "PollAnswer",
    "Release",
    "Step",
    "complete_of",
    "fail_of",
]

PATH: Final = "/v1/steps"
WAIT_MOST_MS: Final = 30_000
_NONE: Final = msgspec.Raw(b"null")


class Poll(msgspec.Struct, forbid_unknown_fields=True):
    """A worker asks for up to `most` steps of some queues."""

    queues: list[str]
    most: int = 1
    wait_ms: int = 0
    worker: str = ""
    """Its name, for people."""

    def __post_init__(self) -> None:
        if not self.queues or not 1 <= self.most <= 1_000 or not 0 <= self.wait_ms <= WAIT_MOST_MS:
            msg = f"expected queues, most from 1 to 1,000, and wait_ms up to {WAIT_MOST_MS:,}"
            raise ValueError(msg)


class Step(msgspec.Struct):
    """An attempt that a worker has from now on, until `lease_ms` after it was heard of last."""

    lease: str
    lease_ms: int
    key: str
    name: str
    function: str
    id: str
    run: int
    attempt: int
    queue: str
    arguments: msgspec.Raw
    deadline_ms: Optional[int] = None
    heartbeat_timeout_ms: Optional[int] = None
    last_details: msgspec.Raw = _NONE
    traceparent: str = ""

    @classmethod
    def of(cls, given: LeasedWork) -> Step:
        """As it goes over the wire."""
        work = given.work
        return cls(
            lease=given.lease,
            lease_ms=given.lease_ms,
            key=work.key,
            name=work.name,
            function=work.function,
            id=work.id,
            run=work.run,
            attempt=work.attempt,
            queue=work.queue,
            arguments=msgspec.Raw(work.arguments.encode()),
            deadline_ms=work.deadline_ms,
            heartbeat_timeout_ms=work.heartbeat_timeout_ms,
            last_details=msgspec.Raw(work.last_details.encode() or b"null"),
            traceparent=work.traceparent,
        )

    @property
    def work(self) -> Work:
        """As whoever runs it knows it."""
        details = bytes(self.last_details).decode()
        return Work(
            key=self.key,
            name=self.name,
            function=self.function,
            id=self.id,
            run=self.run,
            attempt=self.attempt,
            queue=self.queue,
            arguments=bytes(self.arguments).decode(),
            deadline_ms=self.deadline_ms,
            heartbeat_timeout_ms=self.heartbeat_timeout_ms,
            last_details="" if details == "null" else details,
            traceparent=self.traceparent,
        )


class PollAnswer(msgspec.Struct):
    """What a worker is given; `unknown` are queues that the flow does not have for workers."""

    steps: list[Step]
    unknown: list[str] = []


class Alive(msgspec.Struct, forbid_unknown_fields=True):
    """A step that a worker has."""

    lease: str
    beats: bool = False
    """Whether the step itself tells that it is alive, and not only its worker."""
    details: msgspec.Raw = _NONE

    def held(self) -> Held:
        """As the hub knows it. Raises `ValueError` for details that are too large."""
        details = bytes(self.details)
        if len(details) > DETAILS_MOST:
            msg = f"details have {len(details):,} bytes, {DETAILS_MOST:,} may be"
            raise ValueError(msg)
        return Held(self.lease, self.beats, b"" if details == b"null" else details)


class Heartbeats(msgspec.Struct, forbid_unknown_fields=True):
    """A worker is there, and has these steps."""

    steps: list[Alive]
    worker: str = ""


class HeartbeatAnswer(msgspec.Struct):
    """Leases that are over: nobody waits for these steps any more, and what comes of them is refused."""

    lost: list[str]


class Complete(msgspec.Struct, forbid_unknown_fields=True):
    """A step has its result."""

    lease: str
    value: msgspec.Raw = _NONE

    @property
    def outcome(self) -> Outcome:
        """As the hub knows it."""
        return Outcome(bytes(self.value))


class Wrong(msgspec.Struct):
    """A failure, by the names of its parts."""

    type: str
    message: str = ""
    traceback: str = ""
    non_retryable: bool = False
    cause: Optional[Wrong] = None

    @classmethod
    def of(cls, failure: Failure) -> Wrong:
        """As it goes over the wire."""
        cause = None if failure.cause is None else cls.of(failure.cause)
        return cls(failure.type, failure.message, failure.traceback, failure.non_retryable, cause)

    @property
    def failure(self) -> Failure:
        """As it is kept in a history."""
        cause = None if self.cause is None else self.cause.failure
        return Failure(self.type, self.message, self.traceback, self.non_retryable, cause)


class Fail(msgspec.Struct, forbid_unknown_fields=True):
    """A step has failed. `types` are the names of the error's class and its bases; `after_ms` asks for a pause."""

    lease: str
    failure: Wrong
    types: list[str] = []
    after_ms: Optional[int] = None

    @property
    def outcome(self) -> Outcome:
        """As the hub knows it."""
        types = tuple(self.types) or (self.failure.type,)
        return Outcome(failure=self.failure.failure, types=types, after_ms=self.after_ms)


class Release(msgspec.Struct, forbid_unknown_fields=True):
    """A worker has not begun with these."""

    leases: list[str]


def complete_of(step: Step, outcome: Outcome) -> Complete:
    """What a worker says of a result."""
    return Complete(step.lease, msgspec.Raw(outcome.value))


def fail_of(step: Step, outcome: Outcome) -> Fail:
    """What a worker says of a failure."""
    assert outcome.failure is not None
    wrong = Wrong.of(outcome.failure)
    return Fail(step.lease, wrong, list(outcome.types), outcome.after_ms)
