"""The physical plan: stages and the exchanges between them, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional, Union

from headway.graph import (
    DEAD_LETTERS,
    LATE,
    MAIN,
    Graph,
    KeyByNode,
    OperatorNode,
    Port,
    SinkNode,
    SourceNode,
    StatelessNode,
    Tolerance,
)
from headway.operators.versions import of_operator, of_type
from headway.targets.delivered import Delivered

__all__ = [
    "Apply",
    "Branch",
    "Edge",
    "Entry",
    "KeyedStage",
    "Plan",
    "Segment",
    "SinkStage",
    "SourceStage",
    "Table",
    "ToOperator",
    "ToSink",
    "ToStage",
]


@dataclass
class Segment:
    """What happens to values at one point: stateless steps and the places they lead to, in order of declaration."""

    branches: list[Branch] = field(default_factory=list)


@dataclass(frozen=True)
class Apply:
    """Run a stateless step or give the key, and go on with the results."""

    node: Union[StatelessNode, KeyByNode]
    then: Segment


@dataclass(frozen=True)
class Entry:
    """Where values come into a stage."""

    rank: int
    """The number of the operator that takes them."""
    input: str = MAIN
    """The operator's input that they come by."""


@dataclass(frozen=True)
class ToOperator:
    """Hand the value to an operator of the same stage, at once."""

    entry: Entry
    value_type: Any


@dataclass(frozen=True)
class ToStage:
    """Send the value to another stage."""

    edge: Edge


@dataclass(frozen=True)
class ToSink:
    """Send the value to an output."""

    edge: Edge


Branch = Union[Apply, ToOperator, ToStage, ToSink]


@dataclass
class Edge:
    """An exchange: from a point of one stage to another stage."""

    id: int
    producer: Port
    """Where its values come from: a port of a source or of an operator."""
    from_source: bool
    target: str
    """The name of the stage that it leads to."""
    rank: int
    """Its number among the target's inputs; decides the order at equal times."""
    value_type: Any
    number: int = 0
    """Its number among the edges between the same two ends: where a stream splits and meets again there are several."""
    entries: list[Entry] = field(default_factory=list)
    """Which of the target's operators take its values, in order."""
    broadcast: bool = False
    """Whether each value goes to all key groups, rather than to that of its key."""
    tolerance: Optional[Tolerance] = None
    """What happens when the target's code fails on one of its values: None stops the run. Of edges to stages."""
    sieve: Optional[Callable[[Any], bool]] = field(default=None, compare=False, repr=False)
    """What a value must meet to concern any of the operators: its sender sends no others. None for all."""

    @property
    def has_places(self) -> bool:
        """Whether records say, behind their value, where they stand in the log: their number, and the partition."""
        return self.from_source and self.tolerance is not None

    @property
    def into(self) -> str:
        """What dead letters call the place where its values come in: see `DeadLetter.into`, without the operator."""
        entry = self.entries[0]
        name = "" if entry.input == MAIN else f".{entry.input}"
        # The late ones may have another way, which leads to fewer operators of the stage.
        port = f"@{self.producer.name}" if self.from_source and self.producer.name != MAIN else ""
        return name + port + (f"#{self.number}" if self.number else "")


@dataclass
class SourceStage:
    """A source with the stateless steps that follow it, for each of its ports."""

    name: str
    node: SourceNode
    ports: dict[str, Segment] = field(
        default_factory=lambda: {MAIN: Segment(), LATE: Segment(), DEAD_LETTERS: Segment()}
    )


class Table(NamedTuple):
    """One kind of rows that a keyed stage keeps."""

    name: str
    state_type: Any
    shared: bool
    """Whether it is one row that all keys of a group share, maintained by an operator's broadcast inputs."""
    may_share: bool
    """See `Operator.shares_values`."""
    version: int
    """The version under which states are stored."""
    migrate: Optional[Callable[[Any, int], Any]]
    """What makes states of this version out of older ones."""


@dataclass
class KeyedStage:
    """Operators on one key that run together, with the steps between and after them."""

    name: str
    operators: list[OperatorNode] = field(default_factory=list)
    """By rank: an operator comes after those that feed it."""
    inputs: list[Edge] = field(default_factory=list)
    outputs: dict[Port, Segment] = field(default_factory=dict)
    tolerance: Optional[Tolerance] = None
    """What happens when a timer's handler fails: as for events where all that leads to the stage agrees."""

    @property
    def is_guarded(self) -> bool:
        """Whether what a failed event has done must be undone."""
        return any(edge.tolerance is not None for edge in self.inputs)

    @property
    def letters_port(self) -> Port:
        """Where what its code has failed on leaves."""
        return Port(self.operators[0].name, DEAD_LETTERS)

    def into(self, edge: Edge) -> str:
        """See `DeadLetter.into`."""
        return self.operators[edge.entries[0].rank].name + edge.into

    def edge_to(self, operator: str, name: str) -> Optional[Edge]:
        """The first exchange that leads to an operator by one of its inputs; None where none does."""
        rank = [node.name for node in self.operators].index(operator)
        return next((edge for edge in self.inputs if Entry(rank, name) in edge.entries), None)

    def tables(self) -> list[Table]:
        """What it keeps: the states of its operators, by rank, then what their broadcasts maintain."""
        states = [
            Table(
                node.name,
                node.operator.state_type,
                False,
                node.operator.shares_values,
                *of_operator(node.operator),
            )
            for node in self.operators
        ]
        shared = [
            Table(f"{node.name}:shared", node.operator.shared_type, True, False, *of_type(node.operator.shared_type))
            for node in self.operators
            if node.operator.broadcasts
        ]
        return [*states, *shared]


@dataclass
class SinkStage:
    """An output, written in the order of (time, id)."""

    name: str
    node: SinkNode
    inputs: list[Edge] = field(default_factory=list)

    @property
    def delivered(self) -> Optional[Delivered]:
        """How its triggers are delivered; None for an output that is written.

        Those that are delivered are rows of the stage that makes them, so no exchange leads anywhere.
        """
        return self.node.delivered


@dataclass
class Plan:
    """All stages of a flow; keyed stages come after those that feed them."""

    flow: str
    graph: Graph
    """What it was compiled from: the steps as they were declared."""
    sources: list[SourceStage] = field(default_factory=list)
    stages: list[KeyedStage] = field(default_factory=list)
    sinks: list[SinkStage] = field(default_factory=list)

    @property
    def written_sinks(self) -> list[SinkStage]:
        """The outputs that are stages of their own; the others are delivered from where they are made."""
        return [sink for sink in self.sinks if sink.delivered is None]

    def targets(self) -> list[Union[KeyedStage, SinkStage]]:
        """The stages that exchanges lead to."""
        return [*self.stages, *self.sinks]

    def edges(self) -> list[Edge]:
        """Every exchange, by id."""
        found = [edge for stage in self.targets() for edge in stage.inputs]
        return sorted(found, key=lambda edge: edge.id)

    def edges_of(self, segments: list[Segment]) -> list[Edge]:
        """The exchanges that the given segments lead to."""
        found: list[Edge] = []
        for segment in segments:
            for branch in segment.branches:
                if isinstance(branch, Apply):
                    found.extend(self.edges_of([branch.then]))
                elif isinstance(branch, (ToStage, ToSink)):
                    found.append(branch.edge)
        return found
