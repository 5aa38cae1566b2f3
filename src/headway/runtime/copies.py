"""Which readers of a value get copies of it, so that none sees what another one does to it."""

from __future__ import annotations

from typing import Any

from headway.plan.stages import Edge, Plan
from headway.runtime.context import Handle
from headway.types.isolation import isolator
from headway.types.typeinfo import is_immutable

__all__ = ["copied_entries", "copying"]


def copied_entries(plan: Plan, edge: Edge) -> int:
    """How many of an edge's readers, the first ones, must get copies of its values, because others get them too.

    What leaves a stage is a copy already, one for each edge; what a source reads is one object for all edges.
    """
    if is_immutable(edge.value_type):
        return 0
    readers = [other for stage in plan.stages for other in stage.inputs if other.producer == edge.producer]
    return len(edge.entries) if edge.from_source and len(readers) > 1 else len(edge.entries) - 1


def copying(handle: Handle, value_type: Any) -> Handle:
    """A handle that gives a copy to another one."""
    isolate = isolator(value_type)
    return lambda time_ms, key, event: handle(time_ms, key, isolate(event))
