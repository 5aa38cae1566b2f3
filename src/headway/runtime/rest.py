"""How a reader slot sleeps while a flow that follows its input is calm: seldom awake, and in step with its peers.

The engine ends the epoch of a slot at the first call after its time is over, and does not call that slot again before
all others have ended theirs too and everything is written. Meanwhile it does not sleep: it looks around all the time,
unless the slot has asked to be called later. Slots of several processes that end their epochs half a second apart keep
a core busy for half of each second, and read nothing in that half. So a slot that is ahead of others ends its next
epoch later by as much: it sleeps when the time comes. After some epochs all end theirs together, and stay so, for
nobody sleeps past the end of an epoch.
"""

from __future__ import annotations

from typing import Final

__all__ = ["NAP_MS", "Rest"]

NAP_MS: Final = 30
"""How long the slots of a calm process sleep, in turn: to look around a thousand times a second takes a fiftieth of a
core. It is a part of what a first event after silence waits, once in each process that it comes through."""
_IN_STEP_MS: Final = 3
_HOLD_MS_MAX: Final = 40
"""By how much an epoch is made longer at most, since nothing is read meanwhile."""


class Rest:
    """When the epochs of one slot end, and how long it may sleep until then. Times are in milliseconds.

    The first epoch begins when the engine makes the slot, at `began_ms`.

    >>> rest = Rest(epoch_ms=1_000, began_ms=4_000)
    >>> rest.called(5_000, others_closed_ms=4_000), rest.closed(), rest.called(5_310, others_closed_ms=5_300)
    (None, 5000, None)
    >>> rest.nap_ms(5_310, 30), rest.nap_ms(5_990, 30), rest.nap_ms(6_040, 30)
    (30, 50, 0)
    """

    def __init__(self, epoch_ms: int, began_ms: int) -> None:
        self._epoch_ms = epoch_ms
        self._called_ms = began_ms
        self.is_closed = False
        """Whether an epoch has been closed, and `called` not been called since."""
        self._ends_ms = began_ms + epoch_ms
        self._hold_ms = 0

    def closed(self) -> int:
        """The epoch has been closed; returns when the engine says that was: at its last call."""
        self.is_closed = True
        return self._called_ms

    def called(self, now_ms: int, others_closed_ms: int) -> None:
        """The engine asks for more: all have closed the epoch before, the last one at the time given.

        That is looked at only when the slot `is_closed`.
        """
        if self.is_closed:
            self.is_closed = False
            ahead_ms = min(others_closed_ms, now_ms) - self._called_ms
            self._ends_ms = self._called_ms + self._epoch_ms
            self._hold_ms = min(ahead_ms, _HOLD_MS_MAX) if ahead_ms >= _IN_STEP_MS else 0
        self._called_ms = now_ms

    def nap_ms(self, now_ms: int, longest_ms: float) -> float:
        """How long to sleep; 0 when the epoch ends with this call."""
        left_ms = self._ends_ms - now_ms
        if left_ms >= longest_ms + _IN_STEP_MS:
            return longest_ms
        return left_ms + self._hold_ms if left_ms >= _IN_STEP_MS else max(0, left_ms)

    def is_over(self, now_ms: int) -> bool:
        """Whether the epoch ends with this call."""
        return now_ms > self._ends_ms - _IN_STEP_MS
