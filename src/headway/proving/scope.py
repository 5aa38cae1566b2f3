"""What of a flow can be compared between two runs, and how: not everything in a flow is for its logs to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Optional

from headway.declare.flow import Flow
from headway.durable.flow import Functions
from headway.durable.schedule_log import ScheduleLog
from headway.errors import UsageError
from headway.graph import Node, OperatorNode, SinkNode, SourceNode
from headway.inbox.runlog import RunLogInput
from headway.proving.sample import sampled_sources
from headway.steps.topic import TopicStep

__all__ = ["Scope", "check_steps", "scope_of"]

_SHOWN: Final = 5


@dataclass(frozen=True)
class Scope:
    """How the outputs and operators of a flow are compared, by their names. What is not named here is exact."""

    by_clock: frozenset[str] = frozenset()
    """What durable functions lead to: which of them ends first, and when, is not for the log to say. Of such outputs
    the values are compared, in whatever order; of such operators nothing."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Outputs and operators of which nothing is compared, and why, in words."""
    triggers: frozenset[str] = frozenset()
    """The outputs whose values are written as triggers, with an id and a time each."""
    sources: frozenset[str] = frozenset()
    """The sources whose records are those of the sample."""
    has_functions: bool = False
    """Whether there are durable functions. They never know that nothing more will come: no books are closed."""

    @property
    def is_exact(self) -> bool:
        """Whether everything is compared byte for byte."""
        return not self.by_clock and not self.left_out


def scope_of(flow: Flow) -> Scope:
    """What can be compared of a flow."""
    by_clock: set[str] = set()
    reasons: dict[str, str] = {}
    has_schedules = any(
        isinstance(node, SourceNode) and isinstance(node.input, ScheduleLog) for node in flow.graph.nodes.values()
    )
    for name, node in flow.graph.nodes.items():
        above = {port.node for port in node.inputs}
        reason = _reason(node, has_schedules=has_schedules) or next(
            (reasons[one] for one in above if one in reasons), None
        )
        if reason is not None:
            reasons[name] = reason
        elif _comes_back(node) or above & by_clock:
            by_clock.add(name)
    nodes = flow.graph.nodes
    return Scope(
        by_clock=frozenset(by_clock),
        left_out={name: why for name, why in reasons.items() if isinstance(nodes[name], (OperatorNode, SinkNode))},
        triggers=frozenset(
            name for name, node in nodes.items() if isinstance(node, SinkNode) and node.trigger_type is not None
        ),
        sources=frozenset(node.name for node in sampled_sources(flow)),
        has_functions=any(map(_comes_back, nodes.values())),
    )


def _reason(node: Node, *, has_schedules: bool) -> Optional[str]:
    """Why nothing behind a node can be compared; None where something can."""
    if isinstance(node, OperatorNode) and node.operator.wall_clock:
        return f"operator {node.name!r} reads the wall clock"
    if isinstance(node, SourceNode) and isinstance(node.input, RunLogInput):
        if has_schedules:
            return "schedules start functions by the wall clock"
        if not node.input.comes_back:
            return f"source {node.name!r} has what became of deliveries, and when"
    return None


def _comes_back(node: Node) -> bool:
    return isinstance(node, SourceNode) and node.input.comes_back


def check_steps(flow: Flow, *, may_run: bool) -> None:
    """Raise `UsageError` for a flow with steps that would do their work for real, unless they may.

    Also for steps in queues that are served by workers elsewhere: there are none in a proof, which would wait for ever.
    """
    if not isinstance(flow, Functions):
        return
    steps = [one.name for one in flow.callees.values() if one.kind == "step" and not isinstance(one, TopicStep)]
    elsewhere = [queue.name for queue in flow.queues.values() if queue.runs_on == "workers"]
    if elsewhere:
        msg = (
            f"the queue {elsewhere[0]!r} of the flow {flow.name!r} is served by workers elsewhere, which do not take "
            'part in a proof: let a parameter of the flow put its steps into a queue with runs_on="flow"'
        )
        raise UsageError(msg)
    if steps and not may_run:
        more = f" and {len(steps) - _SHOWN} more" if len(steps) > _SHOWN else ""
        msg = (
            f"the flow {flow.name!r} calls steps: {', '.join(steps[:_SHOWN])}{more}. A proof runs them for real, "
            "hundreds of times, and kills them on the way. Let a parameter of the flow put stand-ins in their place, "
            "then allow it with --run-steps (in a test: run_steps=True)"
        )
        raise UsageError(msg)
