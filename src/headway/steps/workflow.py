"""Steps of keyed streams: what workflows need, such as deadlines and absences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from headway.declare import declaring
from headway.operators.absence import Absence, Absent
from headway.operators.conditions import Predicate
from headway.steps.base import KeyedSteps
from headway.times import Duration

if TYPE_CHECKING:
    from headway.streams import Processed

__all__ = ["WorkflowSteps"]

T = TypeVar("T")


class WorkflowSteps(KeyedSteps[T]):
    """Steps of keyed streams: what workflows need, such as deadlines and absences."""

    def absence(
        self, name: str, *, start: Predicate[T], end: Predicate[T], within: Duration, rearm: bool = True
    ) -> Processed[Absent[T]]:
        """Fires when an event that meets `start` is not followed by one that meets `end` within a duration.

        With `rearm` the duration counts from the last start, without it from the first. See `Absence`.
        """
        with declaring():
            operator: Absence[Any] = Absence(self.type, start=start, end=end, within=within, rearm=rearm)
        return self.process(name, operator)
