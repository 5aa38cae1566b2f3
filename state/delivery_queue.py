"""What waits to be delivered of one output in one key group. See `headway.state.deliveries`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from headway.basics.crashpoints import reached
from headway.state.database import DELIVERIES, VERSION_BYTE, Batch, Database
from headway.state.delivery_rows import (
    DEAD,
    DUE,
    HEAD,
    LANE,
    LOG,
    NUMBER_BYTES,
    PARKED,
    TOTALS,
    Dead,
    DeliveryRow,
    Lane,
    Totals,
    Undelivered,
    decoded,
    encode,
    number_bytes,
    read_next,
    read_number,
)
from headway.state.keys import escape, id_bytes, successor, unescape

__all__ = ["DeliveryQueue", "QueueChange"]

_REDRIVEN: Final = "redriven"
_ROWS: Final = 500
"""Rows that are moved at a time."""

T = TypeVar("T")


class DeliveryQueue:
    """The side of the dispatcher: what waits of one output in one group. One thread, which need not be the stage's."""

    def __init__(self, database: Database, output: int) -> None:
        self.group = database.group
        self.output = output
        self._database = database
        self._prefix = id_bytes(output)
        self.totals = self._read_totals()
        known = read_next(database, self._prefix)
        self.next = 0 if known is None else known.number
        """The number that the next row gets, as far as this side knows."""
        self._place = "" if known is None else known.place
        self.has_parked = next(iter(self._scan(LANE)), None) is not None
        """Whether there may be lanes that are parked."""

    @property
    def place(self) -> str:
        """The name of the log, which no other one has ever had. There is one as soon as a row is there."""
        if not self._place:
            known = read_next(self._database, self._prefix)
            self._place = "" if known is None else known.place
        return self._place

    @property
    def waiting(self) -> int:
        """Rows that wait, as of what is known to be committed."""
        return self.next - self.totals.gone

    def log(self, after: int, limit: int) -> list[Undelivered]:
        """At most `limit` rows of the log, those with a number above `after`."""
        start = max(after + 1, self.totals.floor)
        pairs = self._scan(LOG, number_bytes(start))
        return [self._of_log(key, value) for key, value in islice(pairs, limit)]

    def lane(self, lane: str) -> Lane | None:
        """How it stands with a lane; None where it is not parked."""
        if not self.has_parked:
            return None
        key = self._key(LANE, escape(lane))
        payload = self._database.get(DELIVERIES, key)
        return None if payload is None else self._decoded(key, payload, Lane)

    def parked(self, lane: str, limit: int, after: int = -1) -> list[Undelivered]:
        """At most `limit` rows that are parked in a lane, those with a number above `after`."""
        of_lane = escape(lane)
        pairs = self._scan(PARKED + of_lane, number_bytes(after + 1))
        return [
            Undelivered(read_number(key), self._row(key, value), is_parked=True) for key, value in islice(pairs, limit)
        ]

    def due(self, until_ms: int, limit: int) -> list[str]:
        """At most `limit` lanes that are due by a time, the earliest first."""
        start, end = self._key(DUE), self._key(DUE, number_bytes(until_ms + 1))
        return [_lane_of(key) for key, _ in islice(self._database.scan(DELIVERIES, start, end), limit)]

    def next_due_ms(self, after_ms: int = -1) -> int | None:
        """When the next lane is due that is due after a time; None where there is none."""
        if not self.has_parked:
            return None
        for key, _ in self._scan(DUE, number_bytes(after_ms + 1)):
            return int.from_bytes(key[HEAD : HEAD + NUMBER_BYTES], "big")
        return None

    def lanes(self) -> Iterator[tuple[str, Lane]]:
        """All lanes that are parked, by key."""
        for key, value in self._scan(LANE):
            yield unescape(key, HEAD)[0], self._decoded(key, self._unwrap(key, value), Lane)

    def rows(self) -> Iterator[Undelivered]:
        """Everything that waits: first what is parked, lane by lane, then the log."""
        for key, value in self._scan(PARKED):
            yield Undelivered(read_number(key), self._row(key, value), is_parked=True)
        for key, value in self._scan(LOG, number_bytes(self.totals.floor)):
            yield self._of_log(key, value)

    def dead(self, after: int = -1) -> Iterator[tuple[int, Dead]]:
        """What was given up, by number, those with a number above `after`."""
        for key, value in self._scan(DEAD, number_bytes(after + 1)):
            yield read_number(key), self._decoded(key, self._unwrap(key, value), Dead)

    def take_in_order(self) -> None:
        """Put back into the log what is parked without a place of its own: the receiver takes the log as a whole.

        That was parked for a receiver of before which took each lane by itself. It gets a place for each lane, since
        the receiver may have taken later rows of the log. May be repeated after a crash. Some 10 µs a row.
        """
        for name, lane in self.lanes() if self.has_parked else ():
            place = f"{self.place}/{blake2b(name.encode(), digest_size=8).hexdigest()}"
            after, stays = -1, False
            while rows := self.parked(name, _ROWS, after):
                after = rows[-1].number
                moved = [row for row in rows if not row.row.place]
                stays = stays or len(moved) < len(rows)
                change = self.change()
                change.unpark(moved, place)
                change.write()
            if not stays:
                change = self.change()
                change.remove_lane(name, lane)
                change.write()

    def change(self) -> QueueChange:
        """An empty change, to be filled and written."""
        return QueueChange(self, self._database.batch())

    def write(self, batch: Batch, totals: Totals) -> None:
        """Write a change; called by the change itself."""
        if totals != self.totals:
            batch.put(DELIVERIES, self._key(TOTALS), VERSION_BYTE + encode(totals))
            self.totals = totals
        reached("acknowledgement.before")
        self._database.write(batch, sync=False)
        reached("acknowledgement.after")

    def _key(self, kind: bytes, rest: bytes = b"") -> bytes:
        return self._prefix + kind + rest

    def _scan(self, kind: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        prefix = self._key(kind)
        return self._database.scan(DELIVERIES, prefix + start, successor(prefix))

    def _of_log(self, key: bytes, value: bytes) -> Undelivered:
        return Undelivered(read_number(key), self._row(key, value), is_parked=False)

    def _row(self, key: bytes, value: bytes) -> DeliveryRow:
        return self._decoded(key, self._unwrap(key, value), DeliveryRow)

    def _unwrap(self, key: bytes, value: bytes) -> bytes:
        return self._database.unwrap(DELIVERIES, key, value)

    def _decoded(self, key: bytes, payload: bytes, kind: type[T]) -> T:
        return decoded(self._database, key, payload, kind)

    def _read_totals(self) -> Totals:
        key = self._key(TOTALS)
        payload = self._database.get(DELIVERIES, key)
        return Totals() if payload is None else self._decoded(key, payload, Totals)


class QueueChange:
    """Removals and moves of one queue, written together. The rows must be there: who holds them sees to that."""

    def __init__(self, queue: DeliveryQueue, batch: Batch) -> None:
        self._queue = queue
        self._batch = batch
        self._totals = queue.totals

    def delivered(self, rows: Iterable[Undelivered]) -> None:
        """Remove rows that were taken."""
        count = self._remove(rows)
        self._count(delivered=self._totals.delivered + count)

    def dropped(self, rows: Iterable[Undelivered]) -> None:
        """Remove rows that nobody wants any more."""
        count = self._remove(rows)
        self._count(dropped=self._totals.dropped + count)

    def died(self, row: Undelivered, reason: str, head: str, attempts: int, now_ms: int) -> None:
        """Give a row up: it is kept apart, with the reason."""
        self._remove([row])
        dead = Dead(row.row, reason, head, attempts, now_ms)
        self._put(self._key(DEAD, number_bytes(row.number)), dead)
        self._count(died=self._totals.died + 1)

    def redrive(self, number: int, dead: Dead) -> None:
        """Put a row that was given up back, before everything else of its lane, which must be parked or get so.

        It gets a place of its own: a receiver that keeps the last number of each place would pass over it else.
        """
        count = self._totals.redriven
        place = f"{self._queue.place}/{_REDRIVEN}/{count}"
        row = msgspec.structs.replace(dead.row, place=place, number=0, former="")
        self._batch.delete(DELIVERIES, self._key(DEAD, number_bytes(number)))
        self._put(self._key(PARKED, escape(row.lane) + number_bytes(number)), row)
        self._count(died=self._totals.died - 1, redriven=count + 1)

    def forget_dead(self, number: int) -> None:
        """Remove a row that was given up."""
        self._batch.delete(DELIVERIES, self._key(DEAD, number_bytes(number)))
        self._count(died=self._totals.died - 1, dropped=self._totals.dropped + 1)

    def park(self, rows: Iterable[Undelivered]) -> None:
        """Move rows of the log behind what is parked of their lanes."""
        for row in rows:
            if not row.is_parked:
                self._batch.delete(DELIVERIES, self._key(LOG, number_bytes(row.number)))
                self._put(self._key(PARKED, escape(row.row.lane) + number_bytes(row.number)), row.row)

    def unpark(self, rows: Iterable[Undelivered], place: str) -> None:
        """Move parked rows into the log, each at its number, and into a place of their own."""
        for row in rows:
            self._remove([row])
            moved = msgspec.structs.replace(row.row, place=place, number=row.number, former="")
            self._put(self._key(LOG, number_bytes(row.number)), moved)
            self._count(floor=min(self._totals.floor, row.number))

    def put_lane(self, name: str, lane: Lane, before: Lane | None) -> None:
        """Note how it stands with a lane that is parked; `before` is what was noted, None where it was not parked."""
        of_lane = escape(name)
        if before is not None and before.due_ms != lane.due_ms:
            self._batch.delete(DELIVERIES, self._key(DUE, number_bytes(before.due_ms) + of_lane))
        self._put(self._key(LANE, of_lane), lane)
        if before is None or before.due_ms != lane.due_ms:
            self._batch.put(DELIVERIES, self._key(DUE, number_bytes(lane.due_ms) + of_lane), VERSION_BYTE)
        self._queue.has_parked = True

    def remove_lane(self, name: str, lane: Lane) -> None:
        """A lane has no parked rows any more."""
        of_lane = escape(name)
        self._batch.delete(DELIVERIES, self._key(LANE, of_lane))
        self._batch.delete(DELIVERIES, self._key(DUE, number_bytes(lane.due_ms) + of_lane))

    def set_floor(self, number: int) -> None:
        """Note that no row of the log has a number below this one."""
        self._count(floor=number)

    def set_log(self, log: Lane) -> None:
        """Note how it stands with the log of a receiver that takes it strictly in order."""
        self._count(log=log)

    def stop(self, reason: str) -> None:
        """Note that the receiver wants nothing more, or with an empty reason that it does."""
        self._count(stopped=reason)

    def write(self) -> None:
        """Write it all, not synced."""
        self._queue.write(self._batch, self._totals)

    def _remove(self, rows: Iterable[Undelivered]) -> int:
        count = 0
        for row in rows:
            if row.is_parked:
                key = self._key(PARKED, escape(row.row.lane) + number_bytes(row.number))
            else:
                key = self._key(LOG, number_bytes(row.number))
            self._batch.delete(DELIVERIES, key)
            count += 1
        return count

    def _count(self, **changed: Any) -> None:
        self._totals = msgspec.structs.replace(self._totals, **changed)

    def _put(self, key: bytes, value: Any) -> None:
        self._batch.put(DELIVERIES, key, VERSION_BYTE + encode(value))

    def _key(self, kind: bytes, rest: bytes = b"") -> bytes:
        return id_bytes(self._queue.output) + kind + rest


def _lane_of(key: bytes) -> str:
    return unescape(key, HEAD + NUMBER_BYTES)[0]
