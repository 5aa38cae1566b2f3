"""Aggregates of one's own, made of functions."""

from collections.abc import Callable
from typing import Any, Optional, TypeVar

from headway.errors import FlowError
from headway.operators.aggregates.base import Aggregate
from headway.operators.conditions import Condition
from headway.types.schema import returned_type

__all__ = ["Custom", "aggregate"]

A = TypeVar("A")


class Custom(Aggregate[Any, Any]):
    """An aggregate made of functions: see `aggregate`."""

    def __init__(
        self,
        init: Callable[[], Any],
        add: Callable[[Any, Any], Any],
        merge: Callable[[Any, Any], Any],
        result: Optional[Callable[[Any], Any]] = None,
        *,
        into: Any = None,
        state: Any = None,
        where: Optional[Condition] = None,
    ) -> None:
        self._functions: dict[str, Callable[..., Any]] = {
            "init": init,
            "add": add,
            "merge": merge,
            "result": _same if result is None else result,
        }
        self.where = where
        self.accumulator_type = _type_of(init) if state is None else state
        if into is not None:
            self.result_type = into
        elif result is None:
            self.result_type = self.accumulator_type
        else:
            self.result_type = _type_of(result)

    def _bind(self, event_type: Any) -> None:
        for name, function in self._functions.items():
            if not callable(function):
                msg = f"aggregate(): {name}={function!r} must be a function, such as init=list or init=lambda: 0"
                raise FlowError(msg)
        self._init, self._add, self._merge, self._result = self._functions.values()

    def init(self) -> Any:
        """What `init` gives."""
        return self._init()

    def add(self, accumulator: Any, event: Any, time_ms: int) -> Any:
        """What `add` gives."""
        added = self._add(accumulator, event)
        if added is None:
            msg = "the function add of an aggregate() returned None: it must return the accumulator"
            raise TypeError(msg)
        return added

    def merge(self, earlier: Any, later: Any) -> Any:
        """What `merge` gives."""
        return self._merge(earlier, later)

    def result(self, accumulator: Any, at_ms: int) -> Any:
        """What `result` gives."""
        return self._result(accumulator)


def _same(accumulator: Any) -> Any:
    return accumulator


def _type_of(function: Any) -> Any:
    """The type of what a function returns, or of the objects of a class; Any where it is not known."""
    return returned_type(function)


def aggregate(
    init: Callable[[], A],
    add: Callable[[A, Any], A],
    merge: Callable[[A, A], A],
    result: Optional[Callable[[A], Any]] = None,
    *,
    into: Any = None,
    state: Any = None,
    where: Optional[Condition] = None,
) -> Custom:
    """An aggregate of your own, made of four functions.

    `init()` makes an accumulator, `add(accumulator, event)` returns it with one more event, `merge(a, b)` returns what
    adding the events of b after those of a would have made, and `result(accumulator)` makes the result (default: the
    accumulator itself).

    `into` is the type of the result and `state` that of the accumulator, where the annotations of `result` and `init`
    do not tell; an accumulator must be what MessagePack can hold, such as a `State`, a list or a number. All four must
    be pure functions. `add` and `merge` may change their arguments; `result` must not.

    >>> longest = aggregate(str, lambda best, event: max(best, event["word"], key=len), lambda a, b: max(a, b, key=len))
    >>> longest.result_type
    <class 'str'>
    """
    return Custom(init, add, merge, result, into=into, state=state, where=where)
