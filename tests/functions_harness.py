"""A world for durable functions: outcomes are given by hand, and the function may be dropped before each happening."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional

import msgspec
import pytest

from headway.functions.declared import Callee, DurableFunction
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    CancelAsked,
    Command,
    Entry,
    Failed,
    Failure,
    FinishedBadly,
    Fired,
    Happening,
    Identity,
    Signalled,
    Started,
    TerminateAsked,
    TimerCancelled,
    TimerSet,
    UpdateAsked,
    decode,
    encode,
)
from headway.functions.instance import Instance
from headway.functions.status import Status

Evict = Callable[[], bool]

evictions = pytest.mark.parametrize("evict", [lambda: False, lambda: True], ids=["live", "evicted"])
"""A test with `evict` holds for a function that stays in memory, and for one that is made again for each happening."""


def failure(error_type: str = "ValueError", message: str = "no") -> Failure:
    return Failure(error_type, message)


class World:
    """One function, with all that has happened to it."""

    def __init__(
        self,
        function: DurableFunction[Any],
        *arguments: Any,
        evict: Evict = lambda: False,
        identity: Identity = Identity("f", "1"),  # noqa: B008 - frozen
        callees: Optional[Mapping[str, Callee]] = None,
        at_ms: int = 1_000,
        **started: Any,
    ) -> None:
        self.function = function
        self.identity = identity
        self.callees = callees
        self.stored: list[bytes] = []
        self.now_ms = at_ms
        self._evict = evict
        self.instance = self._new()
        self.first = self.take(Started(at_ms, msgspec.json.encode(arguments), **started))

    def _new(self) -> Instance:
        return Instance(self.function, self.identity, callees=self.callees, steps_max=10_000)

    @property
    def history(self) -> list[Entry]:
        return [decode(data) for data in self.stored]

    def again(self, function: Optional[DurableFunction[Any]] = None) -> None:
        """Drop it, and make it again from its history, perhaps with other code."""
        self.function = function or self.function
        self.instance.close()
        self.instance = self._new()
        self.instance.restore(self.history)

    def take(self, happening: Happening) -> list[Command]:
        if self.stored and self._evict():
            self.again()
        entries = self.instance.take(happening)
        self.stored += [encode(entry) for entry in entries]
        assert not entries or entries[0] == happening
        return entries[1:]  # type: ignore[return-value]

    def later(self, ms: int) -> World:
        self.now_ms += ms
        return self

    @property
    def open_calls(self) -> dict[int, Called]:
        found = {}
        for entry in self.history:
            if isinstance(entry, Called):
                found[entry.number] = entry
            elif isinstance(entry, (Answered, Failed)):
                del found[entry.call]
            elif isinstance(entry, CallCancelled):
                found.pop(entry.number, None)
        return found

    @property
    def open_timers(self) -> dict[int, TimerSet]:
        found = {}
        for entry in self.history:
            if isinstance(entry, TimerSet):
                found[entry.number] = entry
            elif isinstance(entry, Fired):
                del found[entry.timer]
            elif isinstance(entry, TimerCancelled):
                del found[entry.number]
        return found

    def number(self, name: str) -> int:
        return next(number for number, call in self.open_calls.items() if call.name == name)

    def answer(self, name: str, value: Any = None) -> list[Command]:
        return self.take(Answered(self.now_ms, self.number(name), msgspec.json.encode(value)))

    def fail(self, name: str, why: Optional[Failure] = None) -> list[Command]:
        return self.take(Failed(self.now_ms, self.number(name), why or failure()))

    def fire(self) -> list[Command]:
        """The earliest timer is due."""
        timer = min(self.open_timers.values(), key=lambda timer: (timer.at_ms, timer.number))
        self.now_ms = max(self.now_ms, timer.at_ms)
        return self.take(Fired(self.now_ms, timer.number))

    def signal(self, name: str, value: Any = None, signal_id: str = "") -> list[Command]:
        return self.take(Signalled(self.now_ms, name, msgspec.json.encode(value), signal_id))

    def update(self, update_id: str, name: str, value: Any = None) -> list[Command]:
        return self.take(UpdateAsked(self.now_ms, update_id, name, msgspec.json.encode(value)))

    def cancel(self, reason: str = "asked") -> list[Command]:
        return self.take(CancelAsked(self.now_ms, reason))

    def terminate(self, reason: str = "asked") -> list[Command]:
        return self.take(TerminateAsked(self.now_ms, reason))

    @property
    def status(self) -> Status:
        return self.instance.status

    @property
    def result(self) -> Any:
        outcome = self.instance.outcome
        assert self.status is Status.COMPLETED, outcome
        return msgspec.json.decode(outcome.value)  # type: ignore[union-attr]

    @property
    def failed_with(self) -> Failure:
        outcome = self.instance.outcome
        assert isinstance(outcome, FinishedBadly), outcome
        return outcome.failure

    def check_nothing_left(self) -> None:
        """When it has ended nothing of it is open, also if it is made again."""
        assert self.status is not Status.RUNNING
        assert not self.open_timers
        assert [call for call in self.open_calls.values() if call.kind not in ("signal", "start")] == []
        outcome = self.instance.outcome
        self.again()
        assert self.instance.outcome == outcome


def named(commands: list[Command]) -> list[str]:
    """The names of the calls among commands."""
    return [command.name for command in commands if isinstance(command, Called)]
