"""Windowers: what says which windows there are, as values that are written into a flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from headway.basics.times import Duration, duration_ms
from headway.errors import FlowError

__all__ = [
    "Aligned",
    "CountWindow",
    "Cumulative",
    "Session",
    "Sliding",
    "Tumbling",
    "Windower",
    "count_window",
    "cumulative",
    "session",
    "sliding",
    "tumbling",
]


class Windower:
    """What divides the events of a key into windows: a frozen value, made by `tumbling`, `session` and so on."""


class Aligned(Windower):
    """Windows that are the same for all keys: a time alone says which ones it is in.

    Time is cut into *panes*, of which every window is a run; an event belongs to one pane however many windows
    overlap there. A window `[start, end)` is named by its end: no two end together, and they start in the order
    in which they end. All times are epoch milliseconds.
    """

    overlapping = False
    """Whether a time may be in several windows."""
    sliding = False
    """Whether the start of a window may be within the one before: it then lets go of some panes, but not of all."""

    @property
    def pane_ms(self) -> Optional[int]:
        """The length of panes, where all are equally long and a window ends with each; else None."""
        return None

    def pane(self, time_ms: int) -> int:
        """The start of the pane that the time is in."""
        raise NotImplementedError

    def first_end(self, pane: int) -> int:
        """The end of the first window that has this pane."""
        raise NotImplementedError

    def last_end(self, pane: int) -> int:
        """The end of the last window that has this pane."""
        raise NotImplementedError

    def next_end(self, end: int) -> int:
        """The end of the window after the one that ends at `end`."""
        raise NotImplementedError

    def start(self, end: int) -> int:
        """The start of the window that ends at `end`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Tumbling(Aligned):
    """Windows of one length, one after the other; see `tumbling`."""

    size_ms: int
    offset_ms: int = 0

    def pane(self, time_ms: int) -> int:
        """The start of the window, which is its only pane."""
        return time_ms - (time_ms - self.offset_ms) % self.size_ms

    def first_end(self, pane: int) -> int:
        """The end of the window."""
        return pane + self.size_ms

    last_end = first_end

    def next_end(self, end: int) -> int:
        """One size later."""
        return end + self.size_ms

    def start(self, end: int) -> int:
        """One size earlier."""
        return end - self.size_ms


@dataclass(frozen=True)
class Sliding(Aligned):
    """Windows of one length, a new one at each step; see `sliding`.

    A pane begins wherever a window starts or ends: one pane a step, or two where the step does not divide the size.
    """

    size_ms: int
    every_ms: int
    offset_ms: int = 0

    overlapping = True
    sliding = True

    @property
    def pane_ms(self) -> Optional[int]:
        """One step, where it divides the size."""
        return None if self.size_ms % self.every_ms else self.every_ms

    def pane(self, time_ms: int) -> int:
        """The last time up to `time_ms` at which a window starts or ends."""
        past_start = (time_ms - self.offset_ms) % self.every_ms
        past_end = past_start - self.size_ms % self.every_ms
        return time_ms - (past_start if past_end < 0 else past_end)

    def first_end(self, pane: int) -> int:
        """The next end after the start of the pane."""
        return pane + self.every_ms - (pane - self.offset_ms - self.size_ms) % self.every_ms

    def last_end(self, pane: int) -> int:
        """The end of the window that starts last, not after the pane."""
        return pane - (pane - self.offset_ms) % self.every_ms + self.size_ms

    def next_end(self, end: int) -> int:
        """One step later."""
        return end + self.every_ms

    def start(self, end: int) -> int:
        """One size earlier."""
        return end - self.size_ms


@dataclass(frozen=True)
class Cumulative(Aligned):
    """Windows that share a start and grow step by step; see `cumulative`."""

    size_ms: int
    step_ms: int
    offset_ms: int = 0

    overlapping = True

    @property
    def pane_ms(self) -> Optional[int]:
        """One step."""
        return self.step_ms

    def pane(self, time_ms: int) -> int:
        """The start of the step."""
        return time_ms - (time_ms - self.offset_ms) % self.step_ms

    def first_end(self, pane: int) -> int:
        """The end of the step."""
        return pane + self.step_ms

    def last_end(self, pane: int) -> int:
        """The end of the longest window."""
        return pane - (pane - self.offset_ms) % self.size_ms + self.size_ms

    def next_end(self, end: int) -> int:
        """One step later."""
        return end + self.step_ms

    def start(self, end: int) -> int:
        """Where the longest window that ends then or later starts."""
        return end - 1 - (end - 1 - self.offset_ms) % self.size_ms


@dataclass(frozen=True)
class Session(Windower):
    """Windows that last as long as events keep coming; see `session`."""

    gap_ms: int
    max_length_ms: Optional[int] = None


@dataclass(frozen=True)
class CountWindow(Windower):
    """Windows of a number of events; see `count_window`."""

    size: int
    every: int
    timeout_ms: Optional[int] = None


def tumbling(size: Duration, *, offset: Duration = 0) -> Tumbling:
    """Windows of one length, one after the other, aligned to the epoch in UTC; `offset` moves them all later.

    >>> tumbling("1m").pane(61_000), tumbling("1d", offset="6h")
    (60000, Tumbling(size_ms=86400000, offset_ms=21600000))
    """
    size_ms = _positive_ms(size, "tumbling", "size")
    return Tumbling(size_ms, duration_ms(offset, what="offset") % size_ms)


def sliding(size: Duration, *, every: Duration, offset: Duration = 0) -> Sliding:
    """Windows of one length, of which a new one starts at each step: "the last hour, every five minutes".

    Aligned to the epoch in UTC; `offset` moves them all later. An event costs the same however many windows it is in.

    >>> sliding("1h", every="5m")
    Sliding(size_ms=3600000, every_ms=300000, offset_ms=0)
    """
    size_ms = _positive_ms(size, "sliding", "size")
    every_ms = _positive_ms(every, "sliding", "every")
    if every_ms > size_ms:
        msg = (
            f"sliding({size!r}, every={every!r}): between two windows there would be events in none of them; "
            "every must not be longer than the size"
        )
        raise FlowError(msg)
    return Sliding(size_ms, every_ms, duration_ms(offset, what="offset") % every_ms)


def cumulative(size: Duration, *, step: Duration, offset: Duration = 0) -> Cumulative:
    """Windows that share a start and end a step further each time, up to the size: "today so far, every hour".

    Aligned to the epoch in UTC; `offset` moves them all later. The step must divide the size.

    >>> cumulative("1d", step="1h").start(7_200_000)
    0
    """
    size_ms = _positive_ms(size, "cumulative", "size")
    step_ms = _positive_ms(step, "cumulative", "step")
    if size_ms % step_ms:
        msg = f'cumulative({size!r}, step={step!r}): the step must divide the size, as in cumulative("1d", step="1h")'
        raise FlowError(msg)
    return Cumulative(size_ms, step_ms, duration_ms(offset, what="offset") % size_ms)


def session(gap: Duration, *, max_length: Optional[Duration] = None) -> Session:
    """Windows that last until nothing has come for `gap`: they end `gap` after their last event.

    An event exactly `gap` after the one before begins a new session. With `max_length` a session ends at the latest
    that long after its first event, and what follows begins the next one.

    >>> session("30m")
    Session(gap_ms=1800000, max_length_ms=None)
    """
    gap_ms = _positive_ms(gap, "session", "gap")
    return Session(gap_ms, None if max_length is None else _positive_ms(max_length, "session", "max_length"))


def count_window(size: int, *, every: Optional[int] = None, timeout: Optional[Duration] = None) -> CountWindow:
    """Windows of `size` events of a key; with `every`, the last `size` events at each so many events.

    The first sliding windows of a key have fewer events. A window that does not get full stays open for ever,
    unless `timeout` says how long after its first event it ends anyway; sliding ones have no timeout.

    >>> count_window(100, every=10)
    CountWindow(size=100, every=10, timeout_ms=None)
    """
    for name, value in (("size", size), ("every", every)):
        if value is not None and (type(value) is not int or value < 1):
            msg = f"count_window(): {name}={value!r} is not a number of events, such as 100"
            raise FlowError(msg)
    step = size if every is None else every
    if step > size:
        msg = f"count_window({size!r}, every={every!r}): every must not be more than the size"
        raise FlowError(msg)
    if timeout is None:
        return CountWindow(size, step)
    if step != size:
        msg = f"count_window({size!r}, every={every!r}): sliding count windows have no timeout; leave out one of them"
        raise FlowError(msg)
    return CountWindow(size, step, _positive_ms(timeout, "count_window", "timeout"))


def _positive_ms(value: Duration, function: str, what: str) -> int:
    length_ms = duration_ms(value, what=f"{function}(): {what}")
    if length_ms == 0:
        msg = f'{function}(): {what} must be longer than nothing, such as "1m", not {value!r}'
        raise FlowError(msg)
    return length_ms
