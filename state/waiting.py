"""Records that have arrived but are later than the watermark, in memory to a bound, then in RocksDB."""

from __future__ import annotations

from typing import Any

__all__ = ["InputCodec", "Waiting"]


class InputCodec:
    """How the records of one input of a stage are stored while they wait.

    Records are `(time_ms, key, value)`, or `(time_ms, key, value, origin)` when `from_stage`. `value_type` is what
    msgspec decodes a value to.
    """

    def __init__(self, value_type: Any = Any, *, from_stage: bool = False) -> None:
        raise NotImplementedError


class Waiting:
    """The waiting records of all inputs of one stage."""

    def add(self, rank: int, part: str, records: list[Any]) -> None:
        """Take `records` of input `rank`, which arrived in this order through channel `part`. Keeps no hold of the list."""
        raise NotImplementedError

    def release(self, watermark_ms: int) -> list[Any]:
        """Take out all records with time <= `watermark_ms`, in order.

        The order is: time, then rank, then, for an input fed by a source, (part, arrival), for an input fed by a stage,
        (origin, arrival). A stage with one input gets the records themselves, one with several `(rank, record)` pairs.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError
