"""Sequence check: gaps, repeats and reordering in the numbers that a key's events carry."""

from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

from typing_extensions import TypeVar

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.options import optional_ms, positive_int, reader
from headway.types.schema import Event, State

__all__ = ["Numbers", "SequenceCheck", "SequenceGap"]

E = TypeVar("E", default=Any)


class SequenceGap(Event):
    """What goes to the side output `gaps`: numbers that did not come."""

    expected: int
    """The first number that is missing."""
    got: int
    """The next number that is not."""
    missing: int
    """How many are missing, `got - expected`."""


class Numbers(State):
    """What is known of the numbers of one key."""

    next: Optional[int] = None
    """The number after the greatest so far."""
    open: list[tuple[int, int, bool]] = []
    """The ranges of missing numbers in order: the first, the last, and whether the range has been reported."""


class SequenceCheck(Operator[E, Numbers, E]):
    """Passes each event whose number is new, and reports what is wrong with the numbers, which should count up by one.

    Side outputs: `gaps`, when numbers are skipped: at once, or with `wait` for what is still missing so much later;
    `reordered`, the events that fill a gap after all (they are passed too); `repeats`, the events whose number has come
    before (they are not). `start` is the first number expected; None takes whichever comes first.
    Keeps one row for each key, with at most `gaps_max` ranges of missing numbers (a number
    of one that was dropped for this counts as a repeat) and a timer for each gap that waits, for ever or until nothing
    has come for `expire_after`: then numbers may begin anew, and gaps that still wait are reported at once.

    >>> sorted(SequenceCheck(number="seq").sides)
    ['gaps', 'reordered', 'repeats']
    """

    shares_values = True
    sides = {"gaps": SequenceGap, "repeats": Any, "reordered": Any}

    def __init__(
        self,
        *,
        number: Union[str, Callable[[E], Any]],
        start: Optional[int] = None,
        wait: Optional[Duration] = None,
        gaps_max: int = 100,
        expire_after: Optional[Duration] = None,
    ) -> None:
        if start is not None and type(start) is not int:
            msg = f"start={start!r} must be an integer, the first number of a sequence"
            raise FlowError(msg)
        self.number = number
        self.start = start
        self.wait_ms = optional_ms(wait, "wait")
        self.gaps_max = positive_int(gaps_max, "gaps_max")
        self.expire_ms = optional_ms(expire_after, "expire_after")

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = event_type
        self.sides = {"gaps": SequenceGap, "repeats": event_type, "reordered": event_type}
        self._number_of = reader(self.number, event_type, "sequence_check")[0]

    def on_event(self, state: Numbers, event: E, ctx: Context[E], /) -> None:
        """Compare the event's number with the one that is expected."""
        number = self._number_of(event)
        if type(number) is not int:
            msg = f"the number of an event is {number!r}, expected an integer"
            raise TypeError(msg)
        expected = state.next if state.next is not None else self.start if self.start is not None else number
        if number >= expected:
            state.next = number + 1
            if number > expected:
                self._open(state, expected, number, ctx)
            ctx.emit(event)
        elif _fill(state, number):
            ctx.emit_to("reordered", event)
            ctx.emit(event)
        else:
            ctx.emit_to("repeats", event)
        self._bound(state, ctx)
        if self.expire_ms is not None and state.next is not None:
            ctx.timer("expire", ctx.time + self.expire_ms)

    def on_timer(self, state: Numbers, timer: Timer, ctx: Context[E], /) -> None:
        """Report what is still missing of a gap, or forget the key."""
        if timer.name == "expire":
            for first, last, reported in state.open:
                if not reported:  # Its own timer is due later, or right after this one, and goes with the key.
                    _report(first, last, ctx)
            ctx.forget()
            return
        expected, got = map(int, timer.name.removeprefix("gap ").split(" to "))
        for index, (first, last, _) in enumerate(state.open):
            if expected <= first < got:
                _report(first, last, ctx)
                state.open[index] = (first, last, True)

    def _open(self, state: Numbers, expected: int, got: int, ctx: Context[E]) -> None:
        state.open.append((expected, got - 1, self.wait_ms is None))
        if self.wait_ms is None:
            _report(expected, got - 1, ctx)
        else:
            ctx.timer(f"gap {expected} to {got}", ctx.time + self.wait_ms)

    def _bound(self, state: Numbers, ctx: Context[E]) -> None:
        for first, last, reported in state.open[: -self.gaps_max]:
            if not reported:
                _report(first, last, ctx)
        del state.open[: -self.gaps_max]


def _report(first: int, last: int, ctx: Context[Any]) -> None:
    ctx.emit_to("gaps", SequenceGap(expected=first, got=last + 1, missing=last + 1 - first))


def _fill(state: Numbers, number: int) -> bool:
    """Take a number out of the ranges of missing ones; whether it was in one."""
    for index, (first, last, reported) in enumerate(state.open):
        if first <= number <= last:
            parts = [(first, number - 1, reported), (number + 1, last, reported)]
            state.open[index : index + 1] = [part for part in parts if part[0] <= part[1]]
            return True
    return False
