"""Which events of a partition are late: behind the watermark that it had when they came."""

from __future__ import annotations

from itertools import accumulate
from operator import le
from typing import Final, Optional

from headway.runtime.column_steps import Columns, select
from headway.runtime.partition import Partition

__all__ = ["NO_SPAN", "Span", "split_late"]

Span = tuple[int, int, bool]
"""The earliest and the latest of some times, and whether they come in order."""
NO_SPAN: Final[Span] = (0, 0, True)


def split_late(
    partition: Partition, columns: Columns, span: Span, out_of_order_ms: int
) -> tuple[Columns, Optional[Columns]]:
    """Part the on-time events from those behind the watermark that the partition had when they came."""
    times = columns.times
    if not times:
        return columns, None
    before = times[0] if partition.max_time is None else partition.max_time
    earliest, latest, in_order = span
    latest = partition.max_time = max(before, latest)
    if earliest >= latest - out_of_order_ms or (in_order and earliest >= before - out_of_order_ms):
        return columns, None
    limits = [top - out_of_order_ms for top in accumulate(times, max, initial=before)][:-1]
    on_time = list(map(le, limits, times))
    if all(on_time):
        return columns, None
    is_late = [not good for good in on_time]
    return select(columns, on_time, times), select(columns, is_late, limits)
