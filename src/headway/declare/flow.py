"""Declaring a flow: sources, streams, keyed operators, triggers. Declaring runs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Optional, TypeVar, Union

from headway.basics.declaring import Was, declaring, fail, former_names, place
from headway.basics.times import Duration, duration_ms
from headway.connectors.base import Input
from headway.connectors.parts import RecordPart
from headway.declare.fields import check_decodable, check_time
from headway.declare.parameters import Parameter, V, convert, given_parameters
from headway.declare.recordfields import check_part, record_fields
from headway.declare.streams import KeyedStream, SourceStream
from headway.declare.views import StateOf, add_view
from headway.errors import FlowError
from headway.graph import Graph, IngestionTime, Node, Port, SourceNode, TimeSpec, Tolerance
from headway.operators.conditions import Condition
from headway.types.schema import type_label

__all__ = ["Flow", "dead_letter"]

T = TypeVar("T")
OnError = Union[str, Tolerance]
"""`"stop"`, `"dead-letter"`, or what `dead_letter` returns."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_AT_MOST: Final = 1_000


class Flow:
    """One stream job: a graph of sources, steps and outputs, declared step by step.

    `name` is part of every trigger's id and of the state directory: it stays the same for the life of the
    flow. Every mistake raises `FlowError` at the line that makes it.

    >>> import headway as hw
    >>> flow = hw.Flow("clicks")
    >>> clicks = flow.source("clicks", hw.Json, hw.items([]), time="at")
    >>> clicks.filter(lambda click: click["page"] == "/buy").trigger("bought", hw.to_list([]))
    >>> sorted(flow.graph.nodes)
    ['bought', 'clicks', 'filter-1']

    `on_error` says what happens when code of the flow fails on an event: `"stop"`, the run ends, and the next one goes
    on at that event; `"dead-letter"`, the event is set aside with the reason, as if it had never come, and the run goes
    on. `dead_letter(at_most=...)` is the second one with another bound than 1,000 failures.
    """

    def __init__(self, name: str, *, on_error: OnError = "stop") -> None:
        self.graph = Graph(name)
        self.parameters: dict[str, Parameter] = {}
        self._counts: dict[str, int] = {}
        self._delivered: dict[Port, list[str]] = {}
        """The steps by which triggers of each stream are delivered."""
        self._check_name(name, "flow")
        self._on_error = _tolerance(on_error, f"the flow {name!r}")

    @property
    def name(self) -> str:
        """The flow's name."""
        return self.graph.flow

    def param(self, name: str, default: V, *, help: str = "") -> V:
        """A value that `headway run FLOW --set NAME=VALUE` may set; its type is that of `default`.

        Raises `UsageError` when the given text is not of that type.
        """
        if name in self.parameters:
            fail(f"the parameter {name!r} is declared twice")
        given = given_parameters()
        value = convert(name, given[name], default) if name in given else default
        self.parameters[name] = Parameter(name, default, value, help)
        return value

    def source(
        self,
        name: str,
        event_type: type[T],
        input: Input,
        *,
        time: Optional[TimeSpec] = None,
        out_of_order: Duration = 0,
        idle_after: Optional[Duration] = None,
        fields: Optional[Mapping[str, RecordPart]] = None,
        was: Was = (),
        on_error: Optional[OnError] = None,
    ) -> SourceStream[T]:
        """A log of events of `event_type` (an `Event` class, or `Json` for untyped objects).

        `time` says where an event's time is: a field (epoch milliseconds, RFC 3339 text or a datetime), a
        function of the event, `INGESTION_TIME`, or `record_time`, which is the time that a broker keeps of a record.
        An event without a usable time becomes a dead letter: it is none,
        or not in the years 1000 to 8999, an untyped event has no such field, or the function raises `ValueError` or
        `LookupError`. Any other exception of the function ends the run.

        `out_of_order` is how far behind the latest event of its partition an event may be and still be on time; one
        further behind goes to the `late` stream.
        `idle_after`: while following, a partition that is silent for this long (wall clock) no longer holds
        the others back, and what then comes behind them is late; None (the default) always waits.
        `fields` are those of the event that are not in its value but beside it, in the record of a broker: `{"user":
        hw.record_key}`. They need defaults, which they have when a dead letter is put back in. A key or a header that
        does not fit into its field makes the record a dead letter.
        `was` is the name that the source had in an earlier version of the flow, or several: it is read on from there.
        `on_error`: what happens when code of the flow fails on an event of this source, as for `Flow`; None (the
        default) is what the flow says.
        """
        if time is None:
            fail(
                f'source {name!r} has no time: say where the time of a {type_label(event_type)} is, with time="field", '
                "time=function or time=hw.INGESTION_TIME"
            )
        if not isinstance(time, (str, IngestionTime, RecordPart)) and not callable(time):
            fail(f"source {name!r}: time={time!r} is neither a field's name, nor a function, nor hw.INGESTION_TIME")
        if not isinstance(input, Input):
            fail(
                f'source {name!r}: {input!r} is not an input: use hw.files("events/*.jsonl"), hw.stdin() '
                "or hw.items([...])"
            )
        with declaring():
            check_decodable(event_type, input.format, f"source {name!r}")
            if isinstance(time, RecordPart):
                if time is not RecordPart.TIME:
                    fail(f"source {name!r}: time={time!r} is no time: use hw.record_time, or a field")
                check_part(time, input, f"source {name!r}, time={time!r}")
            elif not isinstance(time, IngestionTime):
                check_time(time, event_type, name)
            node = SourceNode(
                name=name,
                where=place(),
                event_type=event_type,
                input=input,
                time=time,
                out_of_order_ms=duration_ms(out_of_order, what="out_of_order"),
                idle_after_ms=None if idle_after is None else duration_ms(idle_after, what="idle_after"),
                fields=record_fields(fields, event_type, input, f"source {name!r}"),
                was=former_names(name, was),
                on_error=self._on_error if on_error is None else _tolerance(on_error, f"source {name!r}"),
            )
        return SourceStream(self, self._add(node, event_type, keyed=False))

    def serve(
        self,
        name: str,
        what: Union[KeyedStream[Any], StateOf],
        *,
        fields: Optional[Sequence[str]] = None,
        index: Optional[str] = None,
        delete: Optional[Condition] = None,
        forget_after: Optional[Duration] = None,
        was: Was = (),
    ) -> None:
        """Let other services ask for decision state: a named view, by key, for `headway serve FLOW`.

        `what` is a stream with keys, of which the last value of each key is served (an operator of this `name` keeps
        it, one row for each key); or `hw.state_of(step)`, what a step keeps for each key.

        `fields` are those that are shown, by default all. `index` is a field, of numbers or text, by which the greatest
        are found: it costs some 8 µs for each row that an epoch has changed. For a stream, a value that meets the
        condition `delete` removes its key, and `forget_after` drops what has not been renewed for so long in event
        time; that it was there is remembered for as long again. `was` is the name that the view had before.

        >>> import headway as hw
        >>> flow = hw.Flow("scores")
        >>> payments = flow.source("payments", hw.Json, hw.items([]), time="at")
        >>> flow.serve("last-payment", payments.key_by("card"), index="cents", forget_after="30d")
        """
        add_view(self, name, what, fields=fields, index=index, delete=delete, forget_after=forget_after, was=was)

    def _start_from(self, stream: Any, function: Any, id_of: Any, args: Any, name: str, edge: Any) -> None:
        """What `stream.start` does: here there is nothing to start."""
        fail(f"the flow {self.name!r} has no functions to start: make it with hw.Functions(NAME, [FUNCTION, ...])")

    def _add(self, node: Node, output_type: Any, *, keyed: bool) -> Port:
        """Add a node to the graph and return its main port. Raises `FlowError` for a name used twice."""
        self._check_name(node.name, "step")
        earlier = self.graph.nodes.get(node.name)
        if earlier is not None:
            fail(f"the name {node.name!r} is used twice: first at {earlier.where}; every step needs a name of its own")
        self._check_renamed(node)
        for port in node.inputs:
            if port.node not in self.graph.nodes:
                fail(f"step {node.name!r} reads {port}, which belongs to another flow")
        self.graph.nodes[node.name] = node
        return self._port(Port(node.name), output_type, keyed=keyed)

    def _check_renamed(self, node: Node) -> None:
        """Raise `FlowError` when a name of before is that of a step of today, or of two."""
        for other in self.graph.nodes.values():
            for one, two in ((node, other), (other, node)):
                if two.name in one.was:
                    fail(
                        f"{one.name!r} says was={two.name!r}, and there is a step {two.name!r} "
                        f"({(other if two is other else node).where}): it cannot go on as both; leave was= out"
                    )
            for old in set(node.was) & set(other.was):
                fail(
                    f"{node.name!r} and {other.name!r} ({other.where}) both say was={old!r}: only one can go on with it"
                )

    def _port(self, port: Port, output_type: Any, *, keyed: bool) -> Port:
        self.graph.types[port] = output_type
        self.graph.keyed[port] = keyed
        return port

    def _auto_name(self, kind: str) -> str:
        while True:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            name = f"{kind}-{self._counts[kind]}"
            if name not in self.graph.nodes:
                return name

    @staticmethod
    def _check_name(name: str, what: str) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            fail(
                f"{name!r} is not a name for a {what}: use letters, digits, '-', '_' and '.', "
                "starting with a letter or digit"
            )

    def __repr__(self) -> str:
        return f"Flow({self.name!r}, {len(self.graph.nodes)} steps)"


def dead_letter(*, at_most: int = _AT_MOST) -> Tolerance:
    """For `on_error`: what the flow's code fails on becomes a dead letter, `at_most` that often.

    Counted are all such failures of the flow over all runs on its state directory. One more stops the run, as without
    the policy: a mistake that concerns every event should be seen, and not set the whole log aside.

    >>> dead_letter(at_most=50)
    Tolerance(at_most=50)
    """
    if isinstance(at_most, bool) or not isinstance(at_most, int) or at_most < 1:
        fail(f"dead_letter(at_most={at_most!r}): expected a whole number of failures, 1 or more")
    return Tolerance(at_most)


def _tolerance(given: OnError, what: str) -> Optional[Tolerance]:
    if isinstance(given, Tolerance):
        return given
    if given == "stop":
        return None
    if given == "dead-letter":
        return Tolerance(_AT_MOST)
    fail(f'{what}: on_error={given!r}: expected "stop", "dead-letter" or hw.dead_letter(at_most=...)')


def as_flow(value: Any, source: str) -> Flow:
    """`value` when it is a flow; else raises `FlowError` naming where it was looked for."""
    if isinstance(value, Flow):
        return value
    msg = f"{source} is a {type(value).__name__}, not a headway.Flow"
    raise FlowError(msg)
