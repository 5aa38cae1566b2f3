"""What a transport knows of a record besides its value: its key, headers, time and place."""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["RecordPart", "record_headers", "record_key", "record_offset", "record_partition", "record_time"]


class RecordPart(Enum):
    """A part of a record that a flow can use; not every input has all of them.

    As the time of a source, as the key of `key_by`, or as fields of its events:

    >>> import headway as hw
    >>> class Order(hw.Event):
    ...     cents: int
    ...     customer: str = ""
    ...     headers: dict[str, str] = {}
    >>> flow = hw.Flow("orders")
    >>> log = [hw.Record(b'{"cents": 700}', key=b"ann", time_ms=1_700_000_000_000)]
    >>> orders = flow.source(
    ...     "orders",
    ...     Order,
    ...     hw.items(log),
    ...     time=hw.record_time,
    ...     fields={"customer": hw.record_key, "headers": hw.record_headers},
    ... )
    """

    TIME = "record_time"
    """When the record was made, or when its log took it, as the log chooses; in epoch milliseconds."""
    KEY = "record_key"
    """The key that it was written with."""
    HEADERS = "record_headers"
    """What was written beside it, by names; of a name that is there twice, the last one."""
    OFFSET = "record_offset"
    """Its number in its partition, which rises but may have gaps."""
    PARTITION = "record_partition"
    """The name of its partition."""

    def __repr__(self) -> str:
        return f"hw.{self.value}"


record_time: Final = RecordPart.TIME
record_key: Final = RecordPart.KEY
record_headers: Final = RecordPart.HEADERS
record_offset: Final = RecordPart.OFFSET
record_partition: Final = RecordPart.PARTITION
