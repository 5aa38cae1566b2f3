"""Where the times of a source's events come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional

from headway.connectors.base import Chunk
from headway.graph import INGESTION_TIME, SourceNode
from headway.runtime.columns import column_getter
from headway.types.schema import decoded_type

__all__ = ["stamps", "time_reader", "times_are_int"]


def time_reader(node: SourceNode, wall_ms: Callable[[], int]) -> Callable[[Sequence[Any]], list[Any]]:
    """A function from a column of events to the column of their times, as the source declares them."""
    if node.time is INGESTION_TIME:
        return lambda values: [wall_ms()] * len(values)
    return column_getter(node.time, node.event_type)


def times_are_int(node: SourceNode) -> bool:
    """Whether the decoder lets nothing but whole numbers into the field of the time."""
    return isinstance(node.time, str) and decoded_type(node.event_type, node.time) is int


def stamps(chunk: Chunk, ordinals: Sequence[int], wall_ms: int, floor_ms: Optional[int]) -> list[int]:
    """The ingestion times of records: when their log took them, where it says so, else now; never before `floor_ms`."""
    received = chunk.receipt_times(ordinals)
    if received is None:
        return [wall_ms if floor_ms is None else max(wall_ms, floor_ms)] * len(ordinals)
    return received if floor_ms is None else [max(time_ms, floor_ms) for time_ms in received]
