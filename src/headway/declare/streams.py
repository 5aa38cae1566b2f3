"""Streams: what sources and steps produce, and the steps that can follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, Optional, TypeVar, Union, overload

from headway.basics.declaring import Was, declaring, fail, former_names, place
from headway.connectors.parts import RecordPart
from headway.declare.checks import accepts, check_declared, check_operator, item_type, result_type
from headway.declare.fields import check_key
from headway.declare.outputs import OutputSteps
from headway.declare.recordfields import key_field
from headway.declare.steps.aggregates import AggregateSteps
from headway.declare.steps.enrich import EnrichKeyedSteps, EnrichSteps
from headway.declare.steps.joins import JoinSteps
from headway.declare.steps.patterns import PatternSteps
from headway.declare.steps.windows import WindowSteps
from headway.declare.steps.workflow import WorkflowSteps
from headway.errors import KeyNeededError
from headway.graph import (
    DEAD_LETTERS,
    LATE,
    FurtherInput,
    KeyByNode,
    MergeNode,
    OperatorNode,
    Port,
    StatelessNode,
)
from headway.operators.base import Operator
from headway.operators.conditions import Condition, Predicate, resolve
from headway.operators.patterns.rules import Rules
from headway.types.letters import DeadLetter
from headway.types.schema import type_label

if TYPE_CHECKING:
    from headway.declare.flow import Flow

__all__ = ["BroadcastState", "BroadcastStream", "KeyedStream", "Processed", "SourceStream", "Stream"]

T = TypeVar("T")
U = TypeVar("U")
S = TypeVar("S")
V = TypeVar("V")

KeyOf = Union[str, Callable[[T], Union[str, int, None]], Literal[RecordPart.KEY]]
"""Where the key of a stream's events comes from: a field, a function that gives text or an integer, `hw.record_key`."""


class _Base(OutputSteps, Generic[T]):
    """What keyed and unkeyed streams share."""

    def __init__(self, flow: Flow, port: Port) -> None:
        self._flow = flow
        self._port = port

    @property
    def type(self) -> Any:
        """The type of the stream's values, `Any` where it is not known."""
        return self._flow.graph.types[self._port]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._port)!r}, {type_label(self.type)})"

    def broadcast(self) -> BroadcastStream[T]:
        """The stream as a broadcast input: `process(name, operator, rules=rules.broadcast())`.

        Each of its values is told to every key group, at its event time: for thresholds, rules, kill switches.
        """
        return BroadcastStream(self._flow, self._port)

    def broadcast_state(self, shared_type: Callable[[], S], change: Callable[[S, T], object], /) -> BroadcastState[T]:
        """What a broadcast stream maintains, for steps that take rules: `match(..., rules=...)`.

        `shared_type` is a `State` class, called without arguments at first; `change(shared, event)` is called for each
        event of the stream, at its event time and in every key group, and must do nothing but change `shared`.
        """
        with declaring():
            return BroadcastState(self._flow, self._port, Rules(self.type, shared_type, change))

    def _stateless(self, kind: str, function: Any, name: Optional[str], output_type: Any, given: Any = None) -> Port:
        if not callable(function):
            fail(f"{kind}() needs a function of one event, not {function!r}")
        label = name or self._flow._auto_name("filter" if kind == "reject" else kind)
        node = StatelessNode(label, place(), kind, self._port, function, given)
        return self._flow._add(node, output_type, keyed=self._flow.graph.keyed[self._port])

    def _predicate(self, condition: Condition) -> Callable[[Any], bool]:
        with declaring():
            return resolve(condition, self.type)

    def _filter(self, condition: Condition, name: Optional[str]) -> Port:
        return self._stateless("filter", self._predicate(condition), name, self.type, condition)

    def _branches(self, condition: Condition, name: Optional[str]) -> tuple[Port, Port]:
        predicate = self._predicate(condition)
        label = name or self._flow._auto_name("branch")
        met = self._stateless("filter", predicate, label, self.type, condition)
        return met, self._stateless("reject", predicate, f"{label}.else", self.type, condition)

    def _merged(self, others: tuple[_Base[Any], ...], name: Optional[str]) -> Port:
        keyed = self._flow.graph.keyed[self._port]
        for other in others:
            if not isinstance(other, _Base):
                fail(f"merge() takes streams, not {other!r}")
            if other._flow is not self._flow:
                fail(
                    f"merge(): the stream {other._port} belongs to the flow {other._flow.name!r}, "
                    f"not to {self._flow.name!r}"
                )
            if self._flow.graph.keyed[other._port] != keyed:
                fail(
                    f"merge(): {self._port} and {other._port} must either both have a key or both have none; "
                    "use key_by() first"
                )
        ports = (self._port, *(other._port for other in others))
        types = [self._flow.graph.types[port] for port in ports]
        merged_type = types[0] if all(kind == types[0] for kind in types) else Union[tuple(types)]
        node = MergeNode(name or self._flow._auto_name("merge"), place(), ports)
        return self._flow._add(node, Any if Any in types else merged_type, keyed=keyed)


class Stream(_Base[T], EnrichSteps[T]):
    """Events without a key. Steps on it keep no state; `key_by` leads to those that do."""

    def map(self, function: Callable[[T], U], *, into: Any = None, name: Optional[str] = None) -> Stream[U]:
        """Replace each event by `function(event)`.

        `into` is the type of the results where the function's annotation does not tell; results that cross an
        exchange must be JSON values or of that type.
        """
        return Stream(self._flow, self._stateless("map", function, name, result_type(function, into)))

    def filter(self, condition: Predicate[T], *, name: Optional[str] = None) -> Stream[T]:
        """Keep the events that meet the condition: a function, or `where(field=value)`."""
        return Stream(self._flow, self._filter(condition, name))

    def flat_map(
        self, function: Callable[[T], Iterable[U]], *, into: Any = None, name: Optional[str] = None
    ) -> Stream[U]:
        """Replace each event by any number of results, all at the event's time."""
        return Stream(self._flow, self._stateless("flat_map", function, name, item_type(function, into)))

    def branch(self, condition: Predicate[T], *, name: Optional[str] = None) -> tuple[Stream[T], Stream[T]]:
        """Two streams: the events that meet the condition, and the others."""
        met, others = self._branches(condition, name)
        return Stream(self._flow, met), Stream(self._flow, others)

    @overload
    def merge(self, *others: Stream[U], name: Optional[str] = None) -> Stream[Union[T, U]]: ...

    @overload
    def merge(
        self, other: Stream[U], another: Stream[S], /, *others: Stream[V], name: Optional[str] = None
    ) -> Stream[Union[T, U, S, V]]: ...

    def merge(self, *others: Stream[Any], name: Optional[str] = None) -> Stream[Any]:
        """One stream of the events of all; at equal times they come in the order of the arguments."""
        return Stream(self._flow, self._merged(others, name))

    def key_by(self, key: KeyOf[T], *, name: Optional[str] = None) -> KeyedStream[T]:
        """Give each event its key, a field or a function: text, or an integer, which becomes its digits.

        Events of one key meet in one place, in the order of event time. Behind a source an event with another key, or
        none, becomes a dead letter, also where the function raises `ValueError` or `LookupError`; any other exception
        ends the run. Raises `FlowError` for a field that no event has, or that can never hold a key.

        `hw.record_key` is the field that the source fills with the key of its records.
        """
        given = key_field(self._flow.graph, self._port) if isinstance(key, RecordPart) else key
        if given is None:
            fail(
                "key_by(hw.record_key): no field of these events is the key of their records: give the source "
                'fields={"key": hw.record_key}, with a field of that name, and key_by("key") behind what changes events'
            )
        with declaring():
            check_key(given, self.type)
        node = KeyByNode(name or self._flow._auto_name("key_by"), place(), self._port, given)
        return KeyedStream(self._flow, self._flow._add(node, self.type, keyed=True))

    if not TYPE_CHECKING:  # To type checkers a keyed step does not exist here, which is what they should say.

        def __getattr__(self, name: str) -> Any:
            """Keyed steps need a key: naming one raises `KeyNeededError`, an `AttributeError` too, and says so."""
            if name.startswith("_") or not hasattr(KeyedStream, name):
                msg = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(msg)
            msg = (
                f"{place()}: {name}() keeps state for each key, and the stream {self._port} has none: "
                f'write .key_by("field").{name}(...)'
            )
            raise KeyNeededError(msg)


class SourceStream(Stream[T]):
    """The on-time events of a source, with the streams of what was not on time or not decodable."""

    def __init__(self, flow: Flow, port: Port) -> None:
        super().__init__(flow, port)
        flow._port(Port(port.node, LATE), self.type, keyed=False)
        flow._port(Port(port.node, DEAD_LETTERS), DeadLetter, keyed=False)

    @property
    def late(self) -> Stream[T]:
        """The events that came further behind than `out_of_order` allows, at the time at which that was noticed."""
        return Stream(self._flow, Port(self._port.node, LATE))

    @property
    def dead_letters(self) -> Stream[DeadLetter]:
        """The records that could not be decoded; without use of this they go to a file in the state directory."""
        return Stream(self._flow, Port(self._port.node, DEAD_LETTERS))


class KeyedStream(
    _Base[T],
    AggregateSteps[T],
    EnrichKeyedSteps[T],
    JoinSteps[T],
    PatternSteps[T],
    WindowSteps[T],
    WorkflowSteps[T],
):
    """Events with a key: each key names one workflow instance, and operators keep state for it."""

    def map(self, function: Callable[[T], U], *, into: Any = None, name: Optional[str] = None) -> KeyedStream[U]:
        """Replace each event by `function(event)`, with the same key."""
        return KeyedStream(self._flow, self._stateless("map", function, name, result_type(function, into)))

    def filter(self, condition: Predicate[T], *, name: Optional[str] = None) -> KeyedStream[T]:
        """Keep the events that meet the condition: a function, or `where(field=value)`."""
        return KeyedStream(self._flow, self._filter(condition, name))

    def flat_map(
        self, function: Callable[[T], Iterable[U]], *, into: Any = None, name: Optional[str] = None
    ) -> KeyedStream[U]:
        """Replace each event by any number of results, with the same key and time."""
        return KeyedStream(self._flow, self._stateless("flat_map", function, name, item_type(function, into)))

    def branch(self, condition: Predicate[T], *, name: Optional[str] = None) -> tuple[KeyedStream[T], KeyedStream[T]]:
        """Two streams: the events that meet the condition, and the others."""
        met, others = self._branches(condition, name)
        return KeyedStream(self._flow, met), KeyedStream(self._flow, others)

    @overload
    def merge(self, *others: KeyedStream[U], name: Optional[str] = None) -> KeyedStream[Union[T, U]]: ...

    @overload
    def merge(
        self, other: KeyedStream[U], another: KeyedStream[S], /, *others: KeyedStream[V], name: Optional[str] = None
    ) -> KeyedStream[Union[T, U, S, V]]: ...

    def merge(self, *others: KeyedStream[Any], name: Optional[str] = None) -> KeyedStream[Any]:
        """One stream of the events of all, with their keys."""
        return KeyedStream(self._flow, self._merged(others, name))

    def key_by(self, key: KeyOf[T], *, name: Optional[str] = None) -> KeyedStream[T]:
        """Give each event another key; see `Stream.key_by`."""
        return Stream[T](self._flow, self._port).key_by(key, name=name)

    def process(self, name: str, operator: Operator[T, S, U], *, was: Was = (), **inputs: _Base[Any]) -> Processed[U]:
        """Run a keyed operator. `name` is what its state is kept under, and part of triggers' ids.

        `was` is the name that it had in an earlier version of the flow, or several: it goes on with what that kept.
        `inputs` are the operator's further inputs, by name: keyed streams, and `stream.broadcast()` for its broadcasts.
        """
        if not isinstance(operator, Operator):
            hint = (
                f"{operator.__name__}(...)"
                if isinstance(operator, type)
                else "an object of a class derived from hw.Operator"
            )
            fail(f"process({name!r}): {operator!r} is not an operator: pass {hint}")
        with declaring():
            check_declared(operator)
        self._check_given(name, operator, inputs)
        with declaring():
            bound = operator.bind(self.type, **{label: stream.type for label, stream in inputs.items()})
            check_operator(bound)
        self._check_accepted(name, bound, bound.event_type, self)
        node = OperatorNode(
            name, place(), self._port, bound, self._further(name, bound, inputs), was=former_names(name, was)
        )
        return Processed(self._flow, self._flow._add(node, bound.output_type, keyed=True), bound)

    @staticmethod
    def _check_given(name: str, operator: Operator[Any, Any, Any], given: dict[str, _Base[Any]]) -> None:
        """Raise `FlowError` when the streams that are given are not those of the operator's further inputs."""
        declared = (*operator.broadcasts, *operator.inputs)
        for unknown in given.keys() - set(declared):
            listed = ", ".join(declared) or "none"
            fail(f"process({name!r}): {type(operator).__name__} has no further input {unknown!r}; it has {listed}")
        for label in declared:
            stream, broadcast = given.get(label), label in operator.broadcasts
            wanted = f"{label}=stream.broadcast()" if broadcast else f"{label}=a keyed stream"
            if not isinstance(stream, BroadcastStream if broadcast else KeyedStream):
                fail(f"process({name!r}): {type(operator).__name__} needs {wanted}, not {stream!r}")

    def _further(
        self, name: str, operator: Operator[Any, Any, Any], given: dict[str, _Base[Any]]
    ) -> tuple[FurtherInput, ...]:
        for label, event_type in {**operator.broadcasts, **operator.inputs}.items():
            self._check_accepted(name, operator, event_type, given[label])
        told = [FurtherInput(label, given[label]._port, True) for label in operator.broadcasts]
        return (*told, *(FurtherInput(label, given[label]._port, False) for label in operator.inputs))

    @staticmethod
    def _check_accepted(name: str, operator: Operator[Any, Any, Any], wanted: Any, stream: _Base[Any]) -> None:
        if not accepts(wanted, stream.type):
            fail(
                f"process({name!r}): {type(operator).__name__} takes {type_label(wanted)}, "
                f"but the stream {stream._port} has {type_label(stream.type)}"
            )


class BroadcastStream(_Base[T]):
    """A stream whose values go to every key group: a further input of operators with `broadcasts`."""


class BroadcastState(BroadcastStream[T]):
    """A broadcast stream with what it maintains for all keys; see `stream.broadcast_state`."""

    def __init__(self, flow: Flow, port: Port, rules: Rules) -> None:
        super().__init__(flow, port)
        self.rules = rules


class Processed(KeyedStream[T]):
    """What an operator emits, with its side outputs."""

    def __init__(self, flow: Flow, port: Port, operator: Operator[Any, Any, Any]) -> None:
        super().__init__(flow, port)
        self._operator = operator

    def side(self, name: str) -> KeyedStream[Any]:
        """The side output `name`: what the operator sends with `ctx.emit_to(name, value)`."""
        if name not in self._operator.sides:
            known = ", ".join(self._operator.sides) or "none"
            fail(f"the operator {self._port.node!r} has no side output {name!r}; it has {known}")
        port = Port(self._port.node, name)
        return KeyedStream(self._flow, self._flow._port(port, self._operator.sides[name], keyed=True))
