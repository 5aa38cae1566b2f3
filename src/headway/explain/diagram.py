"""A plan as a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

from headway.declare.flow import Flow
from headway.explain.edges import output_edge
from headway.graph import MAIN
from headway.plan.labels import kind_label
from headway.plan.stages import Apply, Edge, KeyedStage, Plan, Segment, ToOperator
from headway.types.schema import type_label

__all__ = ["explain_mermaid"]


def explain_mermaid(flow: Flow, plan: Plan) -> str:
    """The plan as a Mermaid flowchart: stages are boxes, exchanges are thick labelled arrows between them.

    Paste it into a Markdown file as a `mermaid` block.

    >>> import headway as hw
    >>> from headway.plan.planner import compile_plan
    >>> flow = hw.Flow("clicks")
    >>> flow.source("clicks", hw.Json, hw.items([]), time="at").trigger("clicked", hw.to_list([]))
    >>> print(explain_mermaid(flow, compile_plan(flow.graph)))
    flowchart TD
      subgraph box0["source clicks"]
        n0["clicks<br/>items"]
      end
      subgraph box1["output clicked"]
        n1["clicked<br/>list"]
      end
      n0 == "0: Json, direct, ephemeral, at least once" ==> n1
    """
    return "\n".join(["flowchart TD", *_Diagram(plan).lines()])


@dataclass
class _Diagram:
    plan: Plan
    links: list[str] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        plan = self.plan
        self.sources = {source.name: self._id() for source in plan.sources}
        self.operators = {node.name: self._id() for stage in plan.stages for node in stage.operators}
        self.sinks = {sink.name: self._id() for sink in plan.sinks}
        self.stages = {stage.name: stage for stage in plan.stages}
        self.ways = {sink.name: output_edge(sink).label for sink in plan.sinks}

    def lines(self) -> Iterator[str]:
        """The boxes, then the arrows."""
        for index, (title, nodes) in enumerate(self._boxes()):
            yield f'  subgraph box{index}["{_escape(title)}"]'
            yield from (f"    {node}" for node in nodes)
            yield "  end"
        yield from (f"  {link}" for link in self.links)

    def _id(self) -> str:
        self.count += 1
        return f"n{self.count - 1}"

    def _boxes(self) -> Iterator[tuple[str, list[str]]]:
        for source in self.plan.sources:
            nodes = [_node(self.sources[source.name], source.name, source.node.input.describe())]
            for port, segment in source.ports.items():
                self._draw(segment, self.sources[source.name], "" if port == MAIN else port, nodes)
            yield f"source {source.name}", nodes
        for stage in self.plan.stages:
            nodes = [_node(self.operators[o.name], o.name, type(o.operator).__name__) for o in stage.operators]
            for output, segment in stage.outputs.items():
                label = "" if output.name == MAIN else output.name
                self._draw(segment, self.operators[output.node], label, nodes, stage)
            yield f"stage {stage.name}", nodes
        for sink in self.plan.sinks:
            yield f"output {sink.name}", [_node(self.sinks[sink.name], sink.name, sink.node.output.describe())]

    def _draw(
        self, segment: Segment, start: str, port: str, nodes: list[str], stage: Optional[KeyedStage] = None
    ) -> None:
        for branch in segment.branches:
            if isinstance(branch, Apply):
                step = self._id()
                nodes.append(_node(step, branch.node.name, kind_label(branch.node)))
                self._link(start, step, port)
                self._draw(branch.then, step, "", nodes, stage)
            elif isinstance(branch, ToOperator):
                assert stage is not None
                self._link(start, self.operators[stage.operators[branch.entry.rank].name], port)
            else:
                edge = branch.edge
                label = f"{edge.id}: {type_label(edge.value_type)}" + (f", {port}" if port else "")
                label += ", broadcast" if edge.broadcast else ""
                if edge.target in self.ways:
                    label += f", {self.ways[edge.target]}"
                for target in self._targets(edge):
                    self.links.append(f'{start} == "{_escape(label)}" ==> {target}')

    def _link(self, start: str, end: str, label: str) -> None:
        self.links.append(f'{start} -- "{_escape(label)}" --> {end}' if label else f"{start} --> {end}")

    def _targets(self, edge: Edge) -> list[str]:
        stage = self.stages.get(edge.target)
        if edge.target in self.sinks or stage is None:
            return [self.sinks[edge.target]]
        return [self.operators[stage.operators[entry.rank].name] for entry in edge.entries]


def _node(node_id: str, name: str, detail: str) -> str:
    return f'{node_id}["{_escape(name)}<br/>{_escape(detail)}"]'


def _escape(text: str) -> str:
    """Text inside quotes of a flowchart: nothing in it may end the quotes or count as markup."""
    return "".join(char if char.isalnum() or char in " _.,:/-()*+=" else f"#{ord(char)};" for char in text)
