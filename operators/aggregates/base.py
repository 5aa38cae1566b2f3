"""What an aggregate is, and how several of them make one typed result."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Generic, Optional, TypeVar

from typing_extensions import Self

from headway.errors import FlowError
from headway.operators.conditions import Condition, resolve

__all__ = ["Aggregate", "Bundle"]

A = TypeVar("A")
R = TypeVar("R")


class Aggregate(Generic[A, R]):
    """Folds events into an accumulator, and an accumulator into a result.

    Accumulators are plain values of `accumulator_type` (anything MessagePack can hold, typed for msgspec).
    `add` and `merge` may change the accumulators they are given and return them, or return new ones.
    `merge(a, b)` must equal adding the events of `b` after those of `a`.
    """

    accumulator_type: Any
    """Type of the accumulator, as msgspec needs it to store and load it."""
    result_type: Any
    """Type of the result; never depends on the events, so that it is known when the flow is declared."""
    where: Optional[Condition] = None
    """Only events that meet this are added."""

    def bind(self, event_type: Any) -> Self:
        """The same for events of one type: fields are checked and their accessors made.

        Called once, when the flow is declared. Raises `FlowError` for a field that the type does not have.
        Aggregates that read fields override `_bind`.
        """
        bound = copy.copy(self)
        bound._bind(event_type)
        return bound

    def _bind(self, event_type: Any) -> None:
        """Make the accessors for events of `event_type`; called on a copy."""

    def init(self) -> A:
        """A fresh accumulator."""
        raise NotImplementedError

    def add(self, accumulator: A, event: Any, time_ms: int) -> A:
        """The accumulator with one more event, at event time `time_ms`; events come in event-time order."""
        raise NotImplementedError

    def merge(self, earlier: A, later: A) -> A:
        """The accumulator of both."""
        raise NotImplementedError

    def result(self, accumulator: A, at_ms: int) -> R:
        """The result as of event time `at_ms`. Must not change the accumulator."""
        raise NotImplementedError


class Bundle:
    """Named aggregates over the same events: their accumulators as one list, their results by name.

    >>> from headway.operators.aggregates.basic import count
    >>> bundle = Bundle({"all": count(), "adds": count(kind="add")}, dict)
    >>> accumulators = bundle.init()
    >>> for event in ({"kind": "add"}, {"kind": "view"}):
    ...     bundle.add(accumulators, event, 0)
    >>> bundle.results(accumulators, 0)
    {'all': 2, 'adds': 1}
    """

    def __init__(self, aggregates: Mapping[str, Aggregate[Any, Any]], event_type: Any) -> None:
        if not aggregates:
            msg = "at least one aggregate is needed, such as events=hw.count()"
            raise FlowError(msg)
        for name, aggregate in aggregates.items():
            if not isinstance(aggregate, Aggregate):
                msg = f"{name}={aggregate!r} is not an aggregate: use one such as hw.count() or hw.sum('price')"
                raise FlowError(msg)
        bound = {name: aggregate.bind(event_type) for name, aggregate in aggregates.items()}
        self.names = tuple(bound)
        self.aggregates: Mapping[str, Aggregate[Any, Any]] = bound
        """The aggregates by name, bound to the type of the events."""
        self._aggregates = tuple(bound.values())
        self.accumulator_type: Any = tuple[tuple(a.accumulator_type for a in self._aggregates)]  # type: ignore[misc]
        """The accumulators in storage: a tuple; in memory `init` gives a list."""
        self.fields: list[tuple[str, Any]] = [(name, a.result_type) for name, a in bound.items()]
        """Names and types of the results, as `msgspec.defstruct` takes them."""
        tests: list[Optional[Callable[[Any], bool]]] = [
            None if a.where is None else resolve(a.where, event_type) for a in self._aggregates
        ]
        self._adders = [(index, test, a.add) for index, (a, test) in enumerate(zip(self._aggregates, tests))]

    def init(self) -> list[Any]:
        """Fresh accumulators."""
        return [aggregate.init() for aggregate in self._aggregates]

    def add(self, accumulators: list[Any], event: Any, time_ms: int) -> None:
        """Add an event to all accumulators whose condition it meets, in place."""
        for index, test, add in self._adders:
            if test is None or test(event):
                accumulators[index] = add(accumulators[index], event, time_ms)

    def merge(self, earlier: list[Any], later: list[Any]) -> list[Any]:
        """The accumulators of both; either may be changed by it, and must not be used any more."""
        return [aggregate.merge(a, b) for aggregate, a, b in zip(self._aggregates, earlier, later)]

    def results(self, accumulators: list[Any], at_ms: int) -> dict[str, Any]:
        """The results by name, as of event time `at_ms`."""
        return {
            name: aggregate.result(accumulator, at_ms)
            for name, aggregate, accumulator in zip(self.names, self._aggregates, accumulators)
        }
