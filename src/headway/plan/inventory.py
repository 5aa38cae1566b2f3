"""The steps of a flow as the state directory records them: what a later run is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headway.basics.times import format_duration
from headway.connectors.parts import RecordPart
from headway.graph import (
    MAIN,
    Graph,
    IngestionTime,
    KeyByNode,
    Node,
    OperatorNode,
    Port,
    SinkNode,
    SourceNode,
    StatelessNode,
    TimeSpec,
)
from headway.plan.describe import entries, operator_entries, text_of, type_entries
from headway.state.manifest import StepEntry
from headway.targets.delivered import Delivering
from headway.types.typetexts import type_text

__all__ = ["steps_of"]


def steps_of(graph: Graph) -> dict[str, StepEntry]:
    """Every step by name, in the order of declaration. Costs some 50 µs a step; opens nothing.

    >>> import headway as hw
    >>> flow = hw.Flow("clicks")
    >>> clicks = flow.source("clicks", hw.Json, hw.items([]), time="at", out_of_order="2s")
    >>> quiet = clicks.key_by("user").silence("quiet", after="30m")
    >>> steps_of(flow.graph)["quiet"]
    StepEntry(kind='operator Silence', inputs=['key_by-1'], parameters={'after': '30m', 'resumed': 'False', \
'keyed by': 'user'}, was=[])
    """
    inventory = _Inventory(graph)
    return {name: inventory.step(node) for name, node in graph.nodes.items()}


def _time_text(time: TimeSpec) -> str:
    if isinstance(time, IngestionTime):
        return "ingestion time"
    return time.value if isinstance(time, RecordPart) else text_of(time)


class _Inventory:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._spelt: list[Any] = []
        """Types whose fields have been told: what passes many steps is described once."""
        self._keys: dict[str, list[str]] = {}

    def step(self, node: Node) -> StepEntry:
        return StepEntry(
            kind=_kind(node), inputs=list(_inputs(node)), parameters=dict(self._parameters(node)), was=list(node.was)
        )

    def _parameters(self, node: Node) -> Iterator[tuple[str, str]]:
        if isinstance(node, SourceNode):
            yield from self._type("event type", node.event_type)
            yield "input", node.input.describe()
            yield "time", _time_text(node.time)
            if node.input.format.name != "json":
                yield "format", node.input.format.name
            for name, part in node.fields:
                yield f"field {name}", part.value
            yield "out_of_order", format_duration(node.out_of_order_ms)
            if node.idle_after_ms is not None:
                yield "idle_after", format_duration(node.idle_after_ms)
        elif isinstance(node, StatelessNode):
            yield from entries("condition" if node.given is not None else "function", node.given or node.function)
            if node.kind in ("map", "flat_map"):
                yield from self._type("output type", self._graph.types.get(Port(node.name), Any))
        elif isinstance(node, KeyByNode):
            yield "key", text_of(node.key)
        elif isinstance(node, OperatorNode):
            yield from operator_entries(node.operator)
            yield "keyed by", " | ".join(self._keys_of(node))
            yield from self._given_types(node)
        elif isinstance(node, SinkNode):
            if node.delivered is not None:
                yield "target", node.delivered.target.describe()
                yield from _delivering(node.delivered.delivering)
            elif node.where:  # Else it is the planner's own, which lies in the state directory wherever that is.
                yield "place", node.output.describe()
            if node.trigger_type is not None:
                yield "trigger type", node.trigger_type
            if node.id_by is not None:
                yield "id_by", ", ".join(node.id_by)

    def _given_types(self, node: OperatorNode) -> Iterator[tuple[str, str]]:
        """The types that an operator of the flow's own sends on; those of Headway's follow from what they are given."""
        operator = node.operator
        for name, value_type in (
            ("output type", operator.output_type),
            *((f"output type:{side}", value_type) for side, value_type in operator.sides.items()),
        ):
            if type(operator).__module__.startswith("headway.operators."):
                continue
            yield from self._type(name, value_type)

    def _type(self, name: str, value_type: Any) -> Iterator[tuple[str, str]]:
        if any(value_type is other for other in self._spelt):
            yield name, type_text(value_type)
        else:
            self._spelt.append(value_type)
            yield from type_entries(name, value_type)

    def _keys_of(self, node: OperatorNode) -> list[str]:
        """What gives the keys of an operator's rows: different ones where streams with several keys meet."""
        if node.name not in self._keys:
            self._keys[node.name] = []  # In a graph with a cycle, which the planner refuses.
            ports = [node.upstream, *(further.port for further in node.further if not further.broadcast)]
            found = [key for port in ports for key in self._keys_at(port)]
            self._keys[node.name] = list(dict.fromkeys(found))
        return self._keys[node.name]

    def _keys_at(self, port: Port) -> list[str]:
        found: dict[str, None] = {}
        seen: set[str] = set()
        ways = [port.node]
        while ways:
            name = ways.pop(0)
            if name in seen:
                continue
            seen.add(name)
            node = self._graph.nodes[name]
            if isinstance(node, KeyByNode):
                found[text_of(node.key)] = None
            elif isinstance(node, OperatorNode):
                found |= dict.fromkeys(self._keys_of(node))
            else:
                ways += [upstream.node for upstream in node.inputs]
        return list(found)


def _delivering(given: Delivering) -> Iterator[tuple[str, str]]:
    yield "edge", given.edge
    yield "on_failure", given.on_failure
    if given.give_up_after_ms is not None:
        yield "give_up_after", format_duration(given.give_up_after_ms)
    yield "retry_first", format_duration(given.retry_first_ms)
    yield "retry_longest", format_duration(given.retry_longest_ms)
    yield "waiting_max", f"{given.waiting_max:,}"


def _kind(node: Node) -> str:
    if isinstance(node, OperatorNode):
        return f"operator {type(node.operator).__qualname__.lstrip('_')}"
    if isinstance(node, StatelessNode):
        return node.kind
    if isinstance(node, SinkNode):
        return "output" if node.trigger_type is None else "trigger"
    return "source" if isinstance(node, SourceNode) else "key_by" if isinstance(node, KeyByNode) else "merge"


def _inputs(node: Node) -> Iterator[str]:
    """The ports that a step reads, in the order that it reads them; `late=shop:late` for the further input `late`."""
    if isinstance(node, OperatorNode):
        yield _port(node.upstream)
        for further in node.further:
            yield f"{further.name}={_port(further.port)}" + (" (broadcast)" if further.broadcast else "")
    else:
        yield from map(_port, node.inputs)


def _port(port: Port) -> str:
    return port.node if port.name == MAIN else f"{port.node}:{port.name}"
