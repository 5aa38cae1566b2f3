"""As-of join: each event with the version of a table that holds at its time."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Optional

import msgspec

from headway.basics.times import Duration
from headway.operators.base import Context, Operator, Timer
from headway.operators.conditions import Condition, resolve
from headway.operators.joins.results import Joined, Select, check_how, emitter, joined_type, selected_type
from headway.operators.options import optional_ms
from headway.types.schema import State

__all__ = ["AsofJoin"]


@cache
def _state_of(right_type: Any) -> Any:
    fields = [("version", Optional[right_type], None)]
    return msgspec.defstruct("AsofJoinState", fields, bases=(State,), module=__name__, gc=False, omit_defaults=True)


class AsofJoin(Operator[Any, Any, Any]):
    """Joins each event with the latest version of its key at or before its time: a temporal join.

    A right event is a new version, and one that meets `delete` ends the version there is. At equal times versions
    come first. A version older than `expire_after` holds no more. With `how="left"` an event without a version is
    emitted with None, with `inner` it is not.

    Because events come in the order of time, the last version is the only one kept: one row a key that has a version,
    until it is deleted or expires. An event costs O(1).

    >>> AsofJoin(how="left").bind(dict, right=dict).inputs
    {'right': <class 'dict'>}
    """

    shares_values = True
    inputs = {"right": Any}

    def __init__(
        self,
        *,
        how: Literal["inner", "left"] = "inner",
        delete: Optional[Condition] = None,
        expire_after: Optional[Duration] = None,
        select: Optional[Select] = None,
        into: Any = None,
    ) -> None:
        check_how(how, ("inner", "left"))
        self.how = how
        self.delete = delete
        self.select = select
        self.into = into
        self.expire_after_ms = optional_ms(expire_after, "expire_after")
        self._emit = emitter(select)
        self._outer = how == "left"

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        right_type: Any = inputs["right"]
        self.inputs = {"right": right_type}
        joined = joined_type(Joined, event_type, right_type, self.how)
        self.output_type = selected_type(self.select, self.into, joined)
        self.state_type = _state_of(right_type)
        self._deletes = None if self.delete is None else resolve(self.delete, right_type)

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Emit the event with the version that holds."""
        if state.version is not None or self._outer:
            self._emit(ctx, event, state.version)

    def on_right(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Take a new version, or end the one there is."""
        if self._deletes is not None and self._deletes(event):
            ctx.forget()
            return
        state.version = event
        if self.expire_after_ms is not None:
            ctx.timer("expire", ctx.time + self.expire_after_ms)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """The version has expired."""
        ctx.forget()
