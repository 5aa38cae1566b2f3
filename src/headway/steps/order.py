"""The order in which calls that wait in one queue have their turn: pure, and nothing of time.

Smaller priorities go first. Within a priority each fairness key has its calls in their order, and the keys take turns
by weight: self-clocked fair queueing (Golestani 1994). The call at the head of a key has a finishing tag, one stride
behind that of the key's call before it, or, where the key has just come, behind that of the call that was served last;
the smallest tag is served. A stride is the shorter the greater the weight. So a key that was away has nothing saved up,
and one that comes again with each call waits its stride like all others.

Putting, taking and removing cost the logarithm of the number of keys and priorities that wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, Optional, TypeVar

__all__ = ["Order"]

T = TypeVar("T")
_STRIDE: Final = 1_000_000_000
"""Of weight 1."""
_STALE_MOST: Final = 64


class _Lane(Generic[T]):
    """What waits of one fairness key, by tickets."""

    __slots__ = ("head", "items", "stride")

    def __init__(self, stride: int, tag: int, number: int) -> None:
        self.items: OrderedDict[int, T] = OrderedDict()
        self.stride = stride
        self.head = (tag, number)
        """The tag of the item at the head, and a number by which equal tags are served in the order of tagging."""


class _Level(Generic[T]):
    """What waits of one priority."""

    __slots__ = ("heads", "lanes", "virtual")

    def __init__(self) -> None:
        self.lanes: dict[str, _Lane[T]] = {}
        self.heads: list[tuple[tuple[int, int], str]] = []
        """The heads of lanes, in a heap; some are out of date."""
        self.virtual = 0
        """The tag that was served last."""


class Order(Generic[T]):
    """What waits, and who is next. `weights` are those of fairness keys; 1 for all others.

    >>> order = Order[str]()
    >>> tickets = [order.put(name, 1, name[0]) for name in ("a1", "a2", "a3", "b1")]
    >>> _ = order.put("urgent", 0, "")
    >>> [order.take() for _ in range(len(order))]
    ['urgent', 'a1', 'b1', 'a2', 'a3']
    """

    def __init__(self, weights: Optional[Mapping[str, int]] = None) -> None:
        self._weights = weights or {}
        self._levels: dict[int, _Level[T]] = {}
        self._priorities: list[int] = []
        self._where: dict[int, tuple[int, str]] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._where)

    def put(self, item: T, priority: int, fairness: str) -> int:
        """Let an item wait; returns a ticket by which it can be removed."""
        ticket = next(self._numbers)
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = _Level()
            heappush(self._priorities, priority)
        lane = level.lanes.get(fairness)
        if lane is None:
            stride = _STRIDE // self._weights.get(fairness, 1)
            lane = level.lanes[fairness] = _Lane(stride, level.virtual + stride, ticket)
            self._tagged(level, lane, fairness)
        lane.items[ticket] = item
        self._where[ticket] = (priority, fairness)
        return ticket

    def take(self) -> T:
        """Take the item whose turn it is. Raises `IndexError` where none waits."""
        priority = self._priorities[0]
        level = self._levels[priority]
        while True:
            head, fairness = heappop(level.heads)
            lane = level.lanes.get(fairness)
            if lane is not None and lane.head == head:
                break
        ticket, item = lane.items.popitem(last=False)
        del self._where[ticket]
        level.virtual = head[0]
        if lane.items:
            lane.head = (level.virtual + lane.stride, next(self._numbers))
            self._tagged(level, lane, fairness)
        else:
            self._leave(priority, level, fairness)
        return item

    def remove(self, ticket: int) -> bool:
        """Remove an item that waits; returns whether it did."""
        where = self._where.pop(ticket, None)
        if where is None:
            return False
        priority, fairness = where
        level = self._levels[priority]
        lane = level.lanes[fairness]
        del lane.items[ticket]
        if not lane.items:
            self._leave(priority, level, fairness)
        return True

    @staticmethod
    def _tagged(level: _Level[T], lane: _Lane[T], fairness: str) -> None:
        heappush(level.heads, (lane.head, fairness))
        if len(level.heads) > 2 * len(level.lanes) + _STALE_MOST:
            level.heads = [(lane.head, name) for name, lane in level.lanes.items()]
            heapify(level.heads)

    def _leave(self, priority: int, level: _Level[T], fairness: str) -> None:
        """Nothing waits of a fairness key any more; nor perhaps of its priority."""
        del level.lanes[fairness]
        if not level.lanes:
            del self._levels[priority]
            self._priorities.remove(priority)
            self._priorities.sort()
