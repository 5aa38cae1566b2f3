"""Triggers that wait, when key groups are divided otherwise: each goes to the group that its key is in now.

What must hold: nothing is lost, what waits of a key keeps its order, and a receiver that keeps the last number of each
place is neither told twice of what it has nor passes over what it has not.

A new group's log has numbers and a name of its own. Rows of several old logs meet in it, and rows of one old log are
spread over several groups, whose couriers know nothing of each other. So a row keeps the number that it had and the
name of the place in which it had it (`DeliveryRow.former`). It is delivered under a place that belongs to the new log
and that place together: rows of it come in the order of their old numbers, and from nobody else. The old place is named
with it. Nobody writes there any more, so the last number that the receiver has of it says what it had taken.

Of the old groups, one comes after the other; of each first what is parked, then the log. A key is in one old group, and
what is parked of it was made before what the log has of it.

**A state that goes back.** What is restored from a savepoint has a past in common with the state that went on from
there, and not what came then: one number may stand for two triggers. So a restored log gets a name of its own in the
same way (`rename_log`), and its rows keep their numbers in the former place: what the receiver has of these it has.

**Rejected.** *The old place goes on*: of two groups that deliver under one place, the one makes the other's rows look
like old ones. *A fresh place alone*: what was taken just before the flow ended badly would be taken again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headway.state.database import DELIVERIES, VERSION_BYTE, Database, Writer
from headway.state.delivery_queue import DeliveryQueue
from headway.state.delivery_rows import (
    BEFORE,
    DEAD,
    DUE,
    LANE,
    LOG,
    NEXT,
    PARKED,
    TOTALS,
    DeliveryRow,
    Lane,
    Next,
    Totals,
    Undelivered,
    encode,
    new_place,
    number_bytes,
    read_next,
)
from headway.state.groups import group_of
from headway.state.keys import escape, id_bytes

__all__ = ["DeliveryMove", "rename_log"]


class DeliveryMove:
    """Moves what one output has in the old groups into the new ones.

    First `count` hears of each old group, then `take`, then `finish` is called once. Some 10 µs a row.
    """

    def __init__(self, output: int, writers: Sequence[Writer]) -> None:
        self._output = output
        self._prefix = id_bytes(output)
        self._writers = writers
        self._delivered = self._dropped = self._redriven = 0
        self._stopped = ""
        self._exists = False
        self._next: list[int] = []
        self._died = [0] * len(writers)

    def count(self, database: Database) -> None:
        """Learn what has become of the rows of an old group."""
        queue = DeliveryQueue(database, self._output)
        totals = queue.totals
        self._exists = self._exists or bool(queue.place)
        self._delivered += totals.delivered
        self._dropped += totals.dropped
        self._redriven += totals.redriven
        self._stopped = self._stopped or totals.stopped

    def take(self, database: Database) -> None:
        """Move the rows of an old group."""
        if not self._exists:
            return
        if not self._next:
            # What is gone has numbers too, in the first group: those that are counted there must have been given.
            self._next = [self._delivered + self._dropped] + [0] * (len(self._writers) - 1)
        queue = DeliveryQueue(database, self._output)
        self._move(queue.rows(), queue.place)
        for number, dead in queue.dead():
            group, new = self._number_in(dead.row.lane)
            row = _moved(dead.row, number, queue.place)
            self._put(group, DEAD, number_bytes(new), msgspec.structs.replace(dead, row=row))
            self._died[group] += 1
        for name, lane in queue.lanes():
            self._put_lane(name, lane)

    def finish(self) -> None:
        """Say of each new group where its numbers stand, and what has become of what is gone."""
        for group, number in enumerate(self._next):
            totals = Totals(
                delivered=0 if group else self._delivered,
                dropped=0 if group else self._dropped,
                redriven=0 if group else self._redriven,
                died=self._died[group],
                floor=0 if group else self._delivered + self._dropped,
                stopped=self._stopped,
            )
            self._put(group, TOTALS, b"", totals)
            self._put(group, NEXT, b"", Next(number, new_place(self._output, group)))

    def _move(self, rows: Iterable[Undelivered], place: str) -> None:
        for number, row, is_parked in rows:
            group, new = self._number_in(row.lane)
            kind, rest = (PARKED, escape(row.lane) + number_bytes(new)) if is_parked else (LOG, number_bytes(new))
            self._put(group, kind, rest, _moved(row, number, place))

    def _number_in(self, lane: str) -> tuple[int, int]:
        """The new group of a lane, and the next number there."""
        group = group_of(lane, len(self._writers))
        number = self._next[group]
        self._next[group] = number + 1
        return group, number

    def _put_lane(self, name: str, lane: Lane) -> None:
        group = group_of(name, len(self._writers))
        of_lane = escape(name)
        self._put(group, LANE, of_lane, lane)
        self._writers[group].put(DELIVERIES, self._prefix + DUE + number_bytes(lane.due_ms) + of_lane, VERSION_BYTE)

    def _put(self, group: int, kind: bytes, rest: bytes, value: Any) -> None:
        self._writers[group].put(DELIVERIES, self._prefix + kind + rest, VERSION_BYTE + encode(value))


def rename_log(database: Database, output: int) -> None:
    """Give the log of an output in a group another name, as nobody else has it; some 10 µs for each row that waits."""
    prefix = id_bytes(output)
    known = read_next(database, prefix)
    if known is None:
        return
    queue, writer = DeliveryQueue(database, output), Writer(database)
    for number, row, is_parked in queue.rows():
        kind = PARKED + escape(row.lane) if is_parked else LOG
        moved = _moved(row, number, known.place)
        writer.put(DELIVERIES, prefix + kind + number_bytes(number), VERSION_BYTE + encode(moved))
    for number, dead in queue.dead():
        moved_dead = msgspec.structs.replace(dead, row=_moved(dead.row, number, known.place))
        writer.put(DELIVERIES, prefix + DEAD + number_bytes(number), VERSION_BYTE + encode(moved_dead))
    named = Next(known.number, new_place(output, database.group))
    writer.put(DELIVERIES, prefix + NEXT, VERSION_BYTE + encode(named))
    writer.flush()


def _moved(row: DeliveryRow, number: int, place: str) -> DeliveryRow:
    """A row of a log with this name, as it is stored in another one: unless it has a place of its own."""
    if row.place:
        return row
    if row.former:
        return msgspec.structs.replace(row, former=place + BEFORE + row.former)
    return msgspec.structs.replace(row, former=place, number=number)
