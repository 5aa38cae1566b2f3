"""Dedup: the first event of each id within a horizon."""

from collections.abc import Mapping
from typing import Any, Optional

import msgspec
from typing_extensions import TypeVar

from headway.basics.times import Duration
from headway.operators.base import Context, Operator, Timer
from headway.operators.options import By, positive_ms, value_of
from headway.types.schema import State

__all__ = ["Dedup", "Seen"]

E = TypeVar("E", default=Any)

_PRUNINGS = 8
"""How often within a horizon the ids that have left it are dropped: seldom enough to cost O(1) an event."""


class Seen(State):
    """The ids of one key that count as seen."""

    ids: dict[str, int] = {}
    """When each was let through, in epoch milliseconds, in that order; ids are JSON, so that 1 and "1" differ."""


class Dedup(Operator[E, Seen, E]):
    """Passes the first event of each id; those that repeat it within the horizon go to the side output `duplicates`.

    The horizon counts from the event that was let through, inclusive: a repeat exactly `within` later is still a
    duplicate. `by` is a field, several, or a function; None means that the key itself is the id.
    Keeps one row for each key with the ids of the horizon (an eighth of it longer), which is written whole: where a
    key has thousands of ids, give the stream the id as its key and leave `by` out.

    >>> Dedup(by="id", within="1d").within_ms
    86400000
    """

    shares_values = True
    sides = {"duplicates": Any}

    def __init__(self, *, by: Optional[By] = None, within: Duration) -> None:
        self.within_ms = positive_ms(within, "within")
        self._prune_ms = self.within_ms + self.within_ms // _PRUNINGS
        self.by = by
        self._encode = msgspec.json.Encoder(order="deterministic").encode

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = event_type
        self.sides = {"duplicates": event_type}
        self._value_of = None if self.by is None else value_of(self.by, event_type, "dedup")

    def on_event(self, state: Seen, event: E, ctx: Context[E], /) -> None:
        """Pass the event, or say that it is a duplicate."""
        identity = "" if self._value_of is None else self._encode(self._value_of(event)).decode()
        ids = state.ids
        seen = ids.get(identity)
        if seen is not None and ctx.time - seen <= self.within_ms:
            ctx.emit_to("duplicates", event)
            return
        if ids and ctx.time - next(iter(ids.values())) > self._prune_ms:
            ids = state.ids = {each: at for each, at in ids.items() if ctx.time - at <= self.within_ms}
        ids.pop(identity, None)  # To stand at the end: the ids are in the order of time.
        ids[identity] = ctx.time
        ctx.timer("end", ctx.time + self.within_ms)
        ctx.emit(event)

    def on_timer(self, state: Seen, timer: Timer, ctx: Context[E], /) -> None:
        """The last id has left the horizon, and so have all others."""
        ctx.forget()
