"""Declaring which fields of events are parts of their records, and which part is the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import msgspec

from headway.basics.declaring import fail
from headway.connectors.base import Input
from headway.connectors.parts import RecordPart
from headway.graph import Graph, MergeNode, Port, SourceNode, StatelessNode
from headway.types.schema import Json, field_names, type_label

__all__ = ["check_part", "key_field", "record_fields"]


def check_part(part: RecordPart, given: Input, what: str) -> None:
    """Fail where an input's records do not have a part."""
    if part not in given.record_parts:
        known = ", ".join(sorted(map(repr, given.record_parts))) or "nothing but their values"
        fail(f"{what}: records of {given.describe()} have no {part!r}: they have {known}")


def record_fields(
    fields: Optional[Mapping[str, RecordPart]], event_type: Any, given: Input, what: str
) -> tuple[tuple[str, RecordPart], ...]:
    """The fields as a node has them. Fails for a field that the type does not have, or that decoding would miss."""
    if not fields:
        return ()
    names = field_names(event_type)
    is_untyped = event_type is dict or event_type == Json
    if names is None and not is_untyped:
        fail(f"{what}, fields=...: {type_label(event_type)} has no fields that could be set")
    for name, part in fields.items():
        if not isinstance(part, RecordPart):
            parts = ", ".join(map(repr, RecordPart))
            fail(f"{what}, fields={{{name!r}: {part!r}}}: expected one of {parts}")
        check_part(part, given, f"{what}, fields={{{name!r}: {part!r}}}")
        if names is None:
            continue
        if name not in names:
            fail(f"{what}: {type_label(event_type)} has no field {name!r}, its fields are {', '.join(names)}")
        [field] = [one for one in msgspec.structs.fields(event_type) if one.name == name]
        if field.required:
            fail(
                f"{what}: the field {name!r} of {type_label(event_type)} is filled once the value has been decoded, so "
                f"it needs a default: {name}: ... = ..."
            )
    return tuple(fields.items())


def key_field(graph: Graph, port: Port) -> Optional[str]:
    """The field that holds the record's key in all events of a stream; None where there is none."""
    node = graph.nodes[port.node]
    if isinstance(node, SourceNode):
        return next((name for name, part in node.fields if part is RecordPart.KEY), None)
    if isinstance(node, StatelessNode) and node.kind in ("filter", "reject"):
        return key_field(graph, node.upstream)
    if isinstance(node, MergeNode):
        found = {key_field(graph, upstream) for upstream in node.upstreams}
        return found.pop() if len(found) == 1 else None
    return None
