"""The logical graph of a flow: pure data. Building it runs nothing and imports no engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Optional, Protocol, Union

from headway.connectors.base import Input, Output
from headway.connectors.parts import RecordPart
from headway.operators.base import Operator
from headway.targets.delivered import Delivered

__all__ = [
    "DEAD_LETTERS",
    "INGESTION_TIME",
    "LATE",
    "MAIN",
    "Declared",
    "FurtherInput",
    "Graph",
    "IngestionTime",
    "KeyByNode",
    "KeySpec",
    "MergeNode",
    "Node",
    "OperatorNode",
    "Port",
    "SinkNode",
    "SourceNode",
    "StatelessNode",
    "TimeSpec",
    "Tolerance",
    "View",
]

MAIN = "main"
"""The port of what a node produces in the first place."""
LATE = "late"
"""The port of a source where events behind their partition's watermark leave."""
DEAD_LETTERS = "dead-letters"
"""The port of a source where records leave that could not be used, and of a keyed stage's first operator where those
do that its code has failed on."""


class IngestionTime(Enum):
    """Marks a source whose events are stamped with the wall clock when they are read."""

    INGESTION_TIME = "ingestion time"

    def __repr__(self) -> str:
        return self.name


INGESTION_TIME: Final = IngestionTime.INGESTION_TIME

TimeSpec = Union[str, Callable[[Any], Any], IngestionTime, RecordPart]
"""Where an event's time comes from: a field, a function, the moment it is read, or what its log says."""
KeySpec = Union[str, Callable[[Any], Any]]
"""Where an event's key comes from: a field or a function."""


@dataclass(frozen=True)
class Tolerance:
    """What the flow's code fails on becomes a dead letter, and the flow goes on."""

    at_most: int
    """How many such failures a flow may have had, over all runs on its state directory: one more stops it."""


@dataclass(frozen=True)
class Port:
    """One output of a node."""

    node: str
    name: str = MAIN

    def __str__(self) -> str:
        return self.node if self.name == MAIN else f"{self.node}.{self.name}"


@dataclass(frozen=True)
class Node:
    """One step of the flow."""

    name: str
    where: str = field(compare=False)
    """The line of the flow that declares it, for messages."""
    was: tuple[str, ...] = field(default=(), kw_only=True)
    """Names that it had before: what is stored under one of them is its own."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The ports this node reads."""
        return ()


@dataclass(frozen=True)
class SourceNode(Node):
    """Reads a log of events."""

    event_type: Any
    input: Input
    time: TimeSpec
    out_of_order_ms: int
    idle_after_ms: Optional[int]
    on_error: Optional[Tolerance] = None
    """What happens to an event that the flow's code fails on; None stops the run."""
    fields: tuple[tuple[str, RecordPart], ...] = ()
    """The fields of its events that are parts of their records."""


@dataclass(frozen=True)
class StatelessNode(Node):
    """A step that keeps nothing: `kind` is map, filter, reject or flat_map."""

    kind: str
    upstream: Port
    function: Callable[[Any], Any]
    given: Any = None
    """What the function was made of, such as a condition; None where it was written as it is."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The ports this node reads."""
        return (self.upstream,)


@dataclass(frozen=True)
class MergeNode(Node):
    """Several streams as one."""

    upstreams: tuple[Port, ...]

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The ports this node reads."""
        return self.upstreams


@dataclass(frozen=True)
class KeyByNode(Node):
    """Gives each event its key."""

    upstream: Port
    key: KeySpec

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The ports this node reads."""
        return (self.upstream,)


@dataclass(frozen=True)
class FurtherInput:
    """An input of an operator besides its main one."""

    name: str
    port: Port
    broadcast: bool
    """Whether its values go to all key groups, rather than to that of their key."""


@dataclass(frozen=True)
class OperatorNode(Node):
    """A keyed operator."""

    upstream: Port
    operator: Operator[Any, Any, Any]
    further: tuple[FurtherInput, ...] = ()
    """Its further inputs: broadcasts first, then the others, in the order of the operator's declaration."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The ports this node reads."""
        return (self.upstream, *(further.port for further in self.further))


@dataclass(frozen=True)
class SinkNode(Node):
    """Writes a stream to an output: as triggers (CloudEvents) of `trigger_type`, or the plain values (None)."""

    upstream: Port
    output: Output
    trigger_type: Optional[str]
    id_by: Optional[tuple[str, ...]] = None
    """The fields that say what a trigger is about: one that agrees with an earlier one in them has its id."""

    @property
    def delivered(self) -> Optional[Delivered]:
        """How its triggers are delivered to a target; None for an output that is written."""
        return self.output if isinstance(self.output, Delivered) else None

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The ports this node reads."""
        return (self.upstream,)


@dataclass(frozen=True)
class View:
    """Decision state: what an operator keeps for each key, under a name by which other services ask for it."""

    name: str
    where: str = field(compare=False)
    """The line of the flow that declares it, for messages."""
    operator: str
    """The operator whose rows are shown."""
    value_type: Any
    """The type of what is shown of a key, before `fields`."""
    of_stream: bool = False
    """Whether it shows the last value of each key of a stream, which an operator made for it keeps."""
    fields: tuple[str, ...] = ()
    """What is shown; everything where there are none."""
    index: Optional[str] = None
    """The field by which the greatest are found."""
    index_default: Any = None
    """What that is in values which leave it out because it is as its default."""
    was: tuple[str, ...] = ()
    """Names that it had before."""


@dataclass
class Graph:
    """All nodes of a flow, by name, in the order in which they were declared."""

    flow: str
    nodes: dict[str, Node] = field(default_factory=dict)
    types: dict[Port, Any] = field(default_factory=dict)
    """The type of the values of each port; `Any` where it is not known."""
    keyed: dict[Port, bool] = field(default_factory=dict)
    """Whether the values of each port have a key."""
    views: dict[str, View] = field(default_factory=dict)
    """What other services may ask for, by name."""


class Declared(Protocol):
    """A flow, as those see it who run it: what it has declared, and no more."""

    graph: Graph
