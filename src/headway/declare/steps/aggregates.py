"""Steps of keyed streams: aggregates as running decision state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, TypeVar, overload

from headway.basics.declaring import Was
from headway.basics.times import Duration
from headway.declare.steps.base import KeyedSteps
from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.declared import in_order_of
from headway.operators.aggregates.running import AggregateResult, Emit, RunningAggregate

if TYPE_CHECKING:
    from headway.declare.streams import Processed

__all__ = ["AggregateSteps"]

T = TypeVar("T")
A = TypeVar("A", bound=AggregateResult)


class AggregateSteps(KeyedSteps[T]):
    """Steps of keyed streams: aggregates as running decision state."""

    @overload
    def aggregate(
        self,
        name: str,
        /,
        *,
        emit: Optional[Emit] = None,
        emit_every: Optional[Duration] = None,
        expire_after: Optional[Duration] = None,
        into: type[A],
        was: Was = (),
        **aggregates: Aggregate[Any, Any],
    ) -> Processed[A]: ...

    @overload
    def aggregate(
        self,
        name: str,
        /,
        *,
        emit: Optional[Emit] = None,
        emit_every: Optional[Duration] = None,
        expire_after: Optional[Duration] = None,
        into: None = None,
        was: Was = (),
        **aggregates: Aggregate[Any, Any],
    ) -> Processed[Any]: ...

    def aggregate(
        self,
        name: str,
        /,
        *,
        emit: Optional[Emit] = None,
        emit_every: Optional[Duration] = None,
        expire_after: Optional[Duration] = None,
        into: Optional[type[Any]] = None,
        was: Was = (),
        **aggregates: Aggregate[Any, Any],
    ) -> Processed[Any]:
        """Running aggregates of each key: `aggregate("spend", orders=hw.count(), revenue=hw.sum("price"))`.

        Emits an event with the `key` and a field for each, after each event (`emit="each"`, the default), when one
        changed (`"change"`), not at all (`"never"`: only the state is wanted), or with `emit_every="10s"` at the end of
        each 10 s of event time in which something was added. A key's row is kept for good, or until `expire_after` has
        passed without an event. `into` is a class derived from `AggregateResult` with these fields, for type checkers;
        without it one is made. See `RunningAggregate`.
        """
        ordered = in_order_of(into, aggregates)
        options: dict[str, Any] = {"emit": emit, "emit_every": emit_every, "expire_after": expire_after, "into": into}
        return self._process(name, was, lambda: RunningAggregate(name, ordered, **options))
