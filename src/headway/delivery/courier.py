"""Which triggers of one output go next, and what becomes of them: all decisions of delivery, and no network.

The dispatcher asks with `take`, hands over, and tells with `answered` what came of it. Time and chance are given, so
that tests decide both. What it knows of rows is a window on the queues of the groups that this process runs: it reads
the log as it is delivered, and of lanes that failed only those that are due. However many rows wait, memory is that of
the window.

Rows of one lane go one after the other; a lane with a row that has failed is parked as a whole until that row is due. A
target that is `in_order` gets the log of each group batch by batch instead, and what fails there holds up that log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import Final, NamedTuple, Optional

from headway.delivery.actions import carry_out
from headway.delivery.breaker import Breaker, BreakerState
from headway.delivery.lanes import FRESH, ActiveLane, QueueWindow
from headway.delivery.loader import WINDOW_ROWS, Loader
from headway.delivery.pace import Rates
from headway.delivery.pauses import RETRY_AFTER_MAX_MS, pause_ms
from headway.delivery.requests import Counts, Request
from headway.state.delivery_queue import DeliveryQueue, QueueChange
from headway.state.delivery_rows import DeliveryRow, Lane, Undelivered
from headway.targets.base import Answer, Outcome, Target
from headway.targets.delivered import Delivering

__all__ = ["Courier", "Fate", "Item"]

_FLOOR_EVERY: Final = 512
"""Answers after which the first number that may wait is noted: what lies before it need not be searched again."""


class Fate(Enum):
    """How a delivery has come to its end."""

    DELIVERED = "delivered"
    DEAD = "dead"


class Item(NamedTuple):
    """A trigger that is under way: the first row of its lane, or one of the first of a whole log."""

    lane: ActiveLane
    row: Undelivered
    """As it was when it was taken; where it is stored may be another place by now."""


class Courier:
    """Decides for one output in one process. One thread.

    `now_ms` is the wall clock, in epoch milliseconds; `random` gives numbers from 0 to 1; `tell` takes what a person
    should know. `workers` is how many processes deliver this output: each has its share of the target's rate.
    """

    def __init__(
        self,
        output: str,
        target: Target,
        delivering: Delivering,
        now_ms: Callable[[], int],
        random: Callable[[], float],
        tell: Callable[[str], None],
        workers: int = 1,
    ) -> None:
        self.output = output
        self.target = target
        self.delivering = delivering
        self.breaker = Breaker(target.limits.concurrency, delivering.retry_longest_ms, never=not target.has_breaker)
        self.attempts: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        """How many triggers were attempted in this run, by what came of it."""
        self.has_more = False
        """Whether the last `take` has read rows that cannot go now, and there are more to be read."""
        self.reason = ""
        """Why the last attempt failed; empty where it did not, and the breaker is closed."""
        self._began_ms: list[int] = []
        """When each of the batches began that were taken and not answered."""
        self._now_ms = now_ms
        self._random = random
        self._tell = tell
        self._loader = Loader(delivering)
        self._rates = Rates(target.limits, workers, now_ms())
        self._answers = 0
        self._told_full = False
        self._stopped = ""
        self.on_overflow: Callable[[DeliveryRow, str], None] = lambda row, reason: None
        """Told of each row that is given up because too many wait, with the reason."""

    def add(self, queue: DeliveryQueue) -> None:
        """Deliver from the queue of one more group."""
        if self.target.in_order:
            queue.take_in_order()
        self._loader.windows.append(QueueWindow(queue, in_order=self.target.in_order))
        self._stopped = self._stopped or queue.totals.stopped

    @property
    def windows(self) -> list[QueueWindow]:
        """What is in memory of each queue."""
        return self._loader.windows

    @property
    def waiting(self) -> int:
        """Rows that wait, also those under way."""
        return sum(window.queue.waiting for window in self.windows)

    @property
    def under_way(self) -> int:
        """Batches that were taken and not answered."""
        return len(self._began_ms)

    @property
    def is_full(self) -> bool:
        """Whether more wait than may."""
        return self.waiting > self.delivering.waiting_max

    @property
    def is_paced(self) -> bool:
        """Whether triggers wait for nothing but the limit of the rate."""
        return self._rates.wait_ms() > 0 and self.waiting > 0 and not self._stopped

    @property
    def stopped(self) -> str:
        """Why the receiver wants nothing more; empty where it does."""
        return self._stopped

    def take(self) -> list[Item]:
        """The next batch to be handed over now; empty where there is none. Reads from the disk where it must."""
        now_ms = self._now_ms()
        self.has_more = False
        is_busy = self.target.one_at_a_time and self._began_ms
        if self._stopped or is_busy or not self.breaker.has_room(self._began_ms, now_ms):
            return []
        most = min(self.target.limits.batch, self._rates.allowed(self.target.limits, now_ms))
        if most < 1:
            return []
        self.has_more = self._loader.fill(now_ms, self.target.limits.batch * max(2, self.target.limits.concurrency))
        ready = self._loader.ready
        items: list[Item] = []
        while ready and len(items) < most:
            if ready[0].is_log:
                if not items:
                    log = ready.popleft()
                    items = [Item(log, row) for row in islice(log.rows, most)]
                    log.begin(len(items), now_ms)
                break
            lane = ready.popleft()
            items.append(Item(lane, lane.rows[0]))
            lane.begin(1, now_ms)
        if items:
            self._began_ms.append(now_ms)
            self._rates.begin(len(items))
        return items

    def fates(self, items: Sequence[Item], answers: Sequence[Answer], now_ms: int) -> list[Optional[Fate]]:
        """What `answered` will find to be at its end at this time, and how; None for what is tried again or dropped."""
        is_held = False
        found: list[Optional[Fate]] = []
        for item, answer in zip(items, answers):
            lane = item.lane
            is_final = answer.outcome is not Outcome.RETRY
            fate = None
            if answer.outcome is Outcome.DONE:
                fate = Fate.DELIVERED
            elif item.row.number not in lane.drops:
                first_ms = (lane.state or FRESH).first_ms or now_ms
                is_over = self._gives_up(answer, Lane(first_ms=first_ms), now_ms)
                if lane.is_log:
                    is_over = (is_over or is_final) and (is_final or not is_held)
                fate = Fate.DEAD if is_over else None
                is_held = is_held or not is_over
            found.append(fate)
        return found

    def answered(self, items: Sequence[Item], answers: Sequence[Answer], now_ms: Optional[int] = None) -> None:
        """Note what came of a batch, on the disk too; not synced. `now_ms` is that of `fates`, if it was called."""
        now_ms = self._now_ms() if now_ms is None else now_ms
        began_ms = items[0].lane.began_ms
        self._began_ms.remove(began_ms)
        self._note_receiver(answers, began_ms, now_ms)
        for answer in answers:
            self.attempts[answer.outcome] += 1
        if self.delivering.leaves_early:
            items, answers = self._defer(items, answers)
        if items:
            self._settle_all(items, answers, now_ms)

    def take_early(self, group: int, rows: Sequence[Undelivered]) -> None:
        """Deliver rows whose epoch is not durable yet; of an output that `leaves_early`."""
        for window in self.windows:
            if window.queue.group == group:
                self._loader.take_early(window, rows)

    def committed(self, group: int) -> None:
        """More rows of a group are durable: what came of them meanwhile is noted."""
        for window in self.windows:
            if window.queue.group == group and window.deferred:
                known, window.deferred = window.deferred, []
                window.deferred = [one for one in known if one[1].number >= window.queue.next]
                due = [one for one in known if one[1].number < window.queue.next]
                if due:
                    items = [Item(lane, row) for lane, row, _ in due]
                    self._settle_all(items, [answer for *_, answer in due], self._now_ms())

    @staticmethod
    def _defer(items: Sequence[Item], answers: Sequence[Answer]) -> tuple[list[Item], list[Answer]]:
        """Keep what came of rows that are not durable yet; returns the others."""
        settled: list[Item] = []
        known: list[Answer] = []
        for item, answer in zip(items, answers):
            window = item.lane.window
            if item.row.number >= window.queue.next:
                window.deferred.append((item.lane, item.row, answer))
            else:
                settled.append(item)
                known.append(answer)
        return settled, known

    def _settle_all(self, items: Sequence[Item], answers: Sequence[Answer], now_ms: int) -> None:
        changes: dict[int, QueueChange] = {}
        goes_on: list[ActiveLane] = []
        for item in items:
            item.lane.under_way = 0
            queue = item.lane.window.queue
            if queue.group not in changes:
                changes[queue.group] = queue.change()
        if items[0].lane.is_log:
            self._settle_log(items, answers, changes[items[0].lane.window.queue.group], now_ms)
            goes_on.append(items[0].lane)
        else:
            for item, answer in zip(items, answers):
                if self._settle(item, answer, changes[item.lane.window.queue.group], now_ms):
                    goes_on.append(item.lane)
        self._answers += len(items)
        if self._answers >= _FLOOR_EVERY:
            self._answers = 0
            for window in {id(item.lane.window): item.lane.window for item in items}.values():
                changes[window.queue.group].set_floor(window.floor())
        for change in changes.values():
            change.write()
        for lane in goes_on:
            self._loader.go_on(lane, now_ms)

    def wake_at_ms(self) -> Optional[int]:
        """When there may be something to take though nothing else happens, by the wall clock; None where never."""
        if self._stopped:
            return None
        now_ms = self._now_ms()
        times = [window.next_due_ms for window in self.windows]
        logs = [window.log for window in self.windows if window.log is not None]
        times += [log.state.due_ms for log in logs if log.rows and log.state is not None and log.state.due_ms > now_ms]
        opens_ms = self.breaker.opens_at_ms
        if opens_ms is not None:
            return opens_ms if self.waiting else None
        if self.is_paced:
            times.append(now_ms + self._rates.wait_ms())
        return min((time for time in times if time is not None), default=None)

    def give_way(self) -> int:
        """Give up the oldest rows of an indirect edge until no more wait than may; returns how many."""
        over = self.waiting - self.delivering.waiting_max if self.delivering.edge == "indirect" else 0
        if over <= 0:
            self._told_full = False
            return 0
        reason = f"more than {self.delivering.waiting_max:,} triggers waited for {self.target.describe()}"
        count = 0
        while over > count and (given := self._give_up_oldest(over - count, reason)):
            count += given
        if count and not self._told_full:
            self._told_full = True
            self._tell(f"output {self.output!r}: {reason}, so the oldest are given up: see headway triggers ls --dead")
        return count

    def carry_out(self, request: Request) -> Iterator[tuple[int, Counts]]:
        """Do what somebody asks for, some hundred rows at a time; gives what was done, with the group."""
        if request.action == "retry":
            self._stopped = ""
            self.breaker.reset()
        for window in list(self.windows):
            below = request.below(window.queue.output, window.queue.group)
            if below is not None:
                for counts in carry_out(request, below, window, self._loader, self._now_ms()):
                    yield window.queue.group, counts

    def _note_receiver(self, answers: Sequence[Answer], began_ms: int, now_ms: int) -> None:
        """What answers say of the receiver as a whole."""
        self.breaker.record(any(answer.outcome is not Outcome.RETRY for answer in answers), began_ms, now_ms)
        reason = next((answer.reason for answer in answers if answer.outcome is Outcome.RETRY), "")
        if reason or self.breaker.state(now_ms) is BreakerState.CLOSED:
            self.reason = reason
        pauses = [a.retry_after_s for a in answers if a.is_busy and a.retry_after_s]
        if pauses and max(pauses) > 0:
            self.breaker.leave_alone(int(min(max(pauses) * 1_000, RETRY_AFTER_MAX_MS)), now_ms)
        stops = next((answer for answer in answers if answer.stops), None)
        if stops is not None and not self._stopped:
            self._stopped = stops.reason or "it wants nothing more"
            for window in self.windows:
                change = window.queue.change()
                change.stop(self._stopped)
                change.write()
            self._tell(
                f"output {self.output!r}: {self.target.describe()} wants no more triggers ({self._stopped}): they wait "
                "until headway triggers retry says otherwise"
            )

    def _settle(self, item: Item, answer: Answer, change: QueueChange, now_ms: int) -> bool:
        """What becomes of one row; returns whether its lane goes on."""
        lane, before = item.lane, item.lane.state
        if answer.outcome is Outcome.DONE:
            self._leave(item, answer, FRESH, change, now_ms)
        elif not self._drops(item, change):
            state = self._failed(before, answer, now_ms)
            if not self._gives_up(answer, state, now_ms):
                self._loader.put_off(lane, state, change)
                return False
            self._leave(item, answer, state, change, now_ms)
        if before is not None and before.attempts:
            lane.state = Lane(due_ms=before.due_ms)
            change.put_lane(lane.name, lane.state, before)
        return True

    def _settle_log(self, items: Sequence[Item], answers: Sequence[Answer], change: QueueChange, now_ms: int) -> None:
        """What becomes of a batch of a log: the first row that failed is tried again before what lies behind it."""
        lane = items[0].lane
        if (
            not (lane.state or FRESH).attempts
            and not lane.drops
            and all(answer.outcome is Outcome.DONE for answer in answers)
        ):
            change.delivered(self._loader.leave_first(lane, len(items)))
            return
        state = None
        for item, answer in zip(items, answers):
            if answer.outcome is not Outcome.DONE and self._drops(item, change):
                continue
            failed = self._failed(lane.state, answer, now_ms)
            # What lies behind a row that is never taken has been taken: it cannot hold that up any more.
            is_over = answer.outcome is not Outcome.RETRY or self._gives_up(answer, failed, now_ms)
            if is_over and (state is None or answer.outcome is not Outcome.RETRY):
                self._leave(item, answer, failed, change, now_ms)
            elif state is None:
                state = failed
        if state is not None or (lane.state is not None and lane.state.attempts):
            lane.state = state or FRESH
            change.set_log(lane.state)

    def _drops(self, item: Item, change: QueueChange) -> bool:
        """Whether somebody has dropped a row that has failed, while it was under way: then it is gone."""
        lane, number = item.lane, item.row.number
        if number not in lane.drops:
            return False
        lane.drops.discard(number)
        row = item.row if lane.is_log else lane.rows[0]
        change.dropped([row])
        self._loader.leave(lane, row)
        return True

    def _failed(self, before: Optional[Lane], answer: Answer, now_ms: int) -> Lane:
        """How it stands with a lane after one more attempt that failed."""
        known = before or FRESH
        attempts = known.attempts + 1
        if answer.outcome is Outcome.NEVER:
            pause = self.delivering.retry_longest_ms
        else:
            pause = pause_ms(self.delivering, attempts, answer.retry_after_s, self._random)
        return Lane(attempts, known.first_ms or now_ms, now_ms + pause, answer.reason, answer.head)

    def _gives_up(self, answer: Answer, state: Lane, now_ms: int) -> bool:
        if self.delivering.on_failure == "block" or answer.stops:
            return False
        after_ms = self.delivering.give_up_after_ms
        return answer.outcome is Outcome.NEVER or (after_ms is not None and now_ms - state.first_ms >= after_ms)

    def _leave(self, item: Item, answer: Answer, state: Lane, change: QueueChange, now_ms: int) -> None:
        """A row waits no longer: it was taken, or is given up."""
        lane = item.lane
        row = item.row if lane.is_log else lane.rows[0]  # Which may have been parked since.
        lane.drops.discard(row.number)
        if answer.outcome is Outcome.DONE:
            change.delivered([row])
        else:
            change.died(row, answer.reason, answer.head, state.attempts, now_ms)
        self._loader.leave(lane, row)

    def _give_up_oldest(self, most: int, reason: str) -> int:
        """Give up some rows that are not in memory, of lanes that failed first, as they are older; returns how many."""
        now_ms = self._now_ms()
        count = 0
        for window in self.windows:
            change = window.queue.change()
            for row in islice(window.not_in_memory(2 * WINDOW_ROWS), most - count):
                self.on_overflow(row.row, reason)
                change.died(row, reason, "", 0, now_ms)
                count += 1
            change.write()
            if count >= most:
                break
        return count
