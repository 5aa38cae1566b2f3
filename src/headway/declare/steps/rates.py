"""Steps of keyed streams: fewer events, such as without repeats or at most so many per minute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Optional, TypeVar

from headway.basics.declaring import Was
from headway.basics.times import Duration
from headway.declare.steps.base import KeyedSteps
from headway.operators.debounce import Debounce
from headway.operators.dedup import Dedup
from headway.operators.options import By
from headway.operators.rate_limit import RateLimit
from headway.operators.throttle import Throttle

if TYPE_CHECKING:
    from headway.declare.streams import Processed

__all__ = ["RateSteps"]

T = TypeVar("T")


class RateSteps(KeyedSteps[T]):
    """Steps of keyed streams: fewer events, such as without repeats or at most so many per minute."""

    def dedup(self, name: str, *, by: Optional[By] = None, within: Duration, was: Was = ()) -> Processed[T]:
        """Passes the first event of each id within a horizon; repeats go to the side output `duplicates`.

        `by` is a field, several, or a function; without it the key is the id, which keeps the rows small. The horizon
        counts from the event that was passed, inclusive. See `Dedup`.
        """
        return self._process(name, was, lambda: Dedup(by=by, within=within))

    def debounce(
        self, name: str, quiet: Duration, *, max_wait: Optional[Duration] = None, was: Was = ()
    ) -> Processed[T]:
        """Emits the last event of a key once no other has followed for a duration.

        `max_wait` is the longest wait from the first event of such a burst. See `Debounce`.
        """
        return self._process(name, was, lambda: Debounce(quiet=quiet, max_wait=max_wait))

    def throttle(
        self, name: str, per: Duration, *, emit: Literal["first", "last", "both"] = "first", was: Was = ()
    ) -> Processed[T]:
        """Passes one event of each period, which begins with an event: the first, the last at its end, or both.

        See `Throttle`.
        """
        return self._process(name, was, lambda: Throttle(per=per, emit=emit))

    def rate_limit(
        self, name: str, limit: int, *, per: Duration = "1m", burst: Optional[int] = None, was: Was = ()
    ) -> Processed[T]:
        """Passes at most `limit` events per period on average; others go to the side output `overflow`.

        A token bucket in event time, in exact integers, of `burst` tokens (default: `limit`). See `RateLimit`.
        """
        return self._process(name, was, lambda: RateLimit(limit=limit, per=per, burst=burst))
