"""Running aggregates: the decision state of each key, kept up to date with every event."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Optional

import msgspec

from headway.basics.times import Duration
from headway.errors import FlowError
from headway.operators.aggregates.base import Aggregate, Bundle
from headway.operators.aggregates.copies import copy_of
from headway.operators.aggregates.declared import declared_result
from headway.operators.base import Context, Operator, Timer
from headway.operators.equality import differ
from headway.operators.options import positive_ms
from headway.types.schema import Event, State

__all__ = ["AggregateResult", "Emit", "RunningAggregate"]

Emit = Literal["each", "change", "never"]
"""When results are emitted: after each event, when a result changed, or not at all."""

_EMITTED: Final = "emitted"


class AggregateResult(Event):
    """What running aggregates emit: this field, and one for each aggregate."""

    key: str
    """The key of the events."""


class RunningAggregate(Operator[Any, Any, Any]):
    """Keeps aggregates of all events of a key, and emits the `key` and their results as one typed event.

    `emit="each"` emits after each event, `"change"` when the results differ from those emitted last, `"never"` leaves
    them to those who query the state; `emit_every` emits at the end of each period, aligned to 1970 UTC, for the keys
    that were added to in it. The state is one row per key, with the accumulator of each aggregate under its name. It
    is kept for good, unless `expire_after` says how long after its last event a key is forgotten.

    >>> from headway.operators.aggregates.basic import count
    >>> from headway.operators.aggregates.sums import sum
    >>> spend = RunningAggregate("spend", {"orders": count(kind="checkout"), "revenue": sum("price")})
    >>> spend.bind(dict).state_type()
    SpendState(orders=0, revenue=Total(whole=0, parts=[]))
    """

    def __init__(
        self,
        name: str,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        *,
        emit: Optional[Emit] = None,
        emit_every: Optional[Duration] = None,
        expire_after: Optional[Duration] = None,
        into: Any = None,
    ) -> None:
        if emit not in (None, "each", "change", "never"):
            msg = f'emit={emit!r} must be "each", "change" or "never"; for a period write emit_every="10s"'
            raise FlowError(msg)
        if emit is not None and emit_every is not None:
            msg = f"emit={emit!r} and emit_every={emit_every!r} exclude each other: leave one out"
            raise FlowError(msg)
        self._emit = emit or ("each" if emit_every is None else None)
        self._every_ms = None if emit_every is None else positive_ms(emit_every, "emit_every")
        self._expire_ms = None if expire_after is None else positive_ms(expire_after, "expire_after")
        self.name = name
        self.aggregates = aggregates
        self.into = into

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        bundle = Bundle(self.aggregates, event_type)
        self._add = bundle.add
        self.shares_values = bundle.shares_values
        if "key" in bundle.aggregates:
            msg = "the name 'key' is taken: the result has the key of the events there"
            raise FlowError(msg)
        self.output_type = (
            _struct(_class_name(self.name), list(bundle.fields), AggregateResult)
            if self.into is None
            else declared_result(self.into, AggregateResult, bundle.fields)
        )
        self.state_type = self._state_type(bundle)
        # A result may be the accumulator itself, which goes on changing: what is compared with is a copy.
        self._copy = None if bundle.shares_values or self._emit != "change" else copy_of(self.output_type)
        self.results: Callable[[Any, int, str], Any] = bundle.maker(self.output_type, "key")
        """`results(state, at_ms, key)`: the results of a key as of event time `at_ms`, as they are emitted."""

    def _state_type(self, bundle: Bundle) -> Any:
        fields = list(bundle.held_fields)
        if self._emit == "change":
            if _EMITTED in bundle.aggregates:
                msg = f'the name {_EMITTED!r} is taken with emit="change": it holds what was emitted last'
                raise FlowError(msg)
            fields.append((_EMITTED, Optional[self.output_type], None))
        return _struct(_class_name(self.name) + "State", fields, State)

    def on_event(self, state: Any, event: Any, ctx: Context[Any], /) -> None:
        """Add the event, and emit."""
        time_ms = ctx.time
        added = self._add(state, event, time_ms)
        if self._emit == "each":
            ctx.emit(self.results(state, time_ms, ctx.key))
        elif self._emit == "change":
            self._emit_changes(state, ctx)
        elif self._every_ms is not None and added and ctx.due("emit") is None:
            ctx.timer("emit", time_ms - time_ms % self._every_ms + self._every_ms - 1)
        if self._expire_ms is not None:
            ctx.timer("expire", time_ms + self._expire_ms)

    def _emit_changes(self, state: Any, ctx: Context[Any]) -> None:
        results = self.results(state, ctx.time, ctx.key)
        if differ(results, state.emitted):
            state.emitted = results if self._copy is None else self._copy(results)
            ctx.emit(results)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """Emit at the end of a period; forget the key when its time is over."""
        if timer.name == "emit" or ctx.due("emit") is not None:
            ctx.emit(self.results(state, timer.at, ctx.key))
        if timer.name == "expire":
            ctx.forget()


def _class_name(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"\W|_", name))


def _struct(name: str, fields: list[Any], base: Any) -> Any:
    try:
        return msgspec.defstruct(name, fields, bases=(base,), module=__name__, gc=False)
    except (TypeError, ValueError) as error:
        msg = f"aggregates named {', '.join(field[0] for field in fields)} do not fit together: {error}"
        raise FlowError(msg) from None
