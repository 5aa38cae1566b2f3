"""Receipts: where an event stands in its log, as a token that a client hands on without looking into it.

Whoever has written an event gets one, and may give it to whoever is asked for decision state: `at_least=RECEIPT` is
answered with state that includes the event. A token is text that needs no quoting in a URL. Where a log and a position
were told, as ingest by HTTP does, `LOG@POSITION` says the same.
"""

from __future__ import annotations

import base64
import binascii
from typing import Optional

import msgspec

__all__ = ["Receipt"]


class Receipt(msgspec.Struct, frozen=True, array_like=True):
    """The place of one event.

    >>> token = Receipt("orders", "orders/3", 17).token()
    >>> token, Receipt.of(token)
    ('r1.lKZvcmRlcnOob3JkZXJzLzMRwA', Receipt(log='orders', partition='orders/3', position=17, time_ms=None))
    """

    log: str
    """The name of the source that reads the log; empty for the one that has the partition."""
    partition: str
    position: int
    """The number of the record in its partition, from 0."""
    time_ms: Optional[int] = None
    """The time of the event, where whoever has written it knows: then it is known sooner that the state has it."""

    def token(self) -> str:
        """The text that stands for it."""
        return "r1." + base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")

    @classmethod
    def of(cls, token: str) -> Receipt:
        """What a token, or `LOG@POSITION`, stands for; raises `ValueError` for what is neither.

        >>> Receipt.of("orders/3@17")
        Receipt(log='', partition='orders/3', position=17, time_ms=None)
        """
        partition, _, position = token.rpartition("@")
        if partition and position.isascii() and position.isdigit() and len(position) < 19:
            return cls("", partition, int(position))
        version, _, text = token.partition(".")
        try:
            if version != "r1" or not text.isascii():
                raise ValueError
            found = msgspec.msgpack.decode(
                base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), type=cls
            )
        except (ValueError, binascii.Error, msgspec.DecodeError):
            msg = f"{token[:100]!r} is not a receipt: give the one that came with the acknowledgement of the event"
            raise ValueError(msg) from None
        return found
