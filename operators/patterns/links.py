"""The state of a chain for one key: the events that each step took."""

from bisect import bisect_right
from functools import cache
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from headway.types.schema import State
from headway.types.values import KEPT_FOR

__all__ = ["drop", "first_waiting", "state_of_chain", "taken_by", "waiting"]

_last = attrgetter("last")


@cache
def state_of_chain(event_type: Any, fingerprint: str) -> tuple[Any, Any]:
    """The classes of the state and of an event in it, for events of one type.

    `steps` has a list for each step that partial matches have come to, none of them empty. Partial matches are
    numbered in the order in which they began; `last` is the number of the last one that took the event, and those
    before it took it too, as far as no event before it in the list was theirs.
    """
    taken = msgspec.defstruct(
        "Taken", [("last", int), ("at", int), ("event", event_type)], module=__name__, array_like=True, gc=False
    )
    steps = Annotated[list[list[taken]], msgspec.Meta(extra={KEPT_FOR: f"the pattern {fingerprint}"})]  # type: ignore[valid-type]
    state = msgspec.defstruct(
        "ChainState",
        [("steps", steps, [])],
        bases=(State,),
        module=__name__,
        gc=False,
    )
    return state, taken


def waiting(steps: list[list[Any]], step: int) -> tuple[int, int]:
    """The partial matches whose last event is that of a step: those after the first number, up to the second."""
    ahead = steps[step + 1][-1].last if step + 1 < len(steps) else steps[0][0].last - 1
    return ahead, steps[step][-1].last


def first_waiting(steps: list[list[Any]], step: int, ahead: int) -> Any:
    """What the first of these took there; `ahead` is the first number that `waiting` gave."""
    column = steps[step]
    return column[_place(column, ahead)]


def taken_by(steps: list[list[Any]], number: int) -> list[Any]:
    """What a partial match took, first step first."""
    return [column[_place(column, number - 1)] for column in steps if column[-1].last >= number]


def drop(steps: list[list[Any]], ahead: int, last: int) -> None:
    """Remove the partial matches after `ahead` up to `last`, and the events that only they took."""
    before_all = steps[0][0].last - 1
    if ahead == before_all:
        if last == steps[0][-1].last:
            steps.clear()
            return
        for column in steps:
            del column[: _place(column, last)]
    else:
        for column in steps:
            _cut(column, before_all, ahead, last)
    while steps and not steps[-1]:
        steps.pop()


def _cut(column: list[Any], before: int, ahead: int, last: int) -> None:
    """Take numbers out of the middle of a column; those behind them move up."""
    kept = []
    for taken in column:
        number = taken.last
        if number > last:
            number -= last - ahead
        elif number > ahead:
            number = ahead
        if number > before:
            taken.last = before = number
            kept.append(taken)
    column[:] = kept


def _place(column: list[Any], number: int) -> int:
    """Where the first event is that one behind a number took."""
    if column[0].last > number:  # As is mostly so.
        return 0
    return bisect_right(column, number, 1, key=_last)
