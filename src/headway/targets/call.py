"""Triggers as calls of a Python function.

The function runs in the dispatcher's process, beside the flow: an ordinary one in a thread, an async one on the
dispatcher's event loop. It returns when the trigger is dealt with. It may be called again for the same trigger (after a
crash, or when it took longer than `timeout`), always with the same id, by which it can see that.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, Optional, TypeVar, Union

import msgspec

from headway.basics.times import Duration, duration_ms
from headway.errors import UsageError, why
from headway.targets.base import DONE, Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.limits import limits_of
from headway.targets.threads import Threads, as_exception
from headway.types.schema import type_label

__all__ = ["Call", "NeverDeliver", "RetryLater", "Trigger", "call"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Trigger(Generic[Value]):
    """A trigger as a function gets it.

    `hw.Trigger[Abandoned]` in the annotation of a function tells type checkers what `value` is.
    """

    id: str
    """The same each time that this trigger comes: what was done for it can be known by it."""
    type: str
    """Such as `cart.abandoned`."""
    key: Optional[str]
    """The key of the stream; None for a stream without keys."""
    time_ms: int
    """Event time, epoch milliseconds."""
    value: Value
    """As the stream's type says; builtins where the stream has none."""
    source: str
    """`/headway/` and the flow's name."""
    sequence: str
    """Grows within each key, compared as text."""
    attempt: int = 1
    """1 for the first attempt, counted over restarts."""
    traceparent: Optional[str] = None
    """W3C trace context of the event that caused it, if it had one."""


class NeverDeliver(Exception):
    """Raised by a function of `hw.call` for a trigger that it will never take: it goes to the dead letters.

    A step of a durable function that raises it has failed for good.

    >>> raise NeverDeliver("the customer does not exist")
    Traceback (most recent call last):
    headway.targets.call.NeverDeliver: the customer does not exist
    """

    non_retryable = True


class RetryLater(Exception):
    """Raised by a function of `hw.call`, or a step, that wants to be called again when a length of time has passed.

    >>> RetryLater("the mail server is full", after="5m").after_ms
    300000
    """

    def __init__(self, reason: str = "asked for later", *, after: Optional[Duration] = None) -> None:
        super().__init__(reason)
        self.after_ms = None if after is None else duration_ms(after, what="after")


def call(
    function: Callable[..., Any],
    *,
    concurrency: int = 16,
    batch: int = 1,
    rate: Optional[float] = None,
    timeout: Duration = "60s",
    name: Optional[str] = None,
) -> Call:
    """Call a function with each trigger, `function(trigger)`; an async one may be given as well.

    What it raises means that the trigger is not dealt with and comes again; `hw.RetryLater(reason, after="5m")` says
    when, and `hw.NeverDeliver(reason)` that it shall not. With `batch` above 1 the function gets a list of up to so
    many triggers, each of another key. What it raises then stands for all of them, unless it returns a list with None
    for each that is dealt with, and an exception for each that is not.

    `concurrency` calls are under way at once, at most `rate` triggers begin in a second. What has not returned after
    `timeout` is called again; a thread goes on meanwhile and keeps its place. Ordinary functions share the interpreter
    with the flow: long computations slow it down. `name` is the target's, where two call the same function.

    Costs some 50 us a call in a thread, and 10 us for an async function. Raises `UsageError` for what is no function.

    >>> def remind(trigger: Trigger[dict]) -> None:
    ...     print("remind", trigger.key, trigger.id)
    >>> call(remind, batch=1).name
    'call headway.targets.call.remind'
    """
    if not callable(function) or inspect.isclass(function):
        msg = f"hw.call needs a function of one trigger, not {function!r}"
        raise UsageError(msg)
    limits = limits_of(
        concurrency=concurrency,
        rate=rate,
        timeout=timeout,
        batch=batch,
        concurrency_most=1_000,
        timeout_most_ms=86_400_000,
    )
    return Call(function, limits, name)


class Call(Target):
    """A Python function that takes triggers; made by `hw.call`."""

    guarantee = Guarantee.BY_ID

    def __init__(self, function: Callable[..., Any], limits: Limits, name: Optional[str] = None) -> None:
        self.limits = limits
        self._function = function
        self._name = name or f"call {_name_of(function)}"
        self._is_async = inspect.iscoroutinefunction(_plain(function))
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self._types: dict[str, Any] = {}
        self._threads: Optional[Threads] = None

    @property
    def name(self) -> str:
        """`call` and the function's module and name."""
        return self._name

    def takes(self, trigger_type: str, value_type: Any) -> None:
        """Values are decoded as the stream's type. Two streams may not give one trigger type two of them."""
        if self._types.setdefault(trigger_type, value_type) != value_type:
            both = f"{type_label(self._types[trigger_type])} and {type_label(value_type)}"
            msg = f"{self.name} gets triggers {trigger_type!r} with values of two types, {both}: give them two names"
            raise UsageError(msg)
        self._decoders[trigger_type] = _decoder_of(value_type)

    async def open(self) -> None:
        """Make the threads, for a function that needs them; none is started yet."""
        self._threads = Threads(self.limits.concurrency, self.name)

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Call the function, and answer what it said. Values that the stream's type does not take are NEVER."""
        triggers = [self._trigger_of(delivery) for delivery in batch]
        good = [trigger for trigger in triggers if isinstance(trigger, Trigger)]
        if not good:
            answers: list[Answer] = []
        elif self.limits.batch == 1:
            answers = [(await self._answers([trigger], trigger))[0] for trigger in good]
        else:
            answers = await self._answers(good, good)
        found = iter(answers)
        return [trigger if isinstance(trigger, Answer) else next(found) for trigger in triggers]

    async def close(self) -> None:
        """Let the threads end; a function that runs in one is not waited for."""
        if self._threads is not None:
            self._threads.close()

    def _trigger_of(self, delivery: Delivery) -> Union[Trigger[Any], Answer]:
        try:
            decoder = self._decoders.get(delivery.type)
            value = msgspec.json.decode(delivery.data) if decoder is None else decoder.decode(delivery.data)
        except (msgspec.DecodeError, ValueError) as error:
            wanted = type_label(self._types.get(delivery.type, Any))
            reason = f"the value, of an earlier version of the flow, is no {wanted}: {error}"
            return Answer(Outcome.NEVER, reason)
        return Trigger(
            delivery.id,
            delivery.type,
            delivery.subject,
            delivery.time_ms,
            value,
            delivery.source,
            delivery.sequence,
            delivery.attempt,
            delivery.traceparent,
        )

    async def _answers(self, triggers: Sequence[Trigger[Any]], given: Any) -> list[Answer]:
        assert self._threads is not None, "open() comes before deliver()"
        try:
            if self._is_async:
                returned = await _apart(self._function(given))
            else:
                returned = await self._threads.run(partial(self._function, given))
                if inspect.isawaitable(returned):
                    returned = await _apart(returned)
        except Exception as error:  # What it means is all there is to do about it.
            return [_answer_of(error)] * len(triggers)
        return _answers_of(returned, len(triggers)) if self.limits.batch > 1 else [DONE]


async def _apart(awaitable: Awaitable[Any]) -> Any:
    """What an async function returns or raises. In a task of its own, so that what it does to its task stays there.

    When the caller is cancelled the function is cancelled too, and not waited for: it may refuse to end.
    """
    task = asyncio.ensure_future(_contained(awaitable))
    task.add_done_callback(_seen)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.cancelled():
        msg = "it cancelled itself"
        raise RuntimeError(msg)
    error = task.exception()
    if error is not None:
        raise as_exception(error)
    return task.result()


async def _contained(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    except (SystemExit, KeyboardInterrupt) as error:
        # These would end the event loop, and with it the deliveries of all targets.
        raise as_exception(error) from error


def _seen(task: asyncio.Future[Any]) -> None:
    """Take note of what a task has raised, so that nobody is warned of it when it is forgotten."""
    if not task.cancelled():
        task.exception()


def _answers_of(returned: Any, count: int) -> list[Answer]:
    if returned is None:
        return [DONE] * count
    told: list[Any] = returned if isinstance(returned, list) and len(returned) == count else [...]
    if all(each is None or isinstance(each, Exception) for each in told):
        return [DONE if each is None else _answer_of(each) for each in told]
    reason = (
        f"it returned {returned!r:.200}, expected None, or a list of {count} with None or an exception in each place"
    )
    return [Answer(Outcome.RETRY, reason)] * count


def _answer_of(error: Exception) -> Answer:
    if isinstance(error, NeverDeliver):
        return Answer(Outcome.NEVER, str(error) or "it shall never be delivered")
    if isinstance(error, RetryLater):
        after_s = None if error.after_ms is None else error.after_ms / 1_000
        return Answer(Outcome.RETRY, str(error), retry_after_s=after_s)
    return Answer(Outcome.RETRY, why(error))


def _decoder_of(value_type: Any) -> msgspec.json.Decoder[Any]:
    try:
        return msgspec.json.Decoder(value_type)
    except TypeError as error:
        msg = f"values of {type_label(value_type)} cannot be read back for a function: {error}"
        raise UsageError(msg) from None


def _plain(function: Any) -> Any:
    """The function itself: inside of `partial`, or the `__call__` of an object."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _name_of(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function)
    module = function.__module__
    if module is None:  # Of what is built in, such as a list's `append`.
        return str(function.__qualname__)
    found = _FLOW_FILE.fullmatch(module)
    return f"{module if found is None else found[1]}.{function.__qualname__}"


_FLOW_FILE: Final = re.compile(r"headway_flow_(.+)_[0-9a-f]{8}")
"""The module that a flow's file is loaded as: its name, without what tells it from others, is what people know."""
