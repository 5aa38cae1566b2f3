"""What stands in for steps, children and views while a durable function is tested.

A fake is a value, an error, a function, or one of these made slower, final, or different each time:

* a value: each call is answered with it;
* an error: each attempt raises it, and the step's retry policy says what follows, as in a run;
* a function: it is called with the arguments, and what it returns or raises is the attempt's outcome. An `async` one
  has the virtual time of the test: `asyncio.sleep(60)` in it takes none;
* `after("5m", fake)`, `fails(error)`, `in_turn(fake, fake, ...)`, `NEVER`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from headway.basics.times import Duration, duration_ms
from headway.errors import UsageError
from headway.functions.declared import Callee
from headway.functions.signature import Signature

__all__ = ["NEVER", "Attempted", "Fakes", "after", "fails", "in_turn"]


class _Never(enum.Enum):
    NEVER = "never"

    def __repr__(self) -> str:
        return "NEVER"


NEVER: Final = _Never.NEVER
"""A fake that gives no answer: for what is to run into a time limit, or to be cancelled."""


class _After(NamedTuple):
    delay_ms: int
    outcome: Any


class _Fails(NamedTuple):
    error: BaseException


class _InTurn(NamedTuple):
    outcomes: tuple[Any, ...]


class _Real(NamedTuple):
    code: Callable[..., Any]


def after(delay: Duration, outcome: Any = None) -> Any:
    """A fake that takes so long, in the virtual time of the test.

    >>> after("5m", "shipped")
    _After(delay_ms=300000, outcome='shipped')
    """
    return _After(duration_ms(delay, what="delay"), outcome)


def fails(error: BaseException) -> Any:
    """A fake whose call fails for good at once, whatever its retry policy says."""
    if not isinstance(error, BaseException):
        msg = f"fails({error!r}): expected an error, such as fails(ConnectionError('the bank is down'))"
        raise UsageError(msg)
    return _Fails(error)


def in_turn(*outcomes: Any) -> Any:
    """A fake whose first attempt has the first of these outcomes, and so on; the last one stays.

    A step that is down for two attempts: `in_turn(ConnectionError(), ConnectionError(), "done")`.
    """
    if not outcomes:
        msg = "in_turn(): give at least one outcome"
        raise UsageError(msg)
    return _InTurn(outcomes)


class Attempted(NamedTuple):
    """What one attempt is to be: a value, an error, or a function that is called, after a delay.

    A `delay_ms` of None means that there is no answer.
    """

    delay_ms: int | None = 0
    value: Any = None
    error: BaseException | None = None
    is_final: bool = False
    code: Callable[..., Any] | None = None


class Fakes:
    """The fakes of one run, which count its attempts."""

    def __init__(self, fakes: Mapping[str, Any], callees: Mapping[str, Callee], *, real_steps: bool) -> None:
        self._fakes = fakes
        self._callees = callees
        self._real_steps = real_steps
        self._turns: dict[int, int] = {}
        self._signatures: dict[Any, Signature] = {}

    def has(self, name: str) -> bool:
        """Whether there is a fake of that name."""
        return name in self._fakes

    def attempt(self, name: str) -> Attempted:
        """The next attempt of a step. Raises `UsageError` where nothing stands in for it."""
        if name in self._fakes:
            return self._of(self._fakes[name], 0)
        code = getattr(self._callees.get(name), "code", None)
        if self._real_steps and code is not None:
            return Attempted(code=code)
        declared = "" if code is None else ", or real_steps=True to run those that are declared"
        msg = f"nothing stands in for step {name!r}: give FunctionTest steps={{{name!r}: ...}}{declared}"
        raise UsageError(msg)

    def called(self, name: str, code: Callable[..., Any], arguments: bytes) -> Any:
        """What a function that stands in returns: a value, or something to await."""
        signature = self._signatures.get(code)
        if signature is None:
            signature = self._signatures[code] = Signature(code, f"what stands in for {name!r}")
        given, named = signature.decode(arguments)
        return code(*given, **named)

    def _of(self, fake: Any, delay_ms: int) -> Attempted:
        if isinstance(fake, _After):
            return self._of(fake.outcome, delay_ms + fake.delay_ms)
        if isinstance(fake, _InTurn):
            turn = self._turns.get(id(fake), 0)
            self._turns[id(fake)] = turn + 1
            return self._of(fake.outcomes[min(turn, len(fake.outcomes) - 1)], delay_ms)
        if fake is NEVER:
            return Attempted(None)
        if isinstance(fake, _Fails):
            return Attempted(delay_ms, error=fake.error, is_final=True)
        if isinstance(fake, BaseException):
            return Attempted(delay_ms, error=fake)
        if callable(fake):
            return Attempted(delay_ms, code=fake)
        return Attempted(delay_ms, fake)
