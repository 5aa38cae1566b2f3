"""The planner: compiles a graph into stages.

Stateless steps fuse into the stage that produces their input. Keyed operators on one key fuse into one
keyed stage. An exchange stands only where the key changes, and before an output.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from headway.connectors.base import Output
from headway.errors import FlowError
from headway.graph import (
    DEAD_LETTERS,
    MAIN,
    Graph,
    KeyByNode,
    MergeNode,
    Node,
    OperatorNode,
    Port,
    SinkNode,
    SourceNode,
    StatelessNode,
)
from headway.plan.sieves import sieve_of
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
    ToSink,
    ToStage,
)
from headway.types.schema import type_label
from headway.types.values import options_of, shape_of

__all__ = ["compile_plan"]

DEAD_LETTER_SINK = "dead-letters"
"""Name of the output that receives the dead letters of all stages, and those of sources that the flow does not read."""


@dataclass(frozen=True)
class _Path:
    """One way from a producer to a consumer: the stateless steps in between, merges left out."""

    producer: Port
    steps: tuple[Union[StatelessNode, KeyByNode], ...]
    value_port: Port
    """The port whose type the values have at the end."""
    input: str = MAIN
    """The input of the consumer that it leads to."""
    broadcast: bool = False
    """Whether it leads to all key groups."""

    @property
    def exchanges(self) -> bool:
        """Whether values change their place on the way, for a new key or for all key groups."""
        return self.broadcast or self.key_node is not None

    @property
    def key_node(self) -> Optional[str]:
        """The last step that gives a key, if any does."""
        return next((step.name for step in reversed(self.steps) if isinstance(step, KeyByNode)), None)


def compile_plan(graph: Graph, *, dead_letters: Optional[Output] = None) -> Plan:
    """Compile a graph. `dead_letters` takes what sources cannot decode where the flow itself does not.

    Raises `FlowError` for a flow without sources or outputs, and for a cycle.
    """
    return _Compiler(_with_dead_letters(graph, dead_letters)).compile()


def _with_dead_letters(graph: Graph, output: Optional[Output]) -> Graph:
    tolerant = any(isinstance(node, SourceNode) and node.on_error is not None for node in graph.nodes.values())
    taken = graph.nodes.get(DEAD_LETTER_SINK)
    if taken is not None and tolerant:
        msg = (
            f"{taken.where}: the name {DEAD_LETTER_SINK!r} is that of the output for what code of the flow fails on, "
            'which on_error="dead-letter" sets aside: give the step another name'
        )
        raise FlowError(msg)
    if output is None:
        return graph
    read = {port for node in graph.nodes.values() for port in node.inputs}
    unread = [
        Port(node.name, DEAD_LETTERS)
        for node in graph.nodes.values()
        if isinstance(node, SourceNode) and Port(node.name, DEAD_LETTERS) not in read
    ]
    if taken is not None or not (unread or tolerant):
        return graph
    merge = MergeNode("dead-letters.merge", "", tuple(unread))
    sink = SinkNode(DEAD_LETTER_SINK, "", Port(merge.name), output, None)
    nodes = {**graph.nodes, merge.name: merge, sink.name: sink}
    return Graph(graph.flow, nodes, graph.types, graph.keyed, graph.views)


class _Compiler:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.plan = Plan(graph.flow, graph)
        self.operators = [node for node in graph.nodes.values() if isinstance(node, OperatorNode)]
        self.paths: dict[str, list[_Path]] = {}
        self.depth: dict[str, int] = {}

    def compile(self) -> Plan:
        graph = self.graph
        if not any(isinstance(node, SourceNode) for node in graph.nodes.values()):
            msg = f"the flow {graph.flow!r} has no source: declare one with flow.source(...)"
            raise FlowError(msg)
        self._check_acyclic()
        sinks = [node for node in graph.nodes.values() if isinstance(node, SinkNode)]
        readers: list[Union[OperatorNode, SinkNode]] = [*self.operators, *sinks]
        for node in readers:
            self.paths[node.name] = self._paths_into(node)
        for operator in self.operators:
            self._depth_of(operator.name)
        self.plan.sources = [SourceStage(n.name, n) for n in graph.nodes.values() if isinstance(n, SourceNode)]
        self.plan.stages = self._keyed_stages()
        self.plan.sinks = [SinkStage(node.name, node) for node in sinks]
        for stage in self.plan.stages:
            self._connect_operators(stage)
            self._find_tolerance(stage)
            for edge in stage.inputs:
                edge.sieve = sieve_of(stage, edge)
        for sink in self.plan.sinks:
            for path in self.paths[sink.name]:
                self._append(path, ToSink(self._edge(path, sink.name, sink.inputs)))
        for edge in self.plan.edges():
            written = any(edge.target == sink.name for sink in self.plan.sinks)
            for option in options_of(edge.value_type) if written else (edge.value_type,):
                _check_type(option, edge.producer, edge.target, written=written)
        return self.plan

    def _check_acyclic(self) -> None:
        done: set[str] = set()
        for start in self.graph.nodes:
            self._visit(start, [], done)

    def _visit(self, name: str, trail: list[str], done: set[str]) -> None:
        if name in trail:
            circle = " -> ".join([*trail[trail.index(name) :], name])
            where = self.graph.nodes[name].where
            msg = f"{where}: the flow {self.graph.flow!r} has a cycle, {circle}: no step can read what it leads to"
            raise FlowError(msg)
        if name in done:
            return
        for port in self.graph.nodes[name].inputs:
            self._visit(port.node, [*trail, name], done)
        done.add(name)

    def _paths_into(self, node: Union[OperatorNode, SinkNode]) -> list[_Path]:
        """All ways that lead into an operator or an output; those into further inputs first, as is their order."""
        paths = [
            replace(path, input=further.name, broadcast=further.broadcast)
            for further in (node.further if isinstance(node, OperatorNode) else ())
            for path in self._paths_to(further.port)
        ]
        return [*paths, *self._paths_to(node.upstream)]

    def _paths_to(self, port: Port) -> list[_Path]:
        """All ways that lead to `port`, in the order that decides about equal times."""
        node: Node = self.graph.nodes[port.node]
        if isinstance(node, MergeNode):
            return [path for upstream in node.upstreams for path in self._paths_to(upstream)]
        if isinstance(node, (StatelessNode, KeyByNode)):
            return [_Path(path.producer, (*path.steps, node), port) for path in self._paths_to(node.upstream)]
        return [_Path(port, (), port)]

    def _depth_of(self, name: str) -> int:
        """How many changes of key lie before an operator, at most."""
        if name not in self.depth:
            depth = 0
            for path in self.paths[name]:
                upstream = self._depth_of(path.producer.node) if self._is_operator(path.producer) else 0
                depth = max(depth, upstream + path.exchanges)
            self.depth[name] = depth
        return self.depth[name]

    def _is_operator(self, port: Port) -> bool:
        return isinstance(self.graph.nodes[port.node], OperatorNode)

    def _keyed_stages(self) -> list[KeyedStage]:
        """Group the operators that share a key: connected without a change of key, at the same depth."""
        leader = {operator.name: operator.name for operator in self.operators}

        def find(name: str) -> str:
            while leader[name] != name:
                name = leader[name]
            return name

        first_reader: dict[tuple[str, int], str] = {}
        for operator in self.operators:
            for path in self.paths[operator.name]:
                depth = self.depth[operator.name]
                if path.broadcast:
                    continue
                if path.key_node is not None:
                    other = first_reader.setdefault((path.key_node, depth), operator.name)
                elif self.depth[path.producer.node] == depth:
                    other = path.producer.node
                else:
                    continue
                leader[find(operator.name)] = find(other)
        groups: dict[str, list[OperatorNode]] = {}
        for operator in self.operators:
            groups.setdefault(find(operator.name), []).append(operator)
        stages = [KeyedStage(members[0].name, members) for members in groups.values()]
        return sorted(stages, key=lambda stage: self.depth[stage.name])

    def _connect_operators(self, stage: KeyedStage) -> None:
        """Lead all paths into a stage; broadcasts first, so that they come before what they apply to."""
        ranks = {operator.name: rank for rank, operator in enumerate(stage.operators)}
        ways = [
            (Entry(ranks[operator.name], path.input), path)
            for operator in stage.operators
            for path in self.paths[operator.name]
        ]
        for entry, path in sorted(ways, key=lambda way: not way[1].broadcast):
            if not path.exchanges and path.producer.node in ranks:
                value_type = self._type_of(path)
                _check_type(value_type, path.producer, stage.operators[entry.rank].name)
                self._append(path, ToOperator(entry, value_type))
            else:
                self._connect(path, stage, entry)

    def _find_tolerance(self, stage: KeyedStage) -> None:
        """Say what failures on events and timers of a stage come to, by the sources that they come from."""
        for edge in stage.inputs:
            producer = self.graph.nodes[edge.producer.node]
            if isinstance(producer, SourceNode):
                edge.tolerance = producer.on_error
            else:
                sender = next(s for s in self.plan.stages if any(node is producer for node in s.operators))
                edge.tolerance = sender.tolerance
        found = [edge.tolerance for edge in stage.inputs if edge.tolerance is not None]
        if found and len(found) == len(stage.inputs):
            stage.tolerance = min(found, key=lambda tolerance: tolerance.at_most)
        if stage.is_guarded and DEAD_LETTER_SINK in self.paths:
            self.paths[DEAD_LETTER_SINK].append(_Path(stage.letters_port, (), stage.letters_port))

    def _connect(self, path: _Path, stage: KeyedStage, entry: Entry) -> None:
        """Lead a path over an exchange; paths that share their steps share the exchange."""
        segment = self._segment(path)
        for branch in segment.branches:
            if isinstance(branch, ToStage):
                edge = branch.edge
                if edge.target == stage.name and edge.broadcast == path.broadcast:
                    edge.entries.append(entry)
                    return
        edge = self._edge(path, stage.name, stage.inputs)
        edge.entries.append(entry)
        segment.branches.append(ToStage(edge))

    def _edge(self, path: _Path, target: str, inputs: list[Edge]) -> Edge:
        count = sum(len(stage.inputs) for stage in self.plan.targets())
        edge = Edge(
            id=count,
            producer=path.producer,
            from_source=not self._is_operator(path.producer),
            target=target,
            rank=len(inputs),
            value_type=self._type_of(path),
            number=sum(1 for other in inputs if other.producer == path.producer),
            broadcast=path.broadcast,
        )
        inputs.append(edge)
        return edge

    def _type_of(self, path: _Path) -> Any:
        return self.graph.types.get(path.value_port, Any)

    def _append(self, path: _Path, branch: Branch) -> None:
        self._segment(path).branches.append(branch)

    def _segment(self, path: _Path) -> Segment:
        """The segment at the end of a path, made where it does not exist yet."""
        segment = self._root(path.producer)
        for step in path.steps:
            for branch in segment.branches:
                if isinstance(branch, Apply) and branch.node.name == step.name:
                    segment = branch.then
                    break
            else:
                then = Segment()
                segment.branches.append(Apply(step, then))
                segment = then
        return segment

    def _root(self, producer: Port) -> Segment:
        for source in self.plan.sources:
            if source.name == producer.node:
                return source.ports[producer.name]
        for stage in self.plan.stages:
            if any(operator.name == producer.node for operator in stage.operators):
                return stage.outputs.setdefault(producer, Segment())
        msg = f"no stage produces {producer}"
        raise FlowError(msg)


def _check_type(value_type: Any, producer: Port, target: str, *, written: bool = False) -> None:
    """Raise `FlowError` for a type whose values would not arrive as what they are."""
    what = f"values of type {type_label(value_type)} go from {producer} to {target!r}"
    shape_of(value_type, what, written=written)
