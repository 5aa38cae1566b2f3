"""Makes the calls of a durable function that is tested: attempts, retries and time limits in virtual time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Final, Optional, Protocol

import msgspec

from headway.basics.jsontext import to_json
from headway.basics.times import format_duration
from headway.errors import UsageError
from headway.functions.failures import failure_of
from headway.functions.history import Called, Failure
from headway.functions.loop import Loop
from headway.functions.options import CallOptions, RetryPolicy
from headway.testing.fakes import Attempted, Fakes

__all__ = ["Attempts", "CallMade"]

_ATTEMPTS_MAX: Final = 1_000
_UNLIMITED: Final = RetryPolicy()
_ONCE: Final = RetryPolicy(maximum_attempts=1)
"""Of a child: it is started once."""
_decode: Final = msgspec.json.decode
_loop_class: Final[Any] = Loop


class CallMade(msgspec.Struct):
    """A call of a function under test, as it went."""

    caller: str
    """The instance that called: the name of its function, a slash, its id."""
    number: int
    kind: str
    """That of `headway.functions.history.Called`."""
    name: str
    arguments: Any
    """A list by position, or a dict by name."""
    to: str = ""
    """The id of a child, or the instance that a signal goes to."""
    after_ms: int = 0
    """When it was made, in milliseconds after the start of the test."""
    attempts: int = 0
    ended_after_ms: Optional[int] = None
    outcome: str = "open"
    """`open`, `answered`, `failed` or `cancelled`."""
    value: Any = None
    failure: Optional[Failure] = None


class Clock(Protocol):
    """The virtual time of a test."""

    now_ms: int

    def at(self, at_ms: int, action: Callable[[], None]) -> Callable[[], None]:
        """Have something done at a time; gives what cancels it."""


class Attempts:
    """One call, from its first attempt to its end.

    `answer` is told the end, once: the value as JSON, or the failure.
    """

    def __init__(
        self,
        clock: Clock,
        fakes: Fakes,
        called: Called,
        made: CallMade,
        answer: Callable[[bytes, Optional[Failure]], None],
        *,
        decode: Callable[[bytes], Any],
        twice: bool,
    ) -> None:
        self._clock = clock
        self._fakes = fakes
        self._called = called
        self._made = made
        self._answer = answer
        self._decode = decode
        self._twice = twice
        options = called.options or CallOptions()
        self._policy = options.retry or (_UNLIMITED if called.kind == "step" else _ONCE)
        self._attempt_ms = options.attempt_timeout_ms
        self._releases: list[Callable[[], None]] = []
        self._is_open = True
        self._current = 0
        """The attempt whose outcome counts; 0 in the pause before the next one."""
        if options.timeout_ms is not None:
            late = Failure("TimeoutError", f"not done in {format_duration(options.timeout_ms)}")
            self._releases.append(clock.at(clock.now_ms + options.timeout_ms, lambda: self._end(b"null", late)))
        clock.at(clock.now_ms, self._attempt)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._is_open = False
        for release in self._releases:
            release()

    def _attempt(self) -> None:
        if not self._is_open:
            return
        self._made.attempts += 1
        number = self._current = self._made.attempts
        if number > _ATTEMPTS_MAX:
            msg = (
                f"step {self._called.name!r} has failed {_ATTEMPTS_MAX:,} times and is tried without an end, as its "
                "retry policy has no maximum_attempts: give it one, or fake it with fails(error), which is final"
            )
            raise UsageError(msg)
        attempted = self._fakes.attempt(self._called.name)
        if self._attempt_ms is not None:
            late = TimeoutError(f"attempt not done in {format_duration(self._attempt_ms)}")
            self._later(self._attempt_ms, number, lambda: self._failed(late, is_final=False))
        if attempted.delay_ms is not None:
            self._later(attempted.delay_ms, number, lambda: self._outcome(attempted, number))

    def _later(self, delay_ms: int, number: int, action: Callable[[], None]) -> None:
        def act() -> None:
            if self._is_open and self._current == number:
                action()

        if delay_ms:
            self._releases.append(self._clock.at(self._clock.now_ms + delay_ms, act))
        else:
            act()

    def _outcome(self, attempted: Attempted, number: int) -> None:
        if attempted.error is not None:
            self._failed(attempted.error, is_final=attempted.is_final)
        elif attempted.code is None:
            self._done(attempted.value)
        else:
            if self._twice:
                _run_aside(self._clock, self._called, lambda: self._call(attempted), lambda value, error: None)
            _run_aside(self._clock, self._called, lambda: self._call(attempted), self._settled(number))

    def _call(self, attempted: Attempted) -> Any:
        assert attempted.code is not None
        return self._fakes.called(self._called.name, attempted.code, self._called.arguments)

    def _settled(self, number: int) -> Callable[[Any, Optional[BaseException]], None]:
        def settle(value: Any, error: Optional[BaseException]) -> None:
            if not self._is_open or self._current != number:
                return
            if error is None:
                self._done(value)
            else:
                self._failed(error, is_final=isinstance(error, (UsageError, asyncio.CancelledError)))

        return settle

    def _done(self, value: Any) -> None:
        what = f"what stands in for {self._called.name!r} gives {value!r:.100}"
        data = to_json(value, what)
        try:
            self._decode(data)
        except (UsageError, msgspec.DecodeError) as error:
            msg = f"{what}, which is not what is declared: {error}"
            raise UsageError(msg) from None
        self._end(data, None)

    def _failed(self, error: BaseException, *, is_final: bool) -> None:
        failure = failure_of(error)
        types = tuple(one.__name__ for one in type(error).__mro__)
        if is_final or failure.non_retryable or self._policy.gives_up(self._made.attempts, types):
            self._end(b"null", failure)
        else:
            self._current = 0
            pause_ms = self._policy.pause_ms(self._made.attempts)
            self._releases.append(self._clock.at(self._clock.now_ms + pause_ms, self._attempt))

    def _end(self, value: bytes, failure: Optional[Failure]) -> None:
        if self._is_open:
            self.cancel()
            self._answer(value, failure)


def _run_aside(
    clock: Clock, called: Called, call: Callable[[], Any], settle: Callable[[Any, Optional[BaseException]], None]
) -> None:
    """Call a function that stands in for a step; what it awaits has the virtual time of the test."""
    try:
        result = call()
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        settle(None, error)
        return
    if inspect.isawaitable(result):
        _Aside(clock, called.name, result, settle)
    else:
        settle(result, None)


class _Aside:
    """Runs a coroutine of a step on a loop without threads and sockets, in virtual time."""

    def __init__(
        self, clock: Clock, name: str, awaitable: Any, settle: Callable[[Any, Optional[BaseException]], None]
    ) -> None:
        self._clock = clock
        self._name = name
        self._settle = settle
        self._refused = ""
        self._loop: Loop = _loop_class(self, refused=self._refuse)
        self._loop.now_ms = clock.now_ms
        self._task = self._loop.create_task(_awaited(awaitable))
        self._step()

    def set_timer(self, at_ms: int, fire: Callable[[], None]) -> Callable[[], None]:
        """As the loop asks for."""

        def due() -> None:
            fire()
            self._step()

        return self._clock.at(at_ms, due)

    def _refuse(self, message: str) -> None:
        self._refused = message

    def _step(self) -> None:
        self._loop.now_ms = self._clock.now_ms
        self._loop.run()
        if self._refused:
            self._loop.close()
            msg = f"step {self._name!r} cannot run in a test of virtual time: {self._refused}: give FunctionTest a fake"
            raise UsageError(msg)
        if self._task.done():
            error = asyncio.CancelledError() if self._task.cancelled() else self._task.exception()
            self._loop.close()
            self._settle(None if error is not None else self._task.result(), error)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
