"""How steps and functions are called in what people read."""

from __future__ import annotations

from typing import Any

from headway.graph import KeyByNode, Node, OperatorNode, SinkNode, SourceNode, StatelessNode

__all__ = ["function_label", "kind_label"]


def kind_label(node: Node) -> str:
    """What a step is, in a few words."""
    if isinstance(node, SourceNode):
        return "source"
    if isinstance(node, StatelessNode):
        return node.kind
    if isinstance(node, KeyByNode):
        return f"key_by {function_label(node.key)}"
    if isinstance(node, OperatorNode):
        return f"operator {type(node.operator).__name__}"
    if isinstance(node, SinkNode):
        return "trigger" if node.trigger_type is not None else "output"
    return "merge"


def function_label(spec: Any) -> str:
    """A field's name, or what is known of a function."""
    if isinstance(spec, str):
        return spec
    name = getattr(spec, "__name__", None)
    if name == "<lambda>":
        return "a lambda"
    return f"{name}()" if name else repr(spec)
