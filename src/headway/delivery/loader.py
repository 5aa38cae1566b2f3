"""Reads rows that wait into memory, as many as can soon go and no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from headway.delivery.lanes import FRESH, ActiveLane, QueueWindow
from headway.state.delivery_queue import QueueChange
from headway.state.delivery_rows import Lane, Undelivered
from headway.targets.delivered import Delivering

__all__ = ["WINDOW_ROWS", "Loader"]

WINDOW_ROWS: Final = 4_096
"""Rows in memory, at most about."""
_LANE_ROWS: Final = 64
"""Rows of one lane in memory: more wait on the disk, so that a busy key does not fill the window."""
_CHUNK: Final = 256
"""Rows of a log that are read at a time."""
_PASSES: Final = 8
"""How often all logs are read on for rows that can go, before others have their turn."""


class Loader:
    """The lanes of one output that are in memory, and which of them are ready to go. One thread."""

    def __init__(self, delivering: Delivering) -> None:
        self.windows: list[QueueWindow] = []
        self.ready: deque[ActiveLane] = deque()
        self._delivering = delivering
        self._loaded = 0
        self._turn = 0

    def fill(self, now_ms: int, wanted: int) -> bool:
        """Read rows until enough lanes are ready; returns whether none are, and yet there is more to read."""
        for _ in range(_PASSES):
            for _ in self.windows:
                if len(self.ready) >= wanted:
                    return False
                self._fill_from(self.windows[self._turn % len(self.windows)], now_ms)
                self._turn += 1
            if self.ready or not self._may_read:
                return False
        return True

    def go_on(self, lane: ActiveLane, now_ms: int) -> None:
        """An attempt is over, and the lane is not put off: its next row is ready, if it has one."""
        lane.is_queued = False
        if lane.is_log:
            self._wake_log(lane, now_ms)
        elif lane.rows:
            self._make_ready(lane)
        elif lane.state is not None:
            self._load_rows(lane)
        else:
            del lane.window.lanes[lane.name]

    def take_early(self, window: QueueWindow, rows: Iterable[Undelivered]) -> None:
        """Take rows whose epoch is not durable, as far as there is room; others are read when it is."""
        for row in rows:
            if self._loaded >= WINDOW_ROWS:
                return
            if row.number <= window.after:
                continue
            lane = window.lanes[row.row.lane] = ActiveLane(window, row.row.lane, None)
            lane.rows.append(row)
            self._loaded += 1
            window.early.add(row.number)
            self._make_ready(lane)

    def leave(self, lane: ActiveLane, row: Undelivered) -> None:
        """A row waits no longer."""
        lane.rows.remove(row)
        self._loaded -= 1

    def leave_first(self, lane: ActiveLane, count: int) -> list[Undelivered]:
        """So many of the first rows of a lane wait no longer; returns them."""
        self._loaded -= count
        return [lane.rows.popleft() for _ in range(count)]

    def put_off(self, lane: ActiveLane, state: Lane, change: QueueChange) -> None:
        """Try the first row of a lane later, and all others of it behind that one."""
        lane.is_queued = False
        change.park(lane.rows)
        change.put_lane(lane.name, state, lane.state)
        self._loaded -= len(lane.rows)
        window = lane.window
        del window.lanes[lane.name]
        if window.next_due_ms is None or state.due_ms < window.next_due_ms:
            window.next_due_ms = state.due_ms

    def make_way(self, lane: ActiveLane, change: QueueChange) -> None:
        """Let what is put before the rows of a lane go next: but for its first row, which may be under way."""
        change.park(lane.rows)
        change.put_lane(lane.name, lane.state or FRESH, lane.state)
        lane.state = lane.state or FRESH
        self._loaded -= len(lane.rows) - 1
        lane.rows = deque([lane.rows[0]._replace(is_parked=True)])

    def drop(self, lane: ActiveLane, wanted: Callable[[Undelivered], bool], change: QueueChange) -> tuple[int, int]:
        """Remove rows that are in memory; returns how many were, and how many are under way and are when they fail."""
        started = {row.number for row in islice(lane.rows, lane.under_way) if wanted(row)}
        lane.drops |= started
        left = [row for at, row in enumerate(lane.rows) if at < lane.under_way or not wanted(row)]
        gone = len(lane.rows) - len(left)
        if gone:
            numbers = {row.number for row in left}
            change.dropped(row for row in lane.rows if row.number not in numbers)
            self._loaded -= gone
            lane.rows = deque(left)
        if not left and lane.is_queued:
            self.ready.remove(lane)
            lane.is_queued = False
        if not left and not lane.is_log:
            del lane.window.lanes[lane.name]
            if lane.state is not None:
                lane.window.next_due_ms = min(lane.window.next_due_ms or 0, lane.state.due_ms)
        return gone, len(started)

    @property
    def _may_read(self) -> bool:
        return self._loaded < WINDOW_ROWS and not all(window.is_read for window in self.windows)

    def _fill_from(self, window: QueueWindow, now_ms: int) -> None:
        self._load_due(window, now_ms)
        if not window.is_read and self._loaded < WINDOW_ROWS:
            self._load_log(window)
        if window.log is not None:
            self._wake_log(window.log, now_ms)

    def _wake_log(self, log: ActiveLane, now_ms: int) -> None:
        if log.rows and not log.is_queued and (log.state or FRESH).due_ms <= now_ms:
            self._make_ready(log)

    def _load_due(self, window: QueueWindow, now_ms: int) -> None:
        if window.next_due_ms is None:
            return
        until_ms = now_ms
        longest_ms = max(self._delivering.retry_longest_ms, self._delivering.asked_longest_ms)
        if window.next_due_ms > now_ms + 2 * longest_ms:
            until_ms = window.next_due_ms  # The clock was set back: nothing can have been put off for so long.
        if window.next_due_ms > until_ms or self._loaded >= WINDOW_ROWS:
            return
        limit = len(window.lanes) + _CHUNK
        names = window.queue.due(until_ms, limit)
        for name in names:
            if name not in window.lanes:
                self._load_parked(window, name)
        if len(names) < limit:
            window.next_due_ms = window.queue.next_due_ms(until_ms)

    def _load_parked(self, window: QueueWindow, name: str) -> None:
        state = window.queue.lane(name)
        if state is not None:
            lane = window.lanes[name] = ActiveLane(window, name, state)
            self._load_rows(lane)

    def _load_rows(self, lane: ActiveLane) -> None:
        """Read what is parked of a lane; without any the lane is done."""
        window = lane.window
        rows = window.queue.parked(lane.name, _LANE_ROWS)
        if not rows:
            assert lane.state is not None
            change = window.queue.change()
            change.remove_lane(lane.name, lane.state)
            change.write()
            del window.lanes[lane.name]
            return
        lane.rows.extend(rows)
        self._loaded += len(rows)
        self._make_ready(lane)

    def _make_ready(self, lane: ActiveLane) -> None:
        lane.is_queued = True
        self.ready.append(lane)

    def _load_log(self, window: QueueWindow) -> None:
        rows = window.queue.log(window.after, _CHUNK)
        if not rows:
            window.after = window.queue.next - 1
            window.early = {number for number in window.early if number > window.after}
            return
        window.after = rows[-1].number
        if window.early:
            rows = [row for row in rows if row.number not in window.early]
            window.early = {number for number in window.early if number > window.after}
        if window.log is not None:
            window.log.rows.extend(rows)
            self._loaded += len(rows)
            return
        parked: list[Undelivered] = []
        change = window.queue.change()
        for row in rows:
            name = row.row.lane
            lane = window.lanes.get(name)
            if lane is None and window.queue.lane(name) is None:
                lane = window.lanes[name] = ActiveLane(window, name, None)
                self._make_ready(lane)
            if lane is None or lane.state is not None:
                parked.append(row)
            elif len(lane.rows) < _LANE_ROWS:
                lane.rows.append(row)
                self._loaded += 1
            else:
                # As a whole: after a crash what is parked goes before what the log still has.
                parked += [*lane.rows, row]
                lane.rows = deque(one._replace(is_parked=True) for one in lane.rows)
                lane.state = FRESH
                change.put_lane(name, FRESH, None)
        if parked:
            change.park(parked)
            change.write()
