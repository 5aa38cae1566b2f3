"""What a target is: the contract between whoever takes triggers and the dispatcher that delivers them.

A trigger that goes to a target is first a row of the flow's state. Once its epoch is durable on every worker, the
dispatcher hands it over, and deletes the row when the target has taken it. A crash between the two delivers again, with
the same id and the same bytes. Order, retries, their delays, limits and dead letters are the dispatcher's. A target
only hands a batch over and says of each trigger what came of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Optional

import msgspec

from headway.basics.guarantees import Guarantee
from headway.targets.figures import QueueFigures

__all__ = ["DONE", "Answer", "Delivery", "Guarantee", "Limits", "Outcome", "Target"]


class Outcome(Enum):
    """What came of one attempt to deliver one trigger."""

    DONE = "done"
    RETRY = "retry"
    NEVER = "never"


@dataclass(frozen=True)
class Answer:
    """What came of one attempt to deliver one trigger.

    `reason` says for people why it is not done, such as `503 Service Unavailable` or `connection refused`. `head` is
    the beginning of what the receiver answered, at most 2,000 characters, for the dead letters. `retry_after_s` is how
    long the receiver asks to be left alone, in seconds; None where it does not say. `stops` says that the receiver
    wants nothing more at all (HTTP 410): the whole target is off until somebody turns it on. `is_busy` says that the
    pause is meant for the whole target (HTTP 429 and 503), and not only for this trigger.
    """

    outcome: Outcome
    reason: str = ""
    head: str = ""
    retry_after_s: Optional[float] = None
    stops: bool = False
    is_busy: bool = False


DONE: Final = Answer(Outcome.DONE)
"""The trigger was taken."""


class Delivery(msgspec.Struct, frozen=True):
    """One trigger on its way: a CloudEvent, and where it stands in the outbox."""

    id: str
    """32 hexadecimal digits: the same at each attempt and at each replay of the log."""
    type: str
    """Of the CloudEvent, such as `cart.abandoned`."""
    source: str
    """Of the CloudEvent: `/headway/` and the flow's name."""
    subject: Optional[str]
    """The key; None for a stream without keys."""
    time_ms: int
    """Event time, epoch milliseconds."""
    data: bytes
    """The value as JSON."""
    sequence: str
    """Twenty digits that grow, compared as texts, within each key. The same at each attempt."""
    place: str
    """The log of the outbox that the trigger stands in: a fixed name, which no other state directory gives, nor one
    that was made anew. Triggers of one key are in one place."""
    number: int
    """Its number in its place. Numbers grow; a target that keeps the last one of each place in the transaction of its
    own effects, and passes over what is not above it, is exact. What comes back from the dead letters gets a place of
    its own."""
    former_places: tuple[str, ...] = ()
    """Places that it had before, under the same number: it may have been taken there, though nobody noted it. Nothing
    of such a place is delivered under its name any more, so what is above the last number there is new."""
    traceparent: Optional[str] = None
    """W3C trace context of the event that caused it, if it had one."""
    attempt: int = 1
    """1 for the first attempt. It counts over restarts."""
    last_head: str = ""
    """The `head` of the answer to the attempt before."""


@dataclass(frozen=True)
class Limits:
    """How much a target is given at once.

    In each process `concurrency` batches are under way at the same time, each of at most `batch` triggers. In all
    processes of a run together at most `per_second` triggers and `batches_per_second` batches begin in a second (None:
    no limit); each process has an equal share. `timeout_s` is the time for one batch, in seconds; what has no answer by
    then is retried. A target that keeps `timeout_s` itself, because its own answer says more than that time is over,
    gives `spare_s`: for so many seconds longer the dispatcher waits for it.
    """

    concurrency: int = 16
    batch: int = 1
    per_second: Optional[float] = None
    timeout_s: float = 20.0
    batches_per_second: Optional[float] = None
    spare_s: float = 0.0


class Target(ABC):
    """Takes triggers. Declared in a flow, opened by the dispatcher of each process that delivers.

    A target is declared before anything runs: its `__init__` checks options and opens nothing. All coroutines run on
    one event loop, in the dispatcher's thread, which no other code shares.
    """

    limits: Limits = Limits()
    """Of these, `batches_per_second` may change while triggers are delivered, and counts from the next batch on."""

    guarantee: Guarantee = Guarantee.BY_ID

    in_order: bool = False
    """Whether all triggers of one place come one batch after the other, in the order of their numbers. A target that
    keeps the last number has to be asked so: a trigger that fails then holds up all of its place, not only its key.
    Behind the first RETRY of a batch such a target answers RETRY alone. What it has refused for ever (NEVER) may come
    again after a crash, and it must know then that this was not done: of the last 1,000 that it refused in a place."""

    keeps_order: bool = True
    """Whether triggers of one key come one after the other. False where they have nothing to do with each other: then
    each comes as soon as there is room, and one that fails holds up no other one."""

    one_at_a_time: bool = False
    """Whether only one batch may be under way just now, whatever `limits` say, because the receiver has to be asked
    something first. Looked at before each batch."""

    has_breaker: bool = True
    """Whether many failures in a row mean that the receiver as a whole is gone, so that it is left alone for a while.
    False where each trigger goes to a receiver of its own."""

    comes_back: bool = False
    """Whether what it does comes back to the flow through a log: a bounded run waits for it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What tells this target from others, the same at each start, such as `http https://shop.example/hooks`.

        State of the target, such as whether its breaker is open, is kept and shown under it. It holds no secret.
        """

    def takes(self, trigger_type: str, value_type: Any) -> None:  # noqa: B027 - most take whatever can be JSON.
        """Learn that a step of a flow sends it triggers of this type, whose values are of this type.

        Called where the flow is declared, once for each such step, before anything else. `value_type` is what the
        stream's values are, such as a class of events, `hw.Json`, or `Any` where that is not known. Raises
        `UsageError` for values that it cannot take; the author of the flow gets it with the line.
        """

    def check(self) -> None:  # noqa: B027 - most have nothing to check.
        """Look for what can be known to be wrong before the flow runs, such as a secret that is not there.

        Called once by each run, before the first event. Raises `UsageError`; contacts nobody.
        """

    def within(self, state_dir: Path, worker: int, workers: int) -> Target:
        """The same target for one of so many workers of a run, for one that keeps something in the state directory."""
        return self

    async def open(self) -> None:  # noqa: B027 - some need nothing.
        """Called once, before the first `deliver`.

        Does not fail because the receiver is not there: that is answered by `deliver`, again and again.
        """

    async def look(self) -> str:
        """Ask the receiver whether it is there and lets us in, without a trigger: returns what was found, in words.

        For `headway connect check`, between `open` and `close`. Nothing is changed there. Empty where only a trigger
        would tell. Raises `OutputError`, with the next step, where it is not there or refuses.
        """
        return ""

    @property
    def resting(self) -> int:
        """How many batches the end of a run need not wait for: they were handed over, and nothing has begun here.

        Called by any thread.
        """
        return 0

    def figures(self) -> Optional[QueueFigures]:
        """How it stands with what waits inside of the target, for one that lets triggers wait. Called by any thread."""
        return None

    @abstractmethod
    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Hand triggers over; an answer for each, in their order.

        A batch never has two triggers of one key, unless the target is `in_order`. Cancelled when its time is over
        or the run ends; nothing is known then of what the receiver has taken, and all of it comes again. What it raises
        is taken for a RETRY of the whole batch, with the exception as the reason; but a `HeadwayError` ends the run.
        """

    async def close(self) -> None:  # noqa: B027 - some need nothing.
        """Release what `open` took. Called once; nothing is called afterwards."""

    def describe(self) -> str:
        """One short line for people. It holds no secret."""
        return self.name

    def __repr__(self) -> str:
        """By its name: what else it holds may be secret."""
        return f"<{type(self).__name__} {self.name}>"
