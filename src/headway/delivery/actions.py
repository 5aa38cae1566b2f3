"""What commands ask for, done to one queue: also while a courier delivers from it.

Rows are read anew for each step, some hundred at a time, and what is done to them is written before others have their
turn: nothing that was seen before a turn of the courier is believed after it. Rows in a courier's memory belong to it.
So a lane of which rows are in memory is handled with its `Loader`; those on the disk alone are changed there. Offline
nothing is in memory, and the same functions do it all on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from headway.delivery.lanes import QueueWindow
from headway.delivery.loader import Loader
from headway.delivery.requests import Counts, Request
from headway.state.delivery_queue import DeliveryQueue, QueueChange
from headway.state.delivery_rows import Lane, Undelivered

__all__ = ["carry_out"]

T = TypeVar("T")

_ROWS: Final = 500
"""Rows or lanes that are changed before others have their turn."""


def carry_out(request: Request, below: int, window: QueueWindow, loader: Loader, now_ms: int) -> Iterator[Counts]:
    """Do what is asked for in one queue; gives what each step has done. Rows with numbers below `below` are meant."""
    if request.action == "retry":
        yield from _retry(window, request.key, now_ms)
    elif request.action == "redrive":
        yield from _redrive(window, loader, request)
    elif request.action == "drop":
        yield from _drop(window, loader, request.wants(below), request.key)
    elif request.action == "forget":
        yield from _forget(window.queue, request)


def _retry(window: QueueWindow, key: str | None, now_ms: int) -> Iterator[Counts]:
    queue = window.queue
    change = queue.change()
    change.stop("")
    count = _retry_log(window, key, change, now_ms)
    change.write()
    names = (name for name, _ in queue.lanes()) if key is None else iter([key])
    for chunk in _chunks(names):
        change = queue.change()
        for name in chunk:
            lane = None if name in window.lanes else queue.lane(name)
            if lane is not None and lane.due_ms > now_ms:
                change.put_lane(name, _due(lane, now_ms), lane)
                count += 1
        change.write()
        window.next_due_ms = queue.next_due_ms()
        yield Counts(retried=count)
        count = 0
    if count:
        yield Counts(retried=count)


def _retry_log(window: QueueWindow, key: str | None, change: QueueChange, now_ms: int) -> int:
    """Try the log now that has failed as a whole; returns whether there was one."""
    state = window.queue.totals.log
    if state.due_ms <= now_ms:
        return 0
    first = window.queue.log(-1, 1)
    if key is not None and not (first and first[0].row.lane == key):
        return 0
    state = _due(state, now_ms)
    change.set_log(state)
    if window.log is not None and not window.log.under_way:
        window.log.state = state
    return 1


def _redrive(window: QueueWindow, loader: Loader, request: Request) -> Iterator[Counts]:
    queue = window.queue
    wanted = ((number, dead) for number, dead in queue.dead() if request.wants_dead(dead))
    for chunk in _chunks(wanted):
        change = queue.change()
        for name in dict.fromkeys(dead.row.lane for _, dead in chunk):
            if name in window.lanes:
                loader.make_way(window.lanes[name], change)
            else:
                change.put_lane(name, Lane(), queue.lane(name))
                window.next_due_ms = 0
        for number, dead in chunk:
            change.redrive(number, dead)
        change.write()
        yield Counts(redriven=len(chunk))


def _forget(queue: DeliveryQueue, request: Request) -> Iterator[Counts]:
    numbers = (number for number, dead in queue.dead() if request.wants_dead(dead))
    for chunk in _chunks(numbers):
        change = queue.change()
        for number in chunk:
            change.forget_dead(number)
        change.write()
        yield Counts(dropped=len(chunk))


def _drop(
    window: QueueWindow, loader: Loader, wanted: Callable[[Undelivered], bool], key: str | None
) -> Iterator[Counts]:
    yield _drop_in_memory(window, loader, wanted)
    names = (name for name, _ in window.queue.lanes()) if key is None else iter([key])
    for chunk in _chunks(names):
        for name in chunk:
            yield from _drop_parked(window, name, wanted)
    after = -1
    while rows := window.queue.log(after, _ROWS):
        after = rows[-1].number
        yield Counts(dropped=_drop_rows(window, rows, wanted))


def _drop_in_memory(window: QueueWindow, loader: Loader, wanted: Callable[[Undelivered], bool]) -> Counts:
    lanes = [*window.lanes.values(), *([] if window.log is None else [window.log])]
    change = window.queue.change()
    counts = Counts()
    for lane in lanes:
        gone, under_way = loader.drop(lane, wanted, change)
        counts = counts.plus(Counts(dropped=gone, under_way=under_way))
    change.write()
    return counts


def _drop_parked(window: QueueWindow, name: str, wanted: Callable[[Undelivered], bool]) -> Iterator[Counts]:
    queue = window.queue
    after, stays, is_first = -1, False, True
    while rows := queue.parked(name, _ROWS, after):
        after = rows[-1].number
        dropped = _drop_rows(window, rows, wanted)
        stays = stays or dropped < len(rows)
        lane = queue.lane(name)
        if is_first and wanted(rows[0]) and lane is not None and name not in window.lanes:
            change = queue.change()  # What was tried is gone: the next one has had no attempt.
            change.put_lane(name, Lane(), lane)
            change.write()
            window.next_due_ms = 0
        is_first = False
        if dropped:
            yield Counts(dropped=dropped)
    lane = queue.lane(name)
    if not stays and lane is not None and name not in window.lanes and not queue.parked(name, 1):
        change = queue.change()
        change.remove_lane(name, lane)
        change.write()


def _drop_rows(window: QueueWindow, rows: list[Undelivered], wanted: Callable[[Undelivered], bool]) -> int:
    held = window.held()
    gone = [row for row in rows if row.number not in held and wanted(row)]
    if gone:
        change = window.queue.change()
        change.dropped(gone)
        change.write()
    return len(gone)


def _due(lane: Lane, now_ms: int) -> Lane:
    """A lane that is due now; it keeps the attempts that it has had."""
    return Lane(lane.attempts, lane.first_ms, now_ms, lane.reason, lane.head)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    for first in rest:
        yield [first, *islice(rest, _ROWS - 1)]
