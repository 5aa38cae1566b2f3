"""Steps of keyed streams: joins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Optional, TypeVar, overload

from headway.basics.declaring import Was, fail
from headway.basics.times import Duration
from headway.declare.steps.base import KeyedSteps
from headway.operators.conditions import Predicate
from headway.operators.joins.asof import AsofJoin
from headway.operators.joins.interval import IntervalJoin
from headway.operators.joins.results import Cogrouped, How, Joined, TableChange, WindowJoined
from headway.operators.joins.table import TableJoin
from headway.operators.joins.window import Cogroup, WindowJoin
from headway.operators.windows.windowers import Windower

if TYPE_CHECKING:
    from headway.declare.streams import KeyedStream, Processed

__all__ = ["JoinSteps"]

T = TypeVar("T")
U = TypeVar("U")
R = TypeVar("R")


class JoinSteps(KeyedSteps[T]):
    """Steps of keyed streams: joins. Both streams have the same key, and are read in the order of event time."""

    @overload
    def interval_join(
        self,
        name: str,
        right: KeyedStream[R],
        *,
        lower: Duration,
        upper: Duration,
        how: Literal["inner"] = "inner",
        lower_exclusive: bool = False,
        upper_exclusive: bool = False,
        was: Was = (),
    ) -> Processed[Joined[T, R]]: ...

    @overload
    def interval_join(
        self,
        name: str,
        right: KeyedStream[R],
        *,
        lower: Duration,
        upper: Duration,
        how: How = "inner",
        lower_exclusive: bool = False,
        upper_exclusive: bool = False,
        was: Was = (),
    ) -> Processed[Joined[Optional[T], Optional[R]]]: ...

    @overload
    def interval_join(
        self,
        name: str,
        right: KeyedStream[R],
        *,
        lower: Duration,
        upper: Duration,
        how: Literal["inner"] = "inner",
        lower_exclusive: bool = False,
        upper_exclusive: bool = False,
        select: Callable[[T, R], U],
        into: Any = None,
        was: Was = (),
    ) -> Processed[U]: ...

    @overload
    def interval_join(
        self,
        name: str,
        right: KeyedStream[R],
        *,
        lower: Duration,
        upper: Duration,
        how: How,
        lower_exclusive: bool = False,
        upper_exclusive: bool = False,
        select: Callable[[Optional[T], Optional[R]], U],
        into: Any = None,
        was: Was = (),
    ) -> Processed[U]: ...

    def interval_join(
        self,
        name: str,
        right: KeyedStream[R],
        *,
        lower: Duration,
        upper: Duration,
        how: How = "inner",
        lower_exclusive: bool = False,
        upper_exclusive: bool = False,
        select: Optional[Callable[[Any, Any], Any]] = None,
        into: Any = None,
        was: Was = (),
    ) -> Processed[Any]:
        """Pairs of events of the same key whose times lie close to each other.

        `lower="-5m", upper="10m"` means from 5 minutes before the left event to 10 minutes after it, bounds included.
        Emits a `Joined(key, left, right)`, or `select(left, right)` of type `into`, when the later of the two comes.
        With `how` left, right or full, what stays without a partner is emitted when its interval is over. State: the
        events of a key whose interval is not over. See `IntervalJoin`.
        """
        _check_keyed("interval_join", name, right)
        return self._process(
            name,
            was,
            lambda: IntervalJoin(
                lower=lower,
                upper=upper,
                how=how,
                lower_exclusive=lower_exclusive,
                upper_exclusive=upper_exclusive,
                select=select,
                into=into,
            ),
            right=right,
        )

    @overload
    def window_join(
        self, name: str, right: KeyedStream[R], windower: Windower, *, how: Literal["inner"] = "inner", was: Was = ()
    ) -> Processed[WindowJoined[T, R]]: ...

    @overload
    def window_join(
        self, name: str, right: KeyedStream[R], windower: Windower, *, how: How, was: Was = ()
    ) -> Processed[WindowJoined[Optional[T], Optional[R]]]: ...

    def window_join(
        self, name: str, right: KeyedStream[R], windower: Windower, *, how: How = "inner", was: Was = ()
    ) -> Processed[Any]:
        """Pairs of events of the same key in the same window: `window_join("paid", payments, hw.tumbling("1h"))`.

        Emits a `WindowJoined(key, start, end, left, right)` for each pair at the last millisecond of the window; with
        `how` left, right or full also what has no partner in it. A session is one of both streams together. State: the
        events of the open windows. See `WindowJoin`.
        """
        _check_keyed("window_join", name, right)
        return self._process(name, was, lambda: WindowJoin(windower, how=how), right=right)

    def cogroup(
        self, name: str, right: KeyedStream[R], windower: Windower, *, was: Was = ()
    ) -> Processed[Cogrouped[T, R]]:
        """The events of both streams in each window of a key: a `Cogrouped(key, start, end, lefts, rights)` at its end.

        What `map` or `flat_map` make of it is a join of your own. See `Cogroup`.
        """
        _check_keyed("cogroup", name, right)
        return self._process(name, was, lambda: Cogroup(windower), right=right)

    @overload
    def asof_join(
        self,
        name: str,
        table: KeyedStream[R],
        *,
        how: Literal["inner"] = "inner",
        delete: Optional[Predicate[R]] = None,
        expire_after: Optional[Duration] = None,
        was: Was = (),
    ) -> Processed[Joined[T, R]]: ...

    @overload
    def asof_join(
        self,
        name: str,
        table: KeyedStream[R],
        *,
        how: Literal["inner", "left"],
        delete: Optional[Predicate[R]] = None,
        expire_after: Optional[Duration] = None,
        was: Was = (),
    ) -> Processed[Joined[T, Optional[R]]]: ...

    @overload
    def asof_join(
        self,
        name: str,
        table: KeyedStream[R],
        *,
        how: Literal["inner"] = "inner",
        delete: Optional[Predicate[R]] = None,
        expire_after: Optional[Duration] = None,
        select: Callable[[T, R], U],
        into: Any = None,
        was: Was = (),
    ) -> Processed[U]: ...

    @overload
    def asof_join(
        self,
        name: str,
        table: KeyedStream[R],
        *,
        how: Literal["inner", "left"],
        delete: Optional[Predicate[R]] = None,
        expire_after: Optional[Duration] = None,
        select: Callable[[T, Optional[R]], U],
        into: Any = None,
        was: Was = (),
    ) -> Processed[U]: ...

    def asof_join(
        self,
        name: str,
        table: KeyedStream[R],
        *,
        how: Literal["inner", "left"] = "inner",
        delete: Optional[Predicate[R]] = None,
        expire_after: Optional[Duration] = None,
        select: Optional[Callable[[T, Any], Any]] = None,
        into: Any = None,
        was: Was = (),
    ) -> Processed[Any]:
        """Each event with the version of a table that holds at its time: a temporal join.

        An event of `table` is a new version of its key; one that meets `delete` ends it, and `expire_after` ends it
        that long after its time. Emits a `Joined(key, left, right)`, or `select(left, right)`; with `how="left"` also
        events without a version. State: one version a key. See `AsofJoin`.
        """
        _check_keyed("asof_join", name, table)
        return self._process(
            name,
            was,
            lambda: AsofJoin(
                how=how,
                delete=delete,
                expire_after=expire_after,
                select=select,
                into=into,
            ),
            right=table,
        )

    @overload
    def table_join(
        self,
        name: str,
        other: KeyedStream[R],
        *,
        how: Literal["inner"] = "inner",
        delete: Optional[Predicate[T]] = None,
        other_delete: Optional[Predicate[R]] = None,
        was: Was = (),
    ) -> Processed[TableChange[T, R]]: ...

    @overload
    def table_join(
        self,
        name: str,
        other: KeyedStream[R],
        *,
        how: How,
        delete: Optional[Predicate[T]] = None,
        other_delete: Optional[Predicate[R]] = None,
        was: Was = (),
    ) -> Processed[TableChange[Optional[T], Optional[R]]]: ...

    def table_join(
        self,
        name: str,
        other: KeyedStream[R],
        *,
        how: How = "inner",
        delete: Optional[Predicate[T]] = None,
        other_delete: Optional[Predicate[R]] = None,
        was: Was = (),
    ) -> Processed[Any]:
        """Two streams of versions as tables: how the row that they have together for a key changes.

        Emits a `TableChange(key, op, before, after)` with op insert, update or delete, at most one for each key and
        time. An event that meets `delete`, or `other_delete` on the other side, ends the row of its side. State: the
        last version of each side. See `TableJoin`.
        """
        _check_keyed("table_join", name, other)
        return self._process(
            name, was, lambda: TableJoin(how=how, delete=delete, other_delete=other_delete), right=other
        )


def _check_keyed(step: str, name: str, stream: Any) -> None:
    """Raise `FlowError` when the other side of a join is not a stream with a key."""
    from headway.declare.streams import KeyedStream

    if not isinstance(stream, KeyedStream):
        fail(
            f'{step}({name!r}): the other side must be a stream with the same key, not {stream!r}: use .key_by("field")'
        )
