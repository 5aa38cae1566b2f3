"""Latest: the last value of each key, kept for others to ask for."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Optional

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration
from headway.operators.base import Context, Operator, Timer
from headway.operators.conditions import Condition, resolve
from headway.operators.options import optional_ms
from headway.types.schema import State

__all__ = ["Latest"]

E = TypeVar("E", default=Any)


@cache
def _state_of(event_type: Any) -> Any:
    """The state for values of one type: the last one, or when it was forgotten."""
    return msgspec.defstruct(
        "LatestState",
        [("value", Optional[event_type], None), ("forgotten_ms", Optional[int], None)],
        bases=(State,),
        module=__name__,
        gc=False,
    )


class Latest(Operator[E, Any, Any]):
    """Keeps the last value of each key; what `flow.serve(name, stream)` makes. Emits nothing.

    A value that meets `delete` removes the key. When nothing has come for `forget_after`, the value is dropped, and
    that it was forgotten is remembered for as long again. Costs one row for each key.

    >>> Latest(forget_after="1d").forget_after_ms
    86400000
    """

    shares_values = True

    def __init__(self, *, delete: Optional[Condition] = None, forget_after: Optional[Duration] = None) -> None:
        self.delete = delete
        self.forget_after_ms = optional_ms(forget_after, "forget_after")

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.state_type = _state_of(event_type)
        self._deletes = None if self.delete is None else resolve(self.delete, event_type)

    def on_event(self, state: Any, event: E, ctx: Context[Any], /) -> None:
        """Keep the value in the place of the one before."""
        if self._deletes is not None and self._deletes(event):
            ctx.forget()
            return
        state.value = event
        state.forgotten_ms = None
        if self.forget_after_ms is not None:
            ctx.timer("forget", ctx.time + self.forget_after_ms)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Nothing has come for long: drop the value, and later also that there was one."""
        if state.forgotten_ms is None and self.forget_after_ms is not None:
            state.value = None
            state.forgotten_ms = timer.at
            ctx.timer("forget", timer.at + self.forget_after_ms)
        else:
            ctx.forget()
