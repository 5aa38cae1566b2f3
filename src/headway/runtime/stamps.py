"""Where the times of a source's events come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional

from headway.basics.scanning import span_of
from headway.basics.times import EARLIEST_MS, LATEST_MS, parse_time
from headway.connectors.base import Chunk
from headway.connectors.parts import RecordPart
from headway.graph import INGESTION_TIME, SourceNode
from headway.runtime.column_steps import Columns, select
from headway.runtime.columns import OF_THE_FLOW, column_getter, read_one_by_one
from headway.runtime.lateness import NO_SPAN, Span
from headway.runtime.rejects import Rejects
from headway.types.eventcolumns import EventColumns, listed
from headway.types.schema import decoded_type

__all__ = ["EventTimes"]


class EventTimes:
    """The times of a source's events, a column for each block."""

    def __init__(self, node: SourceNode, rejects: Rejects, wall_ms: Callable[[], int]) -> None:
        self._node = node
        self._rejects = rejects
        self._wall_ms = wall_ms
        self._of_values: Optional[Callable[[Sequence[Any]], list[Any]]] = None
        if isinstance(node.time, str) or callable(node.time):
            self._of_values = column_getter(node.time, node.event_type)
        self._field = node.time if isinstance(node.time, str) else None
        self._are_int = isinstance(node.time, str) and decoded_type(node.event_type, node.time) is int
        """Whether the decoder lets nothing but whole numbers into the field of the time."""

    def read(self, chunk: Chunk, columns: Columns, max_time: Optional[int]) -> tuple[Columns, Span]:
        """Add the column of times, and say how far they go; events without a usable time become dead letters.

        `max_time` is the latest time of their partition so far.
        """
        of_values = self._of_values
        if of_values is None:
            return self._of_log(chunk, columns, max_time)
        try:
            if not columns.values:
                return columns, NO_SPAN
            times, span = self._whole(columns.values) or _listed(of_values(columns.values), are_int=self._are_int)
            if span is not None and span[0] >= EARLIEST_MS and span[1] <= LATEST_MS:
                return columns._replace(times=times), span
        except OF_THE_FLOW:  # Which event it was, and whose fault, is found out below.
            pass
        usable, times = read_one_by_one(
            columns,
            lambda value: parse_time(of_values((value,))[0]),
            self._rejects,
            about="time",
            step=f"time= of the source {self._node.name!r} ({self._node.where})",
        )
        return _spanned(usable._replace(times=times))

    def _whole(self, values: Sequence[Any]) -> Optional[tuple[Sequence[int], Span]]:
        """The times and their span, where a column has them that need not be listed for it."""
        found = values.numbers_of(self._field) if self._field and isinstance(values, EventColumns) else None
        return None if found is None else (found, found.span)

    def _of_log(self, chunk: Chunk, columns: Columns, max_time: Optional[int]) -> tuple[Columns, Span]:
        if self._node.time is INGESTION_TIME:
            times = _stamps(chunk, columns.ordinals, self._wall_ms(), max_time)
            return _spanned(columns._replace(times=times))
        times = chunk.parts(RecordPart.TIME, columns.ordinals)
        mask = [time_ms is not None and EARLIEST_MS <= time_ms <= LATEST_MS for time_ms in times]
        if all(mask):
            return _spanned(columns._replace(times=times))
        for ordinal, time_ms, is_usable in zip(columns.ordinals, times, mask):
            if not is_usable:
                told = "its log has no time of it" if time_ms is None else f"{time_ms} is not in the years 1000 to 8999"
                self._rejects.reject(ordinal, f"time: {told}")
        return _spanned(select(columns, mask, times))


def _listed(times: list[int], *, are_int: bool) -> tuple[Sequence[int], Optional[Span]]:
    """Times, and their span if each is a whole number, of which `are_int` is sure."""
    return times, span_of(times) if are_int or set(map(type, times)) == {int} else None


def _spanned(columns: Columns) -> tuple[Columns, Span]:
    return columns, span_of(listed(columns.times)) if columns.times else NO_SPAN


def _stamps(chunk: Chunk, ordinals: Sequence[int], wall_ms: int, floor_ms: Optional[int]) -> list[int]:
    """The ingestion times of records: when their log took them, where it says so, else now; never before `floor_ms`."""
    received = chunk.receipt_times(ordinals)
    if received is None:
        return [wall_ms if floor_ms is None else max(wall_ms, floor_ms)] * len(ordinals)
    return received if floor_ms is None else [max(time_ms, floor_ms) for time_ms in received]
