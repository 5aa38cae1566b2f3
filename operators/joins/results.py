"""What joins emit, and the options and rows that they share."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, Final, Generic, Literal, Optional, TypeVar, get_args

import msgspec

from headway.basics.times import Duration, duration_ms
from headway.errors import FlowError, UsageError
from headway.operators.base import Context
from headway.types.schema import Event, returned_type

__all__ = [
    "Cogrouped",
    "How",
    "Joined",
    "Pair",
    "Rows",
    "Select",
    "TableChange",
    "WindowJoined",
    "between",
    "check_how",
    "emitter",
    "joined_type",
    "offset_ms",
    "passed",
    "selected_type",
    "sides_state",
]

L = TypeVar("L")
R = TypeVar("R")
E = TypeVar("E")

How = Literal["inner", "left", "right", "full"]
"""What a join does with an event without a partner: `left` keeps those of the left side, `full` those of both."""

Select = Callable[[Any, Any], Any]
"""Makes what is emitted of a left and a right event, either of which may be None in an outer join."""


class Pair(Event, Generic[L, R]):
    """A left and a right value that belong together, one of which may be None where its type says so.

    What `enrich` gives, an event and the row that was found for it, and the rows of two tables that `table_join` joins.
    """

    left: L
    """The value of the left side."""
    right: R
    """The value of the right side."""


class Joined(Event, Generic[L, R]):
    """A left and a right event that belong together; in outer joins one of them may be None."""

    key: str
    """The key of both."""
    left: L
    """The event of the left side."""
    right: R
    """The event of the right side."""


class WindowJoined(Event, Generic[L, R]):
    """A left and a right event of one window; in outer joins one of them may be None."""

    key: str
    """The key of both."""
    start: int
    """Start of the window in epoch milliseconds."""
    end: int
    """End of the window, which is not in it."""
    left: L
    """The event of the left side."""
    right: R
    """The event of the right side."""


class Cogrouped(Event, Generic[L, R]):
    """All events of one window, of both sides; one of the lists may be empty."""

    key: str
    """The key of the events."""
    start: int
    """Start of the window in epoch milliseconds."""
    end: int
    """End of the window, which is not in it."""
    lefts: list[L]
    """The events of the left side, in the order of event time."""
    rights: list[R]
    """The events of the right side, in the order of event time."""


class TableChange(Event, Generic[L, R]):
    """A change of the row that two tables have together for a key: `before` it and `after` it."""

    key: str
    """The key of the row."""
    op: Literal["insert", "update", "delete"]
    """An insert has no `before`, a delete no `after`."""
    before: Optional[Pair[L, R]]
    """The joined row as it was last emitted."""
    after: Optional[Pair[L, R]]
    """The joined row as it is now."""


Rows = list[tuple[int, Any]]
"""Events that wait for partners, each with its time, in the order of time."""


def between(rows: Rows, first_ms: int, last_ms: int) -> slice:
    """Where the events are from `first_ms` to `last_ms`, both included, in a list that is not empty; O(log n).

    >>> between([(1, "a"), (2, "b"), (4, "c")], 2, 4)
    slice(1, 3, None)
    """
    # A tuple of a time alone comes before all of that time: so nothing but times is ever compared.
    start = 0 if rows[0][0] >= first_ms else bisect_left(rows, (first_ms,))
    return slice(start, len(rows) if rows[-1][0] <= last_ms else bisect_left(rows, (last_ms + 1,), start))


def passed(rows: Rows, first_ms: int) -> int:
    """How many events, of those before `first_ms`, should be dropped now from a list that is not empty.

    What remains moves up in memory: of long lists nothing is dropped until it is a fair share, so that it costs O(1)
    amortised.

    >>> many = [(at, "a") for at in range(8_000)]
    >>> passed(many[:5], 4), passed(many, 999), passed(many, 1_001)
    (4, 0, 1001)
    """
    if rows[len(rows) // _LAZY if len(rows) > _FEW else 0][0] >= first_ms:
        return 0
    return bisect_left(rows, (first_ms,))


_FEW: Final = 32
_LAZY: Final = 8


@cache
def sides_state(name: str, left_type: Any, right_type: Any, base: Any) -> Any:
    """The state that keeps the events of both sides with their times, besides the fields of `base`."""
    fields: list[Any] = [("lefts", list[tuple[int, left_type]], []), ("rights", list[tuple[int, right_type]], [])]
    return msgspec.defstruct(name, fields, bases=(base,), module=__name__, gc=False, omit_defaults=True)


def check_how(how: Any, allowed: Sequence[str] = get_args(How)) -> Any:
    """`how` as it is. Raises `FlowError` when it is none of those allowed.

    >>> check_how("left")
    'left'
    """
    if how not in allowed:
        expected = ", ".join(f'"{option}"' for option in allowed)
        msg = f"how={how!r} is not a kind of this join: expected one of {expected}"
        raise FlowError(msg)
    return how


def joined_type(result: Any, left_type: Any, right_type: Any, how: str) -> Any:
    """The type `result[left, right]` with the sides optional that `how` allows to lack.

    >>> joined_type(Joined, int, str, "left").__args__
    (<class 'int'>, typing.Optional[str])
    """
    left = Optional[left_type] if how in ("right", "full") else left_type
    right = Optional[right_type] if how in ("left", "full") else right_type
    return result[left, right]


def selected_type(select: Optional[Select], into: Any, joined: Any) -> Any:
    """The type of what a join emits: `joined`, or what `into` or the annotation of `select` says.

    Raises `FlowError` when `select` is not a function, or `into` stands without it.
    """
    if select is None:
        if into is not None:
            msg = f"into={into!r} is the type of what select= makes: give that too, or leave out into="
            raise FlowError(msg)
        return joined
    if not callable(select):
        msg = f"select={select!r} is not a function of the left and the right event"
        raise FlowError(msg)
    if into is not None:
        return into
    return returned_type(select)


def emitter(select: Optional[Select]) -> Callable[[Context[Any], Any, Any], None]:
    """The function `(ctx, left, right)` that emits a `Joined`, or what `select` makes of the two."""
    if select is None:
        return lambda ctx, left, right: ctx.emit(Joined(ctx.key, left, right))
    return lambda ctx, left, right: ctx.emit(select(left, right))


def offset_ms(value: Duration, what: str) -> int:
    """A distance in time that may be negative, in milliseconds.

    Raises `FlowError` when it cannot be read; `what` names it in the message.

    >>> offset_ms("-1m30s", "lower"), offset_ms(250, "upper"), offset_ms(timedelta(seconds=-1), "lower")
    (-90000, 250, -1000)
    """
    try:
        if isinstance(value, str) and value.strip().startswith("-"):
            return -duration_ms(value.strip()[1:])
        if isinstance(value, timedelta) or (isinstance(value, int) and not isinstance(value, bool)):
            return duration_ms(value) if value == abs(value) else -duration_ms(-value)
        return duration_ms(value)
    except UsageError:
        msg = (
            f"{what}={value!r} is not a distance in time: write a number with a unit, with a minus for earlier times, "
            'such as "-5m", "10s" or "0s" (units: ms, s, m, h, d, w)'
        )
        raise FlowError(msg) from None
