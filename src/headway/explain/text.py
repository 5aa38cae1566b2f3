"""A flow for people: what it declares, and the plan that it is compiled to, as text, diagram or data."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from headway.basics.times import format_duration
from headway.declare.flow import Flow
from headway.declare.parameters import Parameter
from headway.errors import UsageError
from headway.explain.diagram import explain_mermaid
from headway.explain.edges import output_edge
from headway.explain.views import view_block, view_records
from headway.graph import DEAD_LETTERS, LATE, MAIN, KeyByNode, Node, OperatorNode, Port, SinkNode, SourceNode
from headway.operators.base import Operator
from headway.operators.expiring import Expiring
from headway.operators.machine import StateMachine
from headway.operators.state_machine import RunStateMachine
from headway.plan.labels import function_label, kind_label
from headway.plan.stages import (
    Apply,
    Branch,
    Edge,
    Entry,
    KeyedStage,
    Plan,
    Segment,
    SinkStage,
    SourceStage,
    ToOperator,
)
from headway.types.schema import type_label

__all__ = ["explain_json", "explain_machine", "explain_mermaid", "explain_text"]

WIDTH = 96
"""Columns that long lines are broken at; names are never cut."""


def explain_text(flow: Flow, plan: Plan) -> str:
    """The flow's parameters and steps, and the stages of its plan as trees.

    >>> import headway as hw
    >>> from headway.plan.planner import compile_plan
    >>> flow = hw.Flow("clicks")
    >>> clicks = flow.source("clicks", hw.Json, hw.items([]), time="at")
    >>> clicks.trigger("clicked", hw.to_list([]))
    >>> print(explain_text(flow, compile_plan(flow.graph)).partition("PLAN")[2])
      1 source, 0 keyed stages, 1 output
    <BLANKLINE>
    source clicks: items
    │  Json, time from at, in order
    ├─ on time
    │  └─ ⇄ 0 to output clicked
    ├─ late: counted, and lead nowhere
    └─ dead letters: counted, and lead nowhere
    <BLANKLINE>
    output clicked: trigger of type clicked to list
       ⇄ 0 from clicks: Json
       direct, ephemeral, at least once
       nothing waits, and what is there ends with the process
    """
    parts = [
        f"FLOW  {flow.name}",
        *_parameter_block(flow.parameters),
        "STEPS  as declared\n\n" + _step_table(flow),
        *view_block(flow.graph),
        f"PLAN  {_summary(plan)}",
        *("\n".join(_source_lines(plan, source)) for source in plan.sources),
        *("\n".join(_stage_lines(plan, stage)) for stage in plan.stages),
        *("\n".join(_sink_lines(sink)) for sink in plan.sinks),
    ]
    return "\n\n".join(parts)


def explain_machine(plan: Plan, name: str) -> str:
    """The state machine that the operator `name` runs, as a Mermaid state diagram.

    Raises `UsageError` when there is none, and says which there are.

    >>> import headway as hw
    >>> from headway.plan.planner import compile_plan
    >>> lamp = hw.StateMachine("lamp", states=("off", "on"), initial="off", events="kind")
    >>> lamp = lamp.on("off", "press", to="on").timeout("on", after="5m", to="off")
    >>> flow = hw.Flow("lamps")
    >>> presses = flow.source("presses", hw.Json, hw.items([]), time="at").key_by("lamp")
    >>> presses.state_machine("lamps", lamp).trigger("lamp.changed", hw.to_list([]))
    >>> print(explain_machine(compile_plan(flow.graph), "lamps"))
    stateDiagram-v2
        [*] --> off
        off --> on : press
        on --> off : after 5m
    """
    operators = [node for stage in plan.stages for node in stage.operators]
    machines = {node.name: machine for node in operators if (machine := _machine_of(node.operator)) is not None}
    if name not in machines:
        known = ", ".join(machines) or "none"
        msg = f"no operator {name!r} of the flow {plan.flow!r} runs a state machine; those that do: {known}"
        raise UsageError(msg)
    return machines[name].mermaid()


def _parameter_block(parameters: dict[str, Parameter]) -> Iterator[str]:
    if not parameters:
        return
    lines = ["PARAMETERS  set with --set NAME=VALUE", ""]
    width = max(map(len, parameters))
    for parameter in parameters.values():
        value = f"{parameter.value!r}"
        if parameter.value != parameter.default:
            value += f" (default {parameter.default!r})"
        lines += _wrapped(f"  {parameter.name:<{width}}  ", f"{value}  {parameter.help}".rstrip())
    yield "\n".join(lines)


def _step_table(flow: Flow) -> str:
    rows = [("name", "kind", "reads", "gives", "declared at")]
    for node in flow.graph.nodes.values():
        reads = ", ".join(map(str, node.inputs)) or "-"
        rows.append((node.name, kind_label(node), reads, _gives(flow, node), node.where))
    widths = [min(32, max(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]
    idle = _leading_nowhere(flow)
    if idle:
        lines += ["", *_wrapped("  ", f"Not run, because nothing reads what they give: {', '.join(idle)}")]
    return "\n".join(lines)


def _leading_nowhere(flow: Flow) -> list[str]:
    """Steps from which no way leads to an operator or an output: the plan leaves them out."""
    nodes = flow.graph.nodes
    found: set[str] = set()
    open_ends = [name for name, node in nodes.items() if isinstance(node, (SourceNode, OperatorNode, SinkNode))]
    while open_ends:
        name = open_ends.pop()
        if name not in found:
            found.add(name)
            open_ends += [port.node for port in nodes[name].inputs]
    return [name for name in nodes if name not in found]


def _gives(flow: Flow, node: Node) -> str:
    if isinstance(node, SinkNode):
        return "-"
    label = type_label(flow.graph.types.get(Port(node.name), Any))
    return label if not isinstance(node, OperatorNode) else ", ".join([label, *_sides(node)])


def _further_types(node: OperatorNode) -> list[tuple[str, Any]]:
    return [*node.operator.broadcasts.items(), *node.operator.inputs.items()]


def _sides(node: OperatorNode) -> list[str]:
    return [f"{name}: {type_label(side)}" for name, side in node.operator.sides.items()]


def _summary(plan: Plan) -> str:
    counts = ((len(plan.sources), "source"), (len(plan.stages), "keyed stage"), (len(plan.sinks), "output"))
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)


def _source_lines(plan: Plan, source: SourceStage) -> Iterator[str]:
    node = source.node
    yield f"source {source.name}: {node.input.describe()}"
    disorder = f"up to {format_duration(node.out_of_order_ms)} out of order" if node.out_of_order_ms else "in order"
    idle = "" if node.idle_after_ms is None else f", idle after {format_duration(node.idle_after_ms)}"
    yield f"│  {type_label(node.event_type)}, time from {function_label(node.time)}, {disorder}{idle}"
    names = {MAIN: "on time", LATE: "late", DEAD_LETTERS: "dead letters"}
    for index, (port, segment) in enumerate(source.ports.items()):
        last = index == len(source.ports) - 1
        yield f"{_corner(last)}{names.get(port, port)}{'' if segment.branches else ': counted, and lead nowhere'}"
        yield from _tree(plan, segment, _indent(last), _Origin())


def _stage_lines(plan: Plan, stage: KeyedStage) -> Iterator[str]:
    yield f"stage {stage.name}, keyed"
    for edge in stage.inputs:
        yield f"│  {_arrival(edge)}, for {', '.join(entry_label(stage, entry) for entry in edge.entries)}"
    for rank, node in enumerate(stage.operators):
        last = rank == len(stage.operators) - 1
        operator = node.operator
        yield f"{_corner(last)}{rank} {node.name}: operator {type(operator).__name__}"
        outputs = [(port, segment) for port, segment in stage.outputs.items() if port.node == node.name]
        bar = "│  " if outputs else "   "
        gives = "; ".join([type_label(operator.output_type), *_sides(node)])
        takes = [
            type_label(operator.event_type),
            *(f"{name}: {type_label(kind)}" for name, kind in _further_types(node)),
        ]
        yield f"{_indent(last)}{bar}takes {'; '.join(takes)}, gives {gives}"
        yield f"{_indent(last)}{bar}keeps {type_label(operator.state_type)} for each key"
        if operator.broadcasts:
            yield f"{_indent(last)}{bar}keeps {type_label(operator.shared_type)} for all keys, from broadcasts"
        if operator.wall_clock:
            yield f"{_indent(last)}{bar}reads the wall clock: what it gives depends on when it runs"
        machine = _machine_of(operator)
        if machine is not None:
            rules = len(machine.moves) + len(machine.timeouts)
            counts = f"{len(machine.states)} states, {rules} rules"
            yield f"{_indent(last)}{bar}runs the state machine {machine.name}: {counts}, drawn by --machine {node.name}"
        for index, (port, segment) in enumerate(outputs):
            final = index == len(outputs) - 1
            yield f"{_indent(last)}{_corner(final)}{'emitted' if port.name == MAIN else f'side output {port.name}'}"
            yield from _tree(plan, segment, _indent(last) + _indent(final), _Origin(stage))


def _sink_lines(sink: SinkStage) -> Iterator[str]:
    node = sink.node
    what = "plain JSON" if node.trigger_type is None else f"trigger of type {node.trigger_type}"
    yield f"output {sink.name}: {what} to {node.output.describe()}"
    for edge in sink.inputs:
        yield f"   {_arrival(edge, delivered=sink.delivered is not None)}"
    yield from (f"   {line}" for line in output_edge(sink).lines)


def entry_label(stage: KeyedStage, entry: Entry) -> str:
    """An operator, with the input that is meant where it is not the main one."""
    name = stage.operators[entry.rank].name
    return name if entry.input == MAIN else f"{name}.{entry.input}"


def _arrival(edge: Edge, *, delivered: bool = False) -> str:
    return f"{'→' if delivered else '⇄'} {edge.id} from {edge.producer}: {type_label(edge.value_type)}"


@dataclass(frozen=True)
class _Origin:
    """Where a tree starts, and the last key that was given on the way down."""

    stage: Optional[KeyedStage] = None
    key: Optional[str] = None


def _tree(plan: Plan, segment: Segment, indent: str, origin: _Origin) -> Iterator[str]:
    for index, branch in enumerate(segment.branches):
        last = index == len(segment.branches) - 1
        yield f"{indent}{_corner(last)}{_branch_label(plan, branch, origin)}"
        if isinstance(branch, Apply):
            yield from _tree(plan, branch.then, indent + _indent(last), _after(branch, origin))


def _after(branch: Apply, origin: _Origin) -> _Origin:
    return _Origin(origin.stage, branch.node.name) if isinstance(branch.node, KeyByNode) else origin


def _branch_label(plan: Plan, branch: Branch, origin: _Origin) -> str:
    if isinstance(branch, Apply):
        node = branch.node
        return f"{node.name}: {kind_label(node)}" if kind_label(node) != node.name else node.name
    if isinstance(branch, ToOperator):
        assert origin.stage is not None
        return f"to {branch.entry.rank} {entry_label(origin.stage, branch.entry)}, at once"
    edge = branch.edge
    sink = next((sink for sink in plan.sinks if sink.name == edge.target), None)
    if sink is not None:
        return f"{'⇄' if sink.delivered is None else '→'} {edge.id} to output {edge.target}"
    if edge.broadcast:
        return f"⇄ {edge.id} to stage {edge.target}, broadcast to all key groups"
    return f"⇄ {edge.id} to stage {edge.target}" + (f", by {origin.key}" if origin.key else ", by the same key")


def _corner(last: bool) -> str:
    return "└─ " if last else "├─ "


def _indent(last: bool) -> str:
    return "   " if last else "│  "


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False
    ) or [head.rstrip()]


def explain_json(flow: Flow, plan: Plan) -> dict[str, Any]:
    """The same as plain JSON values: parameters, steps, and the plan's stages and exchanges."""
    parameters = flow.parameters.values()
    return {
        "flow": flow.name,
        "parameters": [{"name": p.name, "default": p.default, "value": p.value, "help": p.help} for p in parameters],
        "steps": [_step_record(flow, node) for node in flow.graph.nodes.values()],
        "views": view_records(flow.graph),
        "sources": [_source_record(source) for source in plan.sources],
        "stages": [_stage_record(stage) for stage in plan.stages],
        "outputs": [
            {
                "name": sink.name,
                "to": sink.node.output.describe(),
                "trigger": sink.node.trigger_type,
                "exchanges": [edge.id for edge in sink.inputs],
                **output_edge(sink).record(),
            }
            for sink in plan.sinks
        ],
        "exchanges": [_edge_record(edge) for edge in plan.edges()],
    }


def _step_record(flow: Flow, node: Node) -> dict[str, Any]:
    output = Port(node.name)
    return {
        "name": node.name,
        "kind": kind_label(node).partition(" ")[0],
        "reads": [str(port) for port in node.inputs],
        "type": None if isinstance(node, SinkNode) else type_label(flow.graph.types.get(output, Any)),
        "keyed": flow.graph.keyed.get(output, False),
        "declared_at": node.where,
    }


def _source_record(source: SourceStage) -> dict[str, Any]:
    node = source.node
    return {
        "name": source.name,
        "input": node.input.describe(),
        "type": type_label(node.event_type),
        "time": function_label(node.time),
        "out_of_order_ms": node.out_of_order_ms,
        "idle_after_ms": node.idle_after_ms,
        "ports": {port: _segment_record(segment) for port, segment in source.ports.items()},
    }


def _stage_record(stage: KeyedStage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "exchanges": [edge.id for edge in stage.inputs],
        "operators": [
            {
                "rank": rank,
                "name": node.name,
                "class": type(node.operator).__name__,
                "takes": type_label(node.operator.event_type),
                "gives": type_label(node.operator.output_type),
                "state": type_label(node.operator.state_type),
                "shared": None if node.operator.shared_type is None else type_label(node.operator.shared_type),
                "inputs": {name: type_label(kind) for name, kind in _further_types(node)},
                "sides": {name: type_label(side) for name, side in node.operator.sides.items()},
                "wall_clock": node.operator.wall_clock,
                "machine": _machine_record(node.operator),
            }
            for rank, node in enumerate(stage.operators)
        ],
        "ports": {str(port): _segment_record(segment) for port, segment in stage.outputs.items()},
    }


def _machine_record(operator: Operator[Any, Any, Any]) -> Optional[dict[str, Any]]:
    machine = _machine_of(operator)
    if machine is None:
        return None
    return {
        "name": machine.name,
        "states": list(machine.states),
        "initial": machine.initial,
        "final": list(machine.final),
        "mermaid": machine.mermaid(),
    }


def _machine_of(operator: Operator[Any, Any, Any]) -> Optional[StateMachine[Any]]:
    """The state machine that an operator runs, also one with a time to live."""
    inner = operator.wrapped if isinstance(operator, Expiring) else operator
    return inner.machine if isinstance(inner, RunStateMachine) else None


def _segment_record(segment: Segment) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for branch in segment.branches:
        if isinstance(branch, Apply):
            records.append({"step": branch.node.name, "then": _segment_record(branch.then)})
        elif isinstance(branch, ToOperator):
            records.append({"operator": branch.entry.rank, "input": branch.entry.input})
        else:
            records.append({"exchange": branch.edge.id})
    return records


def _edge_record(edge: Edge) -> dict[str, Any]:
    return {
        "id": edge.id,
        "from": str(edge.producer),
        "to": edge.target,
        "operators": [{"operator": entry.rank, "input": entry.input} for entry in edge.entries],
        "broadcast": edge.broadcast,
        "type": type_label(edge.value_type),
    }
