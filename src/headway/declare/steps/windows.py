"""Steps of keyed streams: windows."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union, overload

from headway.basics.declaring import Was, fail
from headway.basics.times import Duration
from headway.declare.steps.base import KeyedSteps
from headway.errors import FlowError
from headway.operators.aggregates.base import Aggregate
from headway.operators.aggregates.declared import in_order_of
from headway.operators.windows.aligned import AlignedWindow, SingleWindow
from headway.operators.windows.aligned_late import LateAlignedWindow
from headway.operators.windows.apply import WindowContents, window_function
from headway.operators.windows.counted import CountWindows
from headway.operators.windows.early import Every
from headway.operators.windows.lateness import LateTime
from headway.operators.windows.results import WindowAggregates, WindowResult
from headway.operators.windows.sessions import SessionWindow
from headway.operators.windows.sessions_late import LateSessionWindow
from headway.operators.windows.windowers import Aligned, CountWindow, Session, Windower
from headway.types.schema import returned_type, without_none

if TYPE_CHECKING:
    from headway.declare.streams import KeyedStream, Processed
    from headway.operators.base import Operator

__all__ = ["WindowSteps"]

T = TypeVar("T")
U = TypeVar("U")
W = TypeVar("W", bound=WindowResult)


class WindowSteps(KeyedSteps[T]):
    """Steps of keyed streams: windows."""

    @overload
    def window(
        self,
        name: str,
        windower: Windower,
        /,
        *,
        early: Union[Duration, Every, None] = None,
        late: Optional[KeyedStream[T]] = None,
        late_time: Optional[LateTime] = None,
        allowed_lateness: Optional[Duration] = None,
        into: type[W],
        was: Was = (),
        **aggregates: Aggregate[Any, Any],
    ) -> Processed[W]: ...

    @overload
    def window(
        self,
        name: str,
        windower: Windower,
        /,
        *,
        early: Union[Duration, Every, None] = None,
        late: Optional[KeyedStream[T]] = None,
        late_time: Optional[LateTime] = None,
        allowed_lateness: Optional[Duration] = None,
        into: None = None,
        was: Was = (),
        **aggregates: Aggregate[Any, Any],
    ) -> Processed[WindowAggregates]: ...

    def window(
        self,
        name: str,
        windower: Windower,
        /,
        *,
        early: Union[Duration, Every, None] = None,
        late: Optional[KeyedStream[T]] = None,
        late_time: Optional[LateTime] = None,
        allowed_lateness: Optional[Duration] = None,
        into: Optional[type[Any]] = None,
        was: Was = (),
        **aggregates: Aggregate[Any, Any],
    ) -> Processed[Any]:
        """Aggregates of each window of a key: `window("hourly", hw.tumbling("1h"), orders=hw.count())`.

        Emits an event with `key`, `start`, `end`, `revision`, `final` and a field for each aggregate, at the last
        millisecond of the window; `early="10s"` or `early=hw.every(100)` gives results before that. `late` is the
        stream of late events with the same key: they change windows for `allowed_lateness` after their end, each of
        which is emitted again with the next `revision`; `late_time` is the field or function that gives their time.
        `into` is a class derived from `WindowResult` with a field for each aggregate, for type checkers; without it
        one is made.
        See `SingleWindow`, `AlignedWindow`, `SessionWindow`, `CountWindows`.
        """
        ordered = in_order_of(into, aggregates)
        inputs: dict[str, Any] = {} if late is None else {"late": late}
        return self._process(
            name,
            was,
            lambda: _operator(windower, ordered, early, late, late_time, allowed_lateness, into),
            **inputs,
        )

    def window_apply(
        self,
        name: str,
        windower: Windower,
        function: Callable[[WindowContents[T]], Optional[U]],
        *,
        into: Any = None,
        was: Was = (),
    ) -> Processed[U]:
        """Emits what `function` makes of the events of each window of a key; None emits nothing.

        The function gets an object with `key`, `start`, `end` and `events`. All events are kept until the window
        ends, and stored with each change: prefer `window` where aggregates can tell the same. `into` is the type of
        the results where the function's annotation does not tell.
        """
        if not callable(function):
            fail(f"window_apply({name!r}) needs a function of the window, not {function!r}")
        output_type = without_none(returned_type(function)) if into is None else into
        return self._process(name, was, lambda: window_function(_windower(windower), function, output_type))


def _operator(
    windower: Windower,
    aggregates: Mapping[str, Aggregate[Any, Any]],
    early: Union[Duration, Every, None],
    late: Optional[KeyedStream[Any]],
    late_time: Optional[LateTime],
    allowed_lateness: Optional[Duration],
    into: Any,
) -> Operator[Any, Any, Any]:
    _windower(windower)
    if late is None and (late_time is not None or allowed_lateness is not None):
        msg = 'allowed_lateness= and late_time= need late=, such as late=shop.late.key_by("user")'
        raise FlowError(msg)
    if isinstance(windower, CountWindow):
        if early is not None or late is not None:
            msg = "count windows have neither early nor late results: they end at an event, not at a time"
            raise FlowError(msg)
        return CountWindows(windower, aggregates, into=into)
    options: dict[str, Any] = {"early": early, "into": into}
    if late is not None:
        if late_time is None:
            msg = (
                'late= needs late_time=, the field or function that gives the time of an event, such as late_time="at"'
            )
            raise FlowError(msg)
        options |= {"late_time": late_time, "allowed_lateness": 0 if allowed_lateness is None else allowed_lateness}
    if isinstance(windower, Session):
        return (SessionWindow if late is None else LateSessionWindow)(windower, aggregates, **options)
    aligned = typing.cast(Aligned, windower)
    if late is not None:
        return LateAlignedWindow(aligned, aggregates, **options)
    return (AlignedWindow if aligned.overlapping else SingleWindow)(aligned, aggregates, **options)


def _windower(windower: Windower) -> Windower:
    if not isinstance(windower, (Aligned, Session, CountWindow)):
        msg = (
            f"{windower!r} does not say which windows there are: use hw.tumbling, hw.sliding, hw.cumulative, "
            "hw.session, hw.count_window, hw.daily, hw.weekly or hw.monthly"
        )
        raise FlowError(msg)
    return windower
