"""Readers that are read in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.kafka_harness import eventually

from headway.connectors.base import PartitionReader
from headway.formats.json import Json

__all__ = ["read_out", "taking"]


def read_out(reader: PartitionReader, event_type: Any) -> list[int]:
    """The numbers `n` of the events that are read to the end."""
    decoder = Json().decoder(event_type)
    found: list[int] = []

    def is_over() -> bool:
        chunk = reader.read(1 << 16)
        if chunk is not None:
            found.extend(event.n for event in chunk.decode(decoder).events)
        return reader.at_end and chunk is None

    eventually(is_over, f"no end after {found}")
    return found


def taking(reader: PartitionReader, event_type: Any) -> tuple[Callable[[int], bool], list[int]]:
    """What reads once and says whether so many numbers `n` have come; and those that have."""
    decoder = Json().decoder(event_type)
    found: list[int] = []

    def has(count: int) -> bool:
        chunk = reader.read(1 << 16)
        if chunk is not None:
            found.extend(event.n for event in chunk.decode(decoder).events)
        return len(found) == count

    return has, found
