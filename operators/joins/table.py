"""Table-table join: the row that two tables have together for a key, and how it changes."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Optional

import msgspec

from headway.operators.base import Context, Operator, Timer
from headway.operators.conditions import Condition, resolve
from headway.operators.equality import differ
from headway.operators.joins.results import How, Pair, TableChange, check_how, joined_type
from headway.types.schema import State

__all__ = ["TableJoin"]


@cache
def _state_of(left_type: Any, right_type: Any) -> Any:
    shown: Any = Optional[joined_type(Pair, left_type, right_type, "full")]
    fields = [
        ("left", Optional[left_type], None),
        ("right", Optional[right_type], None),
        ("changing", bool, False),
        ("shown", shown, None),
    ]
    return msgspec.defstruct("TableJoinState", fields, bases=(State,), module=__name__, gc=False, omit_defaults=True)


class TableJoin(Operator[Any, Any, Any]):
    """Joins two tables, each a stream of versions of its rows, and emits a `TableChange` for each change of the result.

    An event is the new version of its side's row for the key; one that meets `delete`, or on the right side
    `other_delete`, ends the row. The result has a row while both sides have one, in outer joins also while the side
    that may stand alone has one. There is at most one change of a key at a time: what all events of that time come to;
    where they leave the row as it was, there is none.

    Keeps the last version of each side: one row a key, until both sides are deleted. An event costs O(1), and a timer
    that fires at once.

    >>> TableJoin(how="full").bind(dict, right=dict).output_type.__origin__.__name__
    'TableChange'
    """

    shares_values = True
    inputs = {"right": Any}

    def __init__(
        self,
        *,
        how: How = "inner",
        delete: Optional[Condition] = None,
        other_delete: Optional[Condition] = None,
    ) -> None:
        check_how(how)
        self.how = how
        self.delete = delete
        self.other_delete = other_delete
        self._left_outer = how in ("left", "full")
        self._right_outer = how in ("right", "full")

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        right_type: Any = inputs["right"]
        self.inputs = {"right": right_type}
        self.output_type = joined_type(TableChange, event_type, right_type, self.how)
        self.state_type = _state_of(event_type, right_type)
        self._deletes = None if self.delete is None else resolve(self.delete, event_type)
        self._other_deletes = None if self.other_delete is None else resolve(self.other_delete, right_type)

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Take a new version of the left row, or end it."""
        gone = self._deletes is not None and self._deletes(event)
        self._change(state, None if gone else event, state.right, ctx)

    def on_right(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Take a new version of the right row, or end it."""
        gone = self._other_deletes is not None and self._other_deletes(event)
        self._change(state, state.left, None if gone else event, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """All events of a time have come: emit what they have changed."""
        before, after = state.shown, self._row(state.left, state.right)
        state.changing, state.shown = False, None
        if before is None and after is not None:
            ctx.emit(TableChange(ctx.key, "insert", None, after))
        elif before is not None and after is None:
            ctx.emit(TableChange(ctx.key, "delete", before, None))
        elif differ(before, after):
            ctx.emit(TableChange(ctx.key, "update", before, after))

    def _change(self, state: Any, left: Any, right: Any, ctx: Context[Any]) -> None:
        if not state.changing:
            state.changing = True
            state.shown = self._row(state.left, state.right)
            ctx.timer("change", ctx.time)
        state.left, state.right = left, right

    def _row(self, left: Any, right: Any) -> Optional[Pair[Any, Any]]:
        if left is None and (right is None or not self._right_outer):
            return None
        if right is None and not self._left_outer:
            return None
        return Pair(left, right)
