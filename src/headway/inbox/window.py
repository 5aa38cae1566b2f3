"""Which idempotency keys were seen lately, and what became of them."""

from __future__ import annotations

import struct
from collections import OrderedDict
from hashlib import blake2b
from typing import Final, NamedTuple, Optional

from headway.inbox.frames import Frame

__all__ = ["Seen", "Window", "hash_of"]

_PACKED: Final = struct.Struct("<16sQq")


def hash_of(data: bytes) -> bytes:
    """16 bytes that stand for a key, or for the content of records."""
    return blake2b(data, digest_size=16).digest()


class Seen(NamedTuple):
    """What became of the records that a key was given with."""

    digest: bytes
    position: int
    """The number of the last one of them."""
    received_ms: int


class Window:
    """The keys of the last `length_ms`, but of no more than the last `most` ones.

    It costs some 220 bytes for each key. Time comes with the records: keys are added in its order.

    >>> window = Window(1_000, most=2)
    >>> for number in range(3):
    ...     window.add(hash_of(b"%d" % number), Seen(b"d" * 16, number, 5_000))
    >>> len(window), window.find(hash_of(b"2"), now_ms=6_000)
    (2, Seen(digest=b'dddddddddddddddd', position=2, received_ms=5000))
    >>> window.find(hash_of(b"2"), now_ms=6_001), window.find(hash_of(b"0"), now_ms=5_000)
    (None, None)
    """

    def __init__(self, length_ms: int, most: int) -> None:
        self.length_ms = length_ms
        self._most = most
        # Not a dict: to take the first item out of one again and again walks over all that were before it.
        self._seen: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, key: bytes, now_ms: int) -> Optional[Seen]:
        """What became of a key's records; None for one that was not seen within the window."""
        packed = self._seen.get(key)
        if packed is None:
            return None
        seen = Seen(*_PACKED.unpack(packed))
        return seen if seen.received_ms >= now_ms - self.length_ms else None

    def add(self, key: bytes, seen: Seen) -> None:
        """Keep a key, as the latest one."""
        self._seen.pop(key, None)  # So that it is not where an older one of the same key was.
        self._seen[key] = _PACKED.pack(*seen)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def forget(self, now_ms: int) -> None:
        """Drop what is older than the window. Costs what is dropped."""
        before_ms = now_ms - self.length_ms
        while self._seen:
            key = next(iter(self._seen))
            if _PACKED.unpack(self._seen[key])[2] >= before_ms:
                return
            self._seen.popitem(last=False)

    def take(self, frame: Frame) -> None:
        """Add the keys of a frame of the log, in the order of the log."""
        for entry in frame.entries:
            self.add(entry.key, Seen(entry.digest, frame.first + entry.first + entry.count - 1, frame.received_ms))
