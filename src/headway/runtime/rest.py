"""How a worker sleeps while a flow that follows its input is calm: seldom awake, and in step with its peers.

The engine ends the epoch of a slot at the first call after its time is over, and does not call that slot again before
all others have ended theirs too and everything is written. Meanwhile it does not sleep: it looks around all the time,
unless the slot has asked to be called later. Slots of several processes that end their epochs half a second apart keep
a core busy for half of each second, and read nothing in that half. So a slot that is ahead of others ends its next
epoch later by as much: it sleeps when the time comes. After some epochs all end theirs together, and stay so, for
nobody sleeps past the end of an epoch.

A worker may have no slot: there are fewer than workers where a flow reads one file. The engine would look around a
thousand times a second in it. There one of the keyed stages asks to be woken, and sleeps in the place of a slot. In a
flow without a keyed stage nothing asks: such a worker has nothing to do, and need not be started.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["NAP_MS", "POLL_MS", "Rest", "Watch"]

NAP_MS: Final = 30
"""How long the slots of a calm process sleep, in turn: to look around a thousand times a second takes a fiftieth of a
core. It is a part of what a first event after silence waits, once in each process that it comes through."""
POLL_MS: Final = 55
"""How long a slot waits, at most, before it looks again for input: where no input tells by itself that there is more,
the naps are as long, for to be awake in between finds nothing."""
_IN_STEP_MS: Final = 3
_HOLD_MS_MAX: Final = 40
"""By how much an epoch is made longer at most, since nothing is read meanwhile."""
_LOOK_MS: Final = 10
_LOOK_BUSY_MS: Final = 500


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


class Watch:
    """Lets a worker sleep that has no slot: one of its keyed stages keeps watch, the first that asks for it.

    It sleeps only while the flow is calm, and not from the end of an epoch to the begin of the next one: then all wait
    for what it writes. `last_closed_ms` and `last_begun_ms` tell when a slot of any worker has last ended an epoch and
    begun one, on the clock of `clock_ms`, and `has_slots` whether this worker has any. What the keeper does when it is
    woken for nothing else costs microseconds.
    """

    def __init__(
        self,
        epoch_ms: int,
        clock_ms: Callable[[], int],
        last_closed_ms: Callable[[], int],
        last_begun_ms: Callable[[], int],
        is_calm: Callable[[], bool],
        has_slots: Callable[[], bool],
        nap_ms: int = NAP_MS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._longest_ms = nap_ms
        self._epoch_ms = epoch_ms
        self._clock_ms = clock_ms
        self._last_closed_ms = last_closed_ms
        self._last_begun_ms = last_begun_ms
        self._is_calm = is_calm
        self._has_slots = has_slots
        self._sleep = sleep
        self._keeper: object = None

    def is_kept_by(self, stage: object) -> bool:
        """Whether it is this stage that is to be woken, and to `rest` then."""
        if self._has_slots():
            return False
        if self._keeper is None:
            self._keeper = stage
        return self._keeper is stage

    def pause_ms(self) -> int:
        """After how many milliseconds the keeper is to be woken next; 0 for at once."""
        if not self._is_calm():
            return _LOOK_BUSY_MS
        return 0 if self._nap_ms() else _LOOK_MS

    def rest(self) -> None:
        """Sleep for a while, if this is a time to."""
        if self._is_calm():
            nap_ms = self._nap_ms()
            if nap_ms:
                self._sleep(nap_ms / 1_000)

    def _nap_ms(self) -> int:
        closed_ms = self._last_closed_ms()
        if self._last_begun_ms() < closed_ms:
            return 0
        left_ms = closed_ms + self._epoch_ms - self._clock_ms()
        return min(self._longest_ms, left_ms) if left_ms >= _IN_STEP_MS else 0
