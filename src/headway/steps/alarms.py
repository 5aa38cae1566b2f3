"""Times at which something has to be looked at: many may be set, moved and cleared, and one timer serves them all."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, Optional, TypeVar

__all__ = ["Alarms"]

K = TypeVar("K")
_STALE_MOST: Final = 64


class Alarms(Generic[K]):
    """The next alarm of each key.

    >>> alarms = Alarms[str]()
    >>> alarms.set("a", 50); alarms.set("b", 20); alarms.set("a", 10)
    >>> alarms.next_at_ms, alarms.due(20), alarms.next_at_ms
    (10, ['a', 'b'], None)
    """

    def __init__(self) -> None:
        self._at: dict[K, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._numbers = count()

    def set(self, key: K, at_ms: Optional[int]) -> None:
        """Set the alarm of a key, in place of the one that it has; None clears it."""
        if at_ms is None:
            self.clear(key)
            return
        number = next(self._numbers)
        self._at[key] = (at_ms, number)
        heappush(self._heap, (at_ms, number, key))
        if len(self._heap) > 2 * len(self._at) + _STALE_MOST:
            self._heap = [(at_ms, number, key) for key, (at_ms, number) in self._at.items()]
            heapify(self._heap)

    def clear(self, key: K) -> None:
        """A key has no alarm any more."""
        self._at.pop(key, None)

    def due(self, now_ms: int) -> list[K]:
        """The keys whose alarms have come, in their order; these are cleared."""
        found = []
        while (at_ms := self.next_at_ms) is not None and at_ms <= now_ms:
            key = heappop(self._heap)[2]
            del self._at[key]
            found.append(key)
        return found

    @property
    def next_at_ms(self) -> Optional[int]:
        """When the next one comes."""
        while self._heap:
            at_ms, number, key = self._heap[0]
            if self._at.get(key) == (at_ms, number):
                return at_ms
            heappop(self._heap)
        return None
