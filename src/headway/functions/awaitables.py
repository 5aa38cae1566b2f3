"""What a context gives to be awaited, but for groups of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

from headway.functions.failures import TimeoutExpired
from headway.functions.history import Called, Signalled
from headway.functions.loop import Loop
from headway.functions.tasks import Future

if TYPE_CHECKING:
    from headway.functions.core import Core

__all__ = ["Call", "ConditionWait", "SignalWait", "Timer", "inert"]


def inert(loop: Loop) -> Future[Any]:
    """What code gets that is not heard: it waits for ever."""
    return Future(loop=loop)


class Call(Future[Any]):
    """A call that has left. Whoever cancels it takes it back; an answer that comes later is not heard."""

    __slots__ = ("_core", "called", "decode")

    def __init__(self, core: Core, called: Called, decode: Callable[[bytes], Any]) -> None:
        super().__init__(loop=core.loop)
        self._core: Optional[Core] = core
        self.called = called
        self.decode = decode

    def leave(self) -> None:
        """Nobody is told of it any more."""
        self._core = None

    def cancel(self, msg: Optional[Any] = None) -> bool:
        """Take the call back. False if it was answered."""
        if not super().cancel(msg):
            return False
        if self._core is not None:
            self._core.call_cancelled(self)
        return True


class _Timed(Future[Any]):
    """Something with a timer, which goes when it is done."""

    __slots__ = ("release",)

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop=loop)
        self.release: Optional[Callable[[], None]] = None

    def settle(self) -> None:
        """Its timer is not needed any more."""
        release, self.release = self.release, None
        if release is not None:
            release()

    def cancel(self, msg: Optional[Any] = None) -> bool:
        """Wait no longer. False if it has come."""
        if not super().cancel(msg):
            return False
        self.settle()
        return True


class Timer(_Timed):
    """A sleep."""

    __slots__ = ()

    def fire(self) -> None:
        """Its time has come."""
        self.release = None
        if not self.done():
            self.set_result(None)


class SignalWait(_Timed):
    """Waits for a signal of one name."""

    __slots__ = ("_decode", "_name")

    def __init__(self, core: Core, name: str, decode: Callable[[bytes], Any]) -> None:
        super().__init__(core.loop)
        self._name = name
        self._decode = decode

    def give(self, signal: Signalled) -> None:
        """It has come."""
        self.settle()
        try:
            self.set_result(self._decode(signal.value))
        except Exception as error:
            self.set_exception(ValueError(f"signal {self._name!r} is not what is waited for: {error}"))

    def expire(self) -> None:
        """Its time is over."""
        self.release = None
        if not self.done():
            self.set_exception(TimeoutExpired(f"signal {self._name!r} has not come in time"))


class ConditionWait(_Timed):
    """Waits until a condition holds."""

    __slots__ = ("_condition",)

    def __init__(self, loop: Loop, condition: Callable[[], object]) -> None:
        super().__init__(loop)
        self._condition = condition

    def look(self, core: Core) -> bool:
        """Whether it goes on: the condition holds, or cannot be told."""
        try:
            holds = bool(core.looking(self._condition))
        except Exception as error:
            self.settle()
            self.set_exception(error)
            return True
        if holds:
            self.settle()
            self.set_result(None)
        return holds

    def expire(self) -> None:
        """Its time is over."""
        self.release = None
        if not self.done():
            self.set_exception(TimeoutExpired("the condition has not held in time"))
