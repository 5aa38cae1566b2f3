"""What waited for a stage when the flow's plan changed: which exchange of today it comes by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headway.graph import Port
from headway.plan.stages import Edge, KeyedStage
from headway.state.manifest import EdgeEntry

__all__ = ["carried_edge"]


def carried_edge(stage: KeyedStage, edge: EdgeEntry) -> Edge:
    """The exchange of today that leads to the same operators, as one for records in the form of before."""
    now = stage.edge_to(*edge.entries[0])
    if now is None:
        return Edge(-1, Port(*edge.producer), edge.from_source, stage.name, -1, Any, broadcast=edge.broadcast)
    # A record that does not say where it stood cannot become a letter.
    tolerance = now.tolerance if edge.has_places or not edge.from_source else None
    return replace(now, from_source=edge.from_source, broadcast=edge.broadcast, tolerance=tolerance)
