"""What a flow lets others ask for, for people and as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headway.graph import Graph, View
from headway.types.schema import type_label

__all__ = ["view_block", "view_records"]


def view_block(graph: Graph) -> Iterator[str]:
    """One block of text; nothing for a flow without views.

    >>> import headway as hw
    >>> flow = hw.Flow("clicks")
    >>> clicks = flow.source("clicks", hw.Json, hw.items([]), time="at").key_by("user")
    >>> flow.serve("last-click", clicks, fields=("page",), index="at")
    >>> print(*view_block(flow.graph))
    VIEWS  what headway serve answers questions about
    <BLANKLINE>
      last-click  the last Json of each key, kept by last-click; shows page; indexed by at
    """
    if graph.views:
        width = max(map(len, graph.views))
        lines = [f"  {name:<{width}}  {_text(view)}" for name, view in graph.views.items()]
        yield "\n".join(["VIEWS  what headway serve answers questions about", "", *lines])


def view_records(graph: Graph) -> list[dict[str, Any]]:
    """The same as plain values."""
    return [
        {
            "name": name,
            "operator": view.operator,
            "kind": "last value" if view.of_stream else "state",
            "type": type_label(view.value_type),
            "fields": list(view.fields) or None,
            "index": view.index,
            "declared_at": view.where,
        }
        for name, view in graph.views.items()
    ]


def _text(view: View) -> str:
    label = type_label(view.value_type)
    parts = [f"the last {label} of each key" if view.of_stream else f"{label}, the state"]
    parts[0] += f", kept by {view.operator}"
    if view.fields:
        parts.append(f"shows {', '.join(view.fields)}")
    if view.index is not None:
        parts.append(f"indexed by {view.index}")
    return "; ".join(parts)
