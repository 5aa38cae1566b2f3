"""Where the calls of functions go: to the queues of steps, and all else becomes a record of the group's own log.

A call is a trigger of the outbox, so that it survives whatever happens to the process; it leaves early, before its
epoch is durable, because a run that starts over makes the same call with the same key. What comes of it is a record of
the log of this worker, durable before the call is done with. A step whose answer is in the log is not run again.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Optional, Union

import msgspec

from headway.basics.guarantees import Guarantee
from headway.client.asynchronous import AsyncClient
from headway.durable.calls import CANCELLED, CallRecord, options_of
from headway.durable.messages import SCHEDULES, Body, Cancel, Due, Resolve, Signal, Start, address_of, message, parts_of
from headway.errors import HeadwayError, InternalError, ServiceError, StateError
from headway.functions.history import Failure, Identity, Parent
from headway.functions.options import CallOptions, RetryPolicy
from headway.inbox.commits import Item, item_of
from headway.inbox.runlog import RunLogInput
from headway.inbox.runlog_writer import RunLogWriter
from headway.steps.attempt import Outcome as Tried
from headway.steps.attempt import Ran, StepCall
from headway.steps.desk import Desk, desk_path
from headway.steps.hub import Hub
from headway.steps.policy import ran_of
from headway.steps.queues import Queue
from headway.targets.base import DONE, Answer, Delivery, Limits, Outcome, Target
from headway.targets.figures import QueueFigures

__all__ = ["AsidesTarget", "MessagesTarget", "StepsTarget"]

_DECODE: Final = msgspec.json.Decoder(CallRecord).decode
_FAILURE: Final = msgspec.json.Decoder(Failure).decode
_YEAR_S: Final = 366 * 86_400.0
_PIECE_BYTES: Final = 1 << 20
"""Messages are written in pieces of about this size, as a reader takes a whole one into memory."""
_TRIED_AGAIN: Final = (408, 412, 425, 429)
"""Statuses from 400 to 499 by which a server of views says that it does not know yet, or is busy."""
_ROOM: Final = 2_000
"""How many calls of a queue are in memory, at least; each costs some kilobytes."""


class Views:
    """Looks into the views of a server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Optional[AsyncClient] = None

    async def ask(self, view: str, key: str, attempt: int) -> Ran:
        """The value of a key, null where there is none; a server that does not answer is asked again."""
        if self._client is None:
            self._client = AsyncClient(self._url)
        try:
            value: object = await self._client.view(view, object).get(str(msgspec.json.decode(key)))
        except ServiceError as error:
            is_final = 400 <= error.status < 500 and error.status not in _TRIED_AGAIN
            failure = Failure("ServiceError", f"view {view!r}: {error}", non_retryable=is_final)
            return ran_of(Tried(failure=failure), CallOptions(), attempt, None)
        return Ran(msgspec.json.encode(value))

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()


class _LogTarget(Target):
    """Writes what comes of calls to the log of the group that this worker has."""

    guarantee = Guarantee.BY_ID
    keeps_order = False
    has_breaker = False
    comes_back = True
    limits = Limits(concurrency=1_000, batch=1, timeout_s=_YEAR_S)

    def __init__(self, group: str, log: RunLogInput) -> None:
        self._group = group
        self._log = log
        self._writer: Optional[RunLogWriter] = None

    def within(self, state_dir: Path, worker: int, workers: int) -> Target:
        """The same, writing to the log of a worker."""
        made = copy.copy(self)
        made._writer = RunLogWriter(self._log.within(state_dir).directory(worker), self._log.settings)
        return made

    async def open(self) -> None:
        """Open the log."""
        self._own.open()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """See to a call, and have what comes of it durable."""
        [delivery] = batch
        try:
            record = _DECODE(delivery.data)
            key = f"c{record.key or delivery.id}"
            if self._own.knows(key):
                return [DONE]
            found = await self._made_of(record, key, delivery)
        except HeadwayError:
            raise
        except Exception as error:
            return [_put_off(error, delivery)]
        if isinstance(found, Answer):
            return [found]
        await self._own.append(found)
        return [DONE]

    async def _made_of(self, record: CallRecord, key: str, delivery: Delivery) -> Union[list[Item], Answer]:
        """The records that a call leads to, or when it is to be tried again."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of the log."""
        if self._writer is not None:
            self._writer.close()

    @property
    def _own(self) -> RunLogWriter:
        if self._writer is None:
            msg = f"{self.name} takes calls in a run, which gives it a place; please report this"
            raise InternalError(msg)
        return self._writer


class MessagesTarget(_LogTarget):
    """Takes what goes to other instances: it becomes a record of theirs. Nothing slow holds it up.

    So many are written together, with one future and one frame of the log, as wait when their turn comes; one that
    comes alone waits for no other.
    """

    limits = Limits(concurrency=16, batch=256, timeout_s=_YEAR_S)

    @property
    def name(self) -> str:
        """The group's."""
        return f"messages of {self._group}"

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Write the records of all of them that are not in the log yet, and have them durable.

        One that cannot be written holds up no other one.
        """
        pieces: list[list[Item]] = [[]]
        answers: list[Answer] = []
        size = 0
        for delivery in batch:
            try:
                items = self._items(delivery)
            except Exception as error:
                answers.append(_put_off(error, delivery))
                continue
            answers.append(DONE)
            if items and size > _PIECE_BYTES:
                pieces.append([])
                size = 0
            pieces[-1] += items
            size += len(delivery.data) if items else 0
        await asyncio.gather(*(self._own.append(piece) for piece in pieces if piece))
        return answers

    def _items(self, delivery: Delivery) -> list[Item]:
        """The records of one that are not in the log yet."""
        record = _DECODE(delivery.data)
        key = f"c{record.key or delivery.id}"
        return [] if self._own.knows(key) else _messages(record, key)


class _HubTarget(_LogTarget):
    """Has to do with the hub of a group, which several targets share."""

    def __init__(self, group: str, log: RunLogInput, hub: Hub) -> None:
        super().__init__(group, log)
        self._hub = hub

    def within(self, state_dir: Path, worker: int, workers: int) -> Target:
        """The same for a worker."""
        self._hub.place(state_dir, worker, workers)
        return super().within(state_dir, worker, workers)

    async def open(self) -> None:
        """Open the log, and get ready to run steps."""
        await super().open()
        with _usable():
            self._hub.open()

    async def close(self) -> None:
        """Let go of the log and of what runs steps."""
        await self._hub.close()
        await super().close()


class AsidesTarget(_HubTarget):
    """Takes what steps must not hold up: calls that nobody waits for any more, and questions to views."""

    def __init__(self, group: str, log: RunLogInput, hub: Hub, views: Optional[str] = None) -> None:
        super().__init__(group, log, hub)
        self._views = None if views is None else Views(views)
        self._desk: Optional[Desk] = None

    def within(self, state_dir: Path, worker: int, workers: int) -> Target:
        """The same for a worker, with a socket by which those who run steps elsewhere are served."""
        made = super().within(state_dir, worker, workers)
        assert isinstance(made, AsidesTarget)
        made._desk = Desk(self._hub, desk_path(state_dir, worker)) if self._hub.worker_queues else None
        return made

    async def open(self) -> None:
        """Get ready to run steps, and to hand them out."""
        await super().open()
        if self._desk is not None:
            with _usable():
                await self._desk.open()

    def check(self) -> None:
        """Look at what services need, such as secrets."""
        self._hub.check()

    @property
    def name(self) -> str:
        """The group's."""
        return f"cancelled calls and questions of {self._group}"

    async def close(self) -> None:
        """Close connections as well."""
        if self._desk is not None:
            await self._desk.close()
        if self._views is not None:
            await self._views.close()
        await super().close()

    async def _made_of(self, record: CallRecord, key: str, delivery: Delivery) -> Union[list[Item], Answer]:
        if record.kind == "cancel":
            # An answer for no run: with it the call is known to be answered, wherever it waits for its next attempt.
            call = record.key.removesuffix(CANCELLED)
            self._hub.cancel(call)
            return [_resolved(record, b"null", None, f"c{call}", run=-1)]
        if self._views is None:
            told = f"{self._group} was given no views=URL to ask for {record.name!r}"
            failure = Failure("NoViews", told, non_retryable=True)
            return [_resolved(record, b"null", failure, key)]
        ran = await self._views.ask(record.name, record.arguments, delivery.attempt)
        return ran.retry or [_resolved(record, ran.value, ran.failure, key)]


class StepsTarget(_HubTarget):
    """Takes the calls of one queue: each waits in the hub for its turn, and is answered when it has run.

    So many are handed over at once that their order can be decided by priority and fairness. All others wait on the
    disk, and those of one queue never hold up those of another, because each queue is an output of its own.
    """

    def __init__(self, group: str, log: RunLogInput, hub: Hub, queue: Queue) -> None:
        super().__init__(group, log, hub)
        self._queue = queue
        self.limits = Limits(concurrency=max(_ROOM, 2 * queue.concurrency), batch=1, timeout_s=_YEAR_S)

    @property
    def name(self) -> str:
        """The group's, and the queue."""
        return f"steps of {self._group} in the queue {self._queue.name!r}"

    @property
    def resting(self) -> int:
        """Calls that wait, and those that workers have: they go on without this process."""
        return self._hub.resting(self._queue.name)

    def figures(self) -> Optional[QueueFigures]:
        """Those of the queue."""
        return self._hub.figures(self._queue.name)

    async def _made_of(self, record: CallRecord, key: str, delivery: Delivery) -> Union[list[Item], Answer]:
        ran = await self._hub.run(_step_call(record), delivery.attempt, delivery.last_head)
        return ran.retry or [_resolved(record, ran.value, ran.failure, key)]


@contextmanager
def _usable() -> Iterator[None]:
    """Raises `StateError` for files that cannot be made beside the state."""
    try:
        yield
    except OSError as error:
        msg = f"{error.filename or 'the folder run/'} cannot be used: {error.strerror}; check the disk and its rights"
        raise StateError(msg) from error


def _put_off(error: Exception, delivery: Delivery) -> Answer:
    """A call of which nothing can be made, as one of another version of Headway: it waits, and is told with the reason.

    Without the pause it would be tried without a rest, because the pauses of these outputs are those of steps.
    """
    pause_s = RetryPolicy().pause_ms(delivery.attempt) / 1_000
    return Answer(Outcome.RETRY, f"{type(error).__name__}: {error}", retry_after_s=pause_s)


def _step_call(record: CallRecord) -> StepCall:
    function, instance_id = parts_of(record.caller)
    return StepCall(
        key=record.key,
        name=record.name,
        function=function,
        id=instance_id,
        run=record.run,
        arguments=record.arguments.encode(),
        options=options_of(record),
        at_ms=record.at_ms,
        traceparent=record.traceparent,
    )


def _resolved(
    record: CallRecord, value: bytes, failure: Optional[Failure], key: str, run: Optional[int] = None
) -> Item:
    """The answer to a call, for the run that made it where no other one is given."""
    answered = record.run if run is None else run
    return item_of(message(record.caller, Resolve(answered, record.call, msgspec.Raw(value), failure)), key)


def _messages(record: CallRecord, key: str) -> list[Item]:
    """What a call is as records of the log; more than one where the caller is to know at once that it is made."""
    arguments = msgspec.Raw(record.arguments.encode())
    body: Body
    if record.kind in ("function", "start"):
        parent = None
        if record.kind == "function":
            parent = Parent(Identity(*parts_of(record.caller), record.run), record.call)
        items = [
            item_of(
                message(address_of(record.name, record.to), Start(arguments, parent, traceparent=record.traceparent)),
                key,
            )
        ]
        if record.kind == "start" and record.caller:
            items.append(_resolved(record, b"null", None, f"{key}.made"))
        return items
    if record.kind == "signal":
        body = Signal(record.name, arguments, record.key)
        return [item_of(message(record.to, body), key), _resolved(record, b"null", None, f"{key}.made")]
    if record.kind == "due":
        return [item_of(message(record.to, Due(int(record.arguments))), key)]
    if record.kind in ("resolve", "reply"):
        failure = _FAILURE(record.failure) if record.failure else None
        step = record.name if record.kind == "reply" else ""
        return [item_of(message(record.to, Resolve(record.run, record.call, arguments, failure, step=step)), key)]
    if record.kind == "cancel":
        options = options_of(record)
        closing = "cancel" if options is None else options.parent_close
        if closing == "abandon":
            return []
        why = "is due again" if record.caller.startswith(SCHEDULES) else "has ended"
        body = Cancel(f"{record.caller} {why}", terminates=closing == "terminate")
        return [item_of(message(address_of(record.name, record.to), body), key)]
    msg = f"a call of kind {record.kind!r}; please report this"
    raise InternalError(msg)
