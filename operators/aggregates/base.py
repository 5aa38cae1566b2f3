"""What an aggregate is, and how several of them make one typed result."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from keyword import iskeyword
from typing import Any, Generic, Optional, TypeVar

import msgspec
from typing_extensions import Self

from headway.errors import FlowError
from headway.operators.aggregates.copies import copy_of
from headway.operators.aggregates.written import CALLS, Written, written_functions, written_maker, written_of
from headway.operators.conditions import Condition
from headway.operators.given import Given

__all__ = ["Aggregate", "Bundle", "held_struct"]

A = TypeVar("A")
R = TypeVar("R")


class Aggregate(Given, Generic[A, R]):
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
    shares_values: bool = False
    """Whether `add` and `merge` only put values into an accumulator and take them out, and never change one that came
    with an event: see `Operator.shares_values`. Not inherited by a class that has methods of its own."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "shares_values" not in cls.__dict__ and cls.__dict__.keys() & {"add", "merge"}:
            cls.shares_values = False

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

    def written(self) -> Written:
        """The methods below as source, which saves calls; a subclass that overrides one of them overrides this too."""
        return CALLS

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
    """Named aggregates over the same events: their accumulators as one object, their results by name.

    `add` and `merge` are made for these aggregates, written out where they can be (see the module `written`). They
    work on any object that has an attribute for each name, such as a state or a pane.

    >>> from headway.operators.aggregates.basic import count
    >>> bundle = Bundle({"all": count(), "adds": count(kind="add")}, dict)
    >>> held = bundle.init()
    >>> [bundle.add(held, event, 0) for event in ({"kind": "add"}, {"kind": "view"})]
    [True, True]
    >>> held
    Accumulators(adds=1, all=2)
    >>> bundle.results(held, 0)
    {'all': 2, 'adds': 1}
    """

    add: Callable[[Any, Any, int], bool]
    """`add(held, event, time_ms)` adds an event to the accumulators of all aggregates whose condition it meets, in
    place; whether there are any."""
    merge: Callable[[Any, Any], Any]
    """`merge(earlier, later)` merges into `earlier` and returns it; `later` must not be used any more."""
    absorb: Callable[[Any, Any], Any]
    """As `merge`, but `later` stays as it is."""
    combine: Callable[[Any, Any], Any]
    """The accumulators of both, which stay as they are."""

    def __init__(self, aggregates: Mapping[str, Aggregate[Any, Any]], event_type: Any) -> None:
        _check(aggregates)
        bound = {name: aggregate.bind(event_type) for name, aggregate in aggregates.items()}
        self.aggregates: Mapping[str, Aggregate[Any, Any]] = bound
        """The aggregates by name, bound to the type of the events."""
        self.fields: list[tuple[str, Any]] = [(name, a.result_type) for name, a in bound.items()]
        """Names and types of the results, as `msgspec.defstruct` takes them."""
        # Stored by position: in an order that does not change when somebody writes them in another one.
        held = dict(sorted(bound.items()))
        copies = {name: copy_of(a.accumulator_type) for name, a in held.items()}
        self.held_fields: list[tuple[str, Any, Any]] = [
            (name, a.accumulator_type, a.init() if copies[name] is None else msgspec.field(default_factory=a.init))
            for name, a in held.items()
        ]
        """Names, types and initial values of the accumulators, as `msgspec.defstruct` takes them."""
        self.accumulator_type: Any = held_struct("Accumulators", self.held_fields)
        """The class of the accumulators, stored as an array in the order of their names."""
        self.init: Callable[[], Any] = self.accumulator_type
        """Fresh accumulators."""
        copied = [None if written_of(a).merge_is_pure else copies[name] for name, a in held.items()]
        self.add, self.merge, self.absorb, self.combine = written_functions(
            held, event_type, self.accumulator_type, copied
        )
        self.shares_values = all(a.shares_values or copies[name] is None for name, a in held.items())
        """What an operator that keeps these says of itself: see `Operator.shares_values`."""
        self._values = self.maker(lambda *values: values)

    def results(self, held: Any, at_ms: int) -> dict[str, Any]:
        """The results by name, as of event time `at_ms`."""
        return dict(zip(self.aggregates, self._values(held, at_ms)))

    def maker(self, result_type: Callable[..., Any], *leading: str) -> Callable[..., Any]:
        """A function `(held, at_ms, *leading)` that calls `result_type` with what leads and the results.

        >>> from headway.operators.aggregates.basic import count
        >>> bundle = Bundle({"all": count()}, dict)
        >>> bundle.maker("{}: {}".format, "key")(bundle.init(), 0, "ann")
        'ann: 0'
        """
        made: Callable[..., Any] = written_maker(self.aggregates, result_type, leading)
        return made


def held_struct(name: str, fields: list[tuple[str, Any, Any]], base: type = msgspec.Struct) -> Any:
    """A class that holds accumulators, stored as an array. Raises `FlowError` for names that cannot be."""
    try:
        return msgspec.defstruct(name, fields, bases=(base,), module=__name__, array_like=True, gc=False)
    except (TypeError, ValueError) as error:
        msg = f"aggregates named {', '.join(field[0] for field in fields)} do not fit together: {error}"
        raise FlowError(msg) from None


def _check(aggregates: Mapping[str, Aggregate[Any, Any]]) -> None:
    if not aggregates:
        msg = "at least one aggregate is needed, such as events=hw.count()"
        raise FlowError(msg)
    for name, aggregate in aggregates.items():
        if not isinstance(aggregate, Aggregate):
            msg = f"{name}={aggregate!r} is not an aggregate: use one such as hw.count() or hw.sum('price')"
            raise FlowError(msg)
        if not name.isidentifier() or iskeyword(name):
            msg = f"{name!r} cannot be the name of an aggregate: it must be a word such as events"
            raise FlowError(msg)
