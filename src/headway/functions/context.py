"""The context of a durable function: everything that its code can do to the world, and to itself."""

from __future__ import annotations

import random as random_
import uuid as uuid_
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, Optional, TypeVar, Union

import msgspec

from headway.basics.jsontext import to_json
from headway.basics.times import Duration, duration_ms, known_duration_ms, milliseconds_of
from headway.errors import UsageError
from headway.functions.awaitables import ConditionWait, inert
from headway.functions.declared import DurableFunction
from headway.functions.groups import AsCompleted, First, Gather, flattened
from headway.functions.history import Continued, Failure, Parent
from headway.functions.options import CallOptions
from headway.functions.quiet import QuietLog
from headway.functions.scopes import Scope, Shield
from headway.functions.search import SearchFields
from headway.functions.tasks import Future
from headway.functions.tokens import Token, token_of
from headway.functions.undoing import undo_all

if TYPE_CHECKING:
    from headway.functions.core import Core

__all__ = ["Context", "Info"]

C = TypeVar("C", bound=Callable[..., Any])
_Awaitables = Union[Awaitable[Any], Iterable[Awaitable[Any]]]

_json: Final = msgspec.json.decode


class Info(msgspec.Struct, frozen=True):
    """Who a function is: its name, id and run, which start of the run this is, and who started it."""

    name: str
    id: str
    run: int
    attempt: int
    parent: Optional[Parent]
    started_at_ms: int
    deadline_ms: Optional[int]
    traceparent: str
    """The W3C trace context of whoever has started it; empty for none."""


class Context:
    """What the code of a durable function is given first.

    Whatever it does goes through here, so that it can be done again from the history: no clock, no chance, no network
    and no thread beside it. Calls leave when the method is called, not when they are awaited, so `first = context.call(
    ...); second = context.call(...); await first; await second` has both under way. Durations are text such as `"30d"`,
    or milliseconds.

    >>> from headway.functions.declared import durable_workflow
    >>> from headway.functions.history import Answered, Identity, Started
    >>> from headway.functions.instance import Instance
    >>> @durable_workflow
    ... async def greet(context, name: str) -> str:
    ...     return await context.call("translate", f"Hello, {name}")
    >>> instance = Instance(greet, Identity("greet", "1"))
    >>> started, called = instance.take(Started(0, b'["Ada"]'))
    >>> called
    Called(number=1, kind='step', name='translate', arguments=b'["Hello, Ada"]', to='', options=None)
    >>> instance.take(Answered(5, 1, b'"Salut, Ada"'))[-1]
    Finished(value=b'"Salut, Ada"')
    """

    __slots__ = ("_core", "log")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.log = QuietLog(core)
        """Messages for people: silent in a replay, so each is written once."""

    def __repr__(self) -> str:
        return f"<context of {self._core.identity}>"

    # Calls.

    def call(self, step: Any, /, *arguments: Any, options: Optional[CallOptions] = None, **keywords: Any) -> Any:
        """Call a step by its name, a declared step, or a durable function as a child; await the result.

        `options` say how, over what the step's own declaration says. Raises `StepError` where it is awaited, when the
        call has failed for good, `TimeoutError` among them; and `UsageError` at once for arguments and options that the
        step does not take.
        """
        core = self._core
        found = core.callees.get(step) if isinstance(step, str) else step
        if isinstance(found, DurableFunction):
            return self.child(found, *arguments, options=options, **keywords)
        kind, name, encoded, decode, chosen = core.resolved(step, arguments, keywords, options)
        return core.call(kind, name, encoded, decode, options=chosen)

    def child(
        self,
        function: Any,
        /,
        *arguments: Any,
        id: Optional[str] = None,  # noqa: A002 - what a function's id is called everywhere
        options: Optional[CallOptions] = None,
        **keywords: Any,
    ) -> Any:
        """Start another function and await its result; without an `id` it gets one that follows from this one's.

        Cancelling what is awaited asks the child to end. When this function ends before it, `options.parent_close`
        says what becomes of the child: by default it is cancelled.
        """
        return self._child("function", function, id, arguments, keywords, options)

    def start(
        self,
        function: Any,
        /,
        *arguments: Any,
        id: Optional[str] = None,  # noqa: A002 - as of `child`
        options: Optional[CallOptions] = None,
        **keywords: Any,
    ) -> Any:
        """Start another function; awaiting gives what its start is answered with, not its result.

        By default it outlives this function; `options.parent_close` may say otherwise.
        """
        return self._child("start", function, id, arguments, keywords, options)

    def _child(
        self,
        kind: Any,
        function: Any,
        child_id: Optional[str],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        options: Optional[CallOptions],
    ) -> Future[Any]:
        core = self._core
        _, name, encoded, decode, chosen = core.resolved(function, arguments, keywords, options)
        if child_id is not None and (not isinstance(child_id, str) or not child_id):
            msg = f"child {name!r}: id {child_id!r} is no text: give one that names what it is about"
            raise UsageError(msg)
        if core.is_deaf():
            return inert(core.loop)
        to = core.next_child_id() if child_id is None else child_id
        return core.call(kind, name, encoded, _json if kind == "start" else decode, to=to, options=chosen)

    def signal(self, function: Any, id: str, signal: str, value: Any = None) -> Any:  # noqa: A002 - as of `child`
        """Send a signal to another function; awaiting it says that it is on its way for good."""
        name = function if isinstance(function, str) else function.name
        encoded = to_json(value, f"signal {signal!r}")
        return self._core.call("signal", signal, encoded, _json, to=f"{name}/{id}")

    def query(self, view: str, key: Any) -> Any:
        """Look up a key in a view of decision state; what is found is recorded, and the same in each replay."""
        return self._core.call("query", view, to_json(key, f"key of view {view!r}"), _json)

    def token(self, returns: Any = Any) -> Token:
        """A token for somebody who will answer later, and the future of that answer.

        `token.text` names it, and is the same in each replay: hand it to a step, a mail, a web page.
        """
        core = self._core
        future = core.call("token", "", b"[]", _decoder(returns))
        number = getattr(getattr(future, "called", None), "number", 0)
        return Token(token_of(core.identity, number), future)

    # Time, signals and conditions.

    def sleep(self, duration: Duration) -> Any:
        """Wait that long: a second or a year, over restarts. Nothing only lets others run."""
        core = self._core
        return self.sleep_until(core.loop.now_ms + known_duration_ms(duration))

    def sleep_until(self, when: Union[datetime, int, str]) -> Any:
        """Wait until a time: with a zone, as text of RFC 3339, or in epoch milliseconds. What is past is no wait."""
        core = self._core
        at_ms = milliseconds_of(when)
        return inert(core.loop) if core.is_deaf() else core.sleep_until(at_ms)

    def wait(self, signal: str, *, timeout: Optional[Duration] = None, returns: Any = Any) -> Any:
        """The next signal of a name, in the order in which they came; those that came before are kept.

        Its value is checked against `returns`. Raises `TimeoutError` where it is awaited, when none has come in time.
        """
        return self._core.wait(signal, _decoder(returns), None if timeout is None else known_duration_ms(timeout))

    def wait_for(self, condition: Callable[[], object], *, timeout: Optional[Duration] = None) -> Any:
        """Wait until a condition holds; it is looked at whenever something has happened, and may only look.

        Raises `TimeoutError` where it is awaited, when it has not held in time.
        """
        core = self._core
        if core.is_deaf():
            return inert(core.loop)
        wait = ConditionWait(core.loop, condition)
        if not wait.look(core):
            core.conditions.append(wait)
            if timeout is not None:
                wait.release = core.set_timer(core.loop.now_ms + known_duration_ms(timeout), wait.expire)
        return wait

    # Several at once.

    def gather(self, *awaitables: _Awaitables, return_exceptions: bool = False) -> Any:
        """All results, in the order of what was given. When one fails the others are cancelled.

        With `return_exceptions` none is, and errors stand among the results.
        """
        return Gather(self._core.loop, flattened(awaitables), return_exceptions=return_exceptions)

    def first(self, *awaitables: _Awaitables) -> Any:
        """The result of what comes first, or its error; the others are cancelled."""
        return First(self._core.loop, flattened(awaitables))

    def as_completed(self, *awaitables: _Awaitables) -> AsCompleted:
        """Each as it comes: `async for done in context.as_completed(...): value = await done`."""
        return AsCompleted(self._core.loop, flattened(awaitables))

    def timeout(self, duration: Duration) -> Scope:
        """`async with context.timeout("5m"):` raises `TimeoutError` when what is inside takes longer."""
        return Scope(self._core, duration_ms(duration, what="timeout"))

    def scope(self) -> Scope:
        """`async with context.scope() as scope:` can be left by `scope.cancel()`, from a task or a handler."""
        return Scope(self._core)

    def shield(self) -> Shield:
        """`async with context.shield():` is not cancelled from outside: the cancellation waits until it is left."""
        return Shield()

    # Taking back.

    def compensate(self, step: Any, /, *arguments: Any, options: Optional[CallOptions] = None, **keywords: Any) -> None:
        """Call that step if the function fails or is cancelled: the last one first, each after the one before.

        One that fails does not stop the others; it is told among the failures of the function.
        """
        self._core.add_undo(step, arguments, keywords, options)

    async def undo(self) -> list[Failure]:
        """Run the compensations now, backwards; gives the failures. None is left then."""
        async with Shield():
            return await undo_all(self._core)

    def forget_compensations(self) -> None:
        """What was done up to here stays, whatever comes."""
        self._core.undos.clear()

    # What is the same in each replay.

    def now(self) -> datetime:
        """The time of what happened last, in UTC; it never goes back."""
        return datetime.fromtimestamp(self._core.loop.now_ms / 1_000, timezone.utc)

    @property
    def now_ms(self) -> int:
        """As `now`, in milliseconds since 1970."""
        return self._core.loop.now_ms

    @property
    def random(self) -> random_.Random:
        """Chance that is the same in each replay, and another one for each id and run."""
        return self._core.random_for("random")

    def uuid(self) -> uuid_.UUID:
        """A new unique id, the same in each replay."""
        return uuid_.UUID(int=self._core.random_for("uuid").getrandbits(128), version=4)

    @property
    def state(self) -> dict[str, Any]:
        """Variables for others to see: JSON values, made again with the function."""
        return self._core.state

    @property
    def search(self) -> SearchFields:
        """Fields by which this instance is found, as declared: `context.search["customer"] = "ann"`.

        Made again with the function. Raises `UsageError` for a field that is not declared, or of another type.
        """
        return self._core.search

    @property
    def info(self) -> Info:
        """Who this function is, and who has started it."""
        core = self._core
        started = core.started
        who = core.identity
        return Info(
            name=who.name,
            id=who.id,
            run=who.run,
            attempt=started.attempt,
            parent=started.parent,
            started_at_ms=started.at_ms,
            deadline_ms=started.deadline_ms,
            traceparent=started.traceparent,
        )

    # Requests.

    def on_update(self, name: str, handler: Callable[..., Any], *, check: Optional[Callable[..., Any]] = None) -> None:
        """Take updates of a name: `handler` may call and wait, and what it returns is the answer.

        `check` is asked before an update is accepted; what it raises refuses it, without a trace.
        """
        self._core.updates.on_update(name, handler, check)

    def on_query(self, name: str, handler: Callable[..., Any]) -> None:
        """Take queries of a name: `handler` only looks, and what it returns is the answer."""
        self._core.updates.on_query(name, handler)

    # Another way on.

    def continue_as_new(self, *arguments: Any, **keywords: Any) -> Any:
        """End this run and begin the next one of the same id, with a history of its own.

        `await context.continue_as_new(...)` never comes back, and nothing is raised: no `except` and no `finally` runs
        to any effect. Signals that nobody has taken go with it. Raises `UsageError` while compensations are left.
        """
        core = self._core
        encoded = core.function.encode_arguments(*arguments, **keywords)
        if core.undos:
            msg = (
                "continue_as_new: compensations are left, which the next run does not know: context.undo() them, or "
                "context.forget_compensations()"
            )
            raise UsageError(msg)
        if not core.is_deaf():
            core.end_with(Continued(encoded, core.queued()))
        return inert(core.loop)

    def patched(self, change_id: str) -> bool:
        """Whether to take the new way of a change: yes for functions that come there first today.

        Those that were there before the change take the old way: `if context.patched("2026-05-refund"): ... else: ...`.
        """
        return False if self._core.is_deaf() else self._core.journal.patched(change_id)

    def deprecate_patch(self, change_id: str) -> None:
        """Only the new way is left in the code; functions that took it are still under way. Remove it after them."""
        if not self._core.is_deaf():
            self._core.journal.deprecate(change_id)


_decoders: Final[dict[Any, Callable[[bytes], Any]]] = {Any: _json}


def _decoder(returns: Any) -> Callable[[bytes], Any]:
    try:
        found = _decoders.get(returns)
    except TypeError:
        return msgspec.json.Decoder(returns).decode
    if found is None:
        if len(_decoders) > 1_024:
            _decoders.clear()
        found = _decoders[returns] = msgspec.json.Decoder(returns).decode
    return found
