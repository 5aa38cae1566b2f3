"""Views: what a flow lets other services ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Optional, Union

import msgspec

from headway.basics.declaring import Was, declaring, fail, former_names, place
from headway.basics.times import Duration
from headway.declare.streams import KeyedStream
from headway.graph import MAIN, OperatorNode, View
from headway.operators.base import Operator
from headway.operators.conditions import Condition
from headway.operators.latest import Latest
from headway.types.schema import Json, field_names, type_label
from headway.types.timefields import plain_type
from headway.types.values import options_of

if TYPE_CHECKING:
    from headway.declare.flow import Flow

__all__ = ["StateOf", "add_view", "state_of"]

_RANKED: Final = (int, float, str, type(None), Any)


class StateOf:
    """What `state_of` returns: the state that a step keeps for each key."""

    def __init__(self, step: KeyedStream[Any], name: str, operator: Operator[Any, Any, Any]) -> None:
        self.step = step
        self.name = name
        self.operator = operator

    def __repr__(self) -> str:
        return f"state_of({self.name!r})"


def state_of(step: KeyedStream[Any], /) -> StateOf:
    """What a keyed step keeps for each key, to be served as a view: `flow.serve(name, hw.state_of(step))`.

    `step` is what `process` or another step with state has returned. Raises `FlowError` for a stream of which no step
    keeps anything.
    """
    if not isinstance(step, KeyedStream):
        fail(f"state_of({step!r}): expected a step that keeps state, such as stream.process(...)")
    node = step._flow.graph.nodes[step._port.node]
    if not isinstance(node, OperatorNode) or step._port.name != MAIN:
        fail(
            f"state_of({step._port}): it is no step that keeps state; to serve the last value of each key of a stream, "
            "give the stream itself: flow.serve(name, stream)"
        )
    return StateOf(step, node.name, node.operator)


def add_view(
    flow: Flow,
    name: str,
    what: Union[KeyedStream[Any], StateOf],
    *,
    fields: Optional[Sequence[str]],
    index: Optional[str],
    delete: Optional[Condition],
    forget_after: Optional[Duration],
    was: Was,
) -> None:
    """What `Flow.serve` does."""
    flow._check_name(name, "view")
    earlier = flow.graph.views.get(name)
    if earlier is not None:
        fail(f"the name {name!r} is used twice: the first view of that name is at {earlier.where}")
    if isinstance(what, StateOf):
        step = what.step
        if delete is not None or forget_after is not None:
            fail(f"view {name!r}: the step {what.name!r} says what it keeps: leave delete= and forget_after= out")
        operator, value_type = what.name, what.operator.state_type
    elif isinstance(what, KeyedStream):
        step, value_type, operator = what, what.type, name
    else:
        fail(
            f"serve({name!r}, {what!r}): give a stream with keys, of which the last value of each is served, or "
            "hw.state_of(step)"
        )
    if step._flow is not flow:
        fail(f"view {name!r}: {step._port} belongs to the flow {step._flow.name!r}, not to {flow.name!r}")
    view = View(
        name=name,
        where=place(),
        operator=operator,
        value_type=value_type,
        of_stream=not isinstance(what, StateOf),
        fields=_shown(name, value_type, fields),
        index=_ranked(name, value_type, index),
        index_default=_default_of(value_type, index),
        was=former_names(name, was),
    )
    if view.of_stream:
        with declaring():
            kept = Latest[Any](delete=delete, forget_after=forget_after)
        step.process(name, kept, was=was)
    flow.graph.views[name] = view


def _shown(name: str, value_type: Any, fields: Optional[Sequence[str]]) -> tuple[str, ...]:
    if fields is None:
        return ()
    if isinstance(fields, str) or not fields:
        fail(f"view {name!r}: fields={fields!r}: give the names of one or more fields, or leave it out to show all")
    for one in fields:
        _check_field(name, value_type, one, f"fields={fields!r}")
    return tuple(_stored_name(value_type, one) for one in fields)


def _ranked(name: str, value_type: Any, index: Optional[str]) -> Optional[str]:
    if index is None:
        return None
    _check_field(name, value_type, index, f"index={index!r}")
    for kind in _types_of(value_type, index):
        if kind not in _RANKED:
            fail(
                f"view {name!r}: index={index!r} is of type {type_label(kind)}: an index is of numbers (int, float) or "
                "text (str)"
            )
    return _stored_name(value_type, index)


def _types_of(value_type: Any, field: str) -> list[Any]:
    """What a field may be; nothing where its type does not tell."""
    if not (isinstance(value_type, type) and issubclass(value_type, msgspec.Struct)):
        return []
    found = next(one.type for one in msgspec.structs.fields(value_type) if one.name == field)
    return [plain_type(option) for option in options_of(plain_type(found))]


def _default_of(value_type: Any, index: Optional[str]) -> Any:
    """What the indexed field is where it is left out of what is stored."""
    if index is None or not (isinstance(value_type, type) and issubclass(value_type, msgspec.Struct)):
        return None
    if not value_type.__struct_config__.omit_defaults:
        return None
    default = next(one.default for one in msgspec.structs.fields(value_type) if one.name == index)
    return default if isinstance(default, (int, float, str)) else None


def _check_field(name: str, value_type: Any, field: Any, given: str) -> None:
    known = field_names(value_type)
    if not isinstance(field, str) or (known is not None and field not in known):
        listed = f"its fields are {', '.join(known)}" if known else "give the name of a field"
        fail(f"view {name!r}: {given}: {type_label(value_type)} has no field {field!r}, {listed}")
    if known is None and value_type not in (Any, Json, dict):
        fail(f"view {name!r}: {given}: a value of type {type_label(value_type)} has no fields")


def _stored_name(value_type: Any, field: str) -> str:
    """The name under which a field is stored and shown."""
    if isinstance(value_type, type) and issubclass(value_type, msgspec.Struct):
        return next(one.encode_name for one in msgspec.structs.fields(value_type) if one.name == field)
    return field
