"""Steps of keyed streams: an event compared with those before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union

from headway.basics.declaring import Was
from headway.basics.times import Duration
from headway.declare.steps.base import KeyedSteps
from headway.operators.lag import Lag, Lagged
from headway.operators.on_change import Changed, OnChange
from headway.operators.options import By
from headway.operators.rank import Rank, Ranking
from headway.operators.sequence_check import SequenceCheck

if TYPE_CHECKING:
    from headway.declare.streams import Processed

__all__ = ["ChangeSteps"]

T = TypeVar("T")


class ChangeSteps(KeyedSteps[T]):
    """Steps of keyed streams: an event compared with those before it."""

    def on_change(
        self,
        name: str,
        *,
        by: Optional[By] = None,
        first: bool = True,
        expire_after: Optional[Duration] = None,
        was: Was = (),
    ) -> Processed[Changed[T]]:
        """Emits an event whose value differs from the key's previous one, together with that one.

        `by` is a field, several, or a function; without it whole events are compared. `first` says whether a key's
        first event counts. A key is forgotten when nothing has come for `expire_after`. See `OnChange`.
        """
        return self._process(name, was, lambda: OnChange(by=by, first=first, expire_after=expire_after))

    def lag(
        self, name: str, n: int = 1, *, expire_after: Optional[Duration] = None, was: Was = ()
    ) -> Processed[Lagged[T]]:
        """Emits each event with the n-th one before it, as SQL's `LAG` does.

        A key is forgotten when nothing has come for `expire_after`. See `Lag`.
        """
        return self._process(name, was, lambda: Lag(n=n, expire_after=expire_after))

    def rank(
        self,
        name: str,
        *,
        by: Union[str, Callable[[T], Any]],
        k: int = 1,
        descending: bool = True,
        within: Optional[Duration] = None,
        expire_after: Optional[Duration] = None,
        was: Was = (),
    ) -> Processed[Ranking[T]]:
        """Emits the top `k` events of the key by a value, each time that they change; `within` ranks a horizon only.

        As SQL's `ROW_NUMBER() OVER (PARTITION BY key ORDER BY value DESC, time) <= k`, kept up to date. See `Rank`.
        """
        return self._process(
            name, was, lambda: Rank(by=by, k=k, descending=descending, within=within, expire_after=expire_after)
        )

    def sequence_check(
        self,
        name: str,
        *,
        number: Union[str, Callable[[T], Any]],
        start: Optional[int] = None,
        wait: Optional[Duration] = None,
        gaps_max: int = 100,
        expire_after: Optional[Duration] = None,
        was: Was = (),
    ) -> Processed[T]:
        """Passes events whose `number` is new; missing, repeated and late numbers go to side outputs.

        `gaps` (with `wait` only what is still missing then), `repeats` (not passed on), `reordered` (passed on too).
        `start` is the first number expected; without it whichever comes first. See `SequenceCheck`.
        """
        return self._process(
            name,
            was,
            lambda: SequenceCheck(number=number, start=start, wait=wait, gaps_max=gaps_max, expire_after=expire_after),
        )
