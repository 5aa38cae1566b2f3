"""Triggers that are to be delivered: rows of the key group that made them, until a receiver has taken them.

**What it is.** A trigger for a target is a row from the moment in which its epoch is committed until the target has
taken it: the *outbox* pattern, with the flow's own state in the place of a service's database. `Deliveries` is the side
of the stage: rows become pending with the epoch's delta, and final with it, so that none of an epoch that did not
commit can ever be seen. `DeliveryQueue` (in `headway.state.delivery_queue`) is the side of the dispatcher: it sees what
is final, and removes what is done.

**What holds.**

1. Rows of one output in one group have numbers that grow and are never given again, also not by a later generation or
   after a restart: a receiver can tell from the last number that it has what it has.
2. Each row has a *lane*, the key of the trigger. Rows of one lane are in one group, and leave in the order of their
   numbers. Lanes have nothing to do with each other.
3. A row is in exactly one of three places: the *log*, in the order of numbers, which is all there is while nothing
   fails; *parked*, by lane, behind a row of its lane that has failed, or that many others wait for; *dead*, given up.
   A lane is parked as a whole: while it has parked rows, what comes for it is parked as well.
4. A lane that is parked has an entry in the index by due time. So a hundred thousand lanes of a dead receiver cost a
   look at the earliest entry, and survive a restart with the time and the number of attempts that they had.
5. The stage only adds to the log and the dispatcher only removes, so the two never write the same key, and neither
   waits for the other.

**Early.** An output may say that its triggers leave before their epoch is durable. That is for receivers that do a
thing once by its id: what a flow emits is a function of its log, so a run that starts over sends the same triggers
again. The row is still part of the epoch's delta. What came of it is kept in memory until the epoch is committed, and
is settled then as for all others: nothing is ever removed that is not there yet.

The removals are not synced. When they are lost with the machine's power, rows are delivered again: the same bytes with
the same id and number, which is what a crash between delivery and removal leads to anyway.

**Rejected.** *One queue for each lane*: as many searches as there are keys. *Numbers from the epoch's version*: they
begin anew with each generation. *The index in memory*: a start would read everything that waits.
"""

from __future__ import annotations

from collections.abc import Iterable

from headway.state.database import VERSION_BYTE, Database
from headway.state.delivery_rows import LOG, NEXT, DeliveryRow, Next, encode, new_place, number_bytes, read_next
from headway.state.keys import id_bytes

__all__ = ["Deliveries"]


class Deliveries:
    """The side of a stage: takes the triggers of an epoch, and gives them to its delta. One thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next: dict[int, Next] = {}
        self._made: dict[bytes, bytes | None] = {}

    @property
    def changed(self) -> bool:
        """Whether this epoch has made any."""
        return bool(self._made)

    def add(self, output: int, triggers: Iterable[tuple[int, str, bytes, str]]) -> int:
        """Take triggers for an output, by its number, in the order in which they are to leave.

        Each is `(time_ms, lane, line, sequence)`, see `DeliveryRow`. Returns the number of the first. Some 2 µs each.
        """
        prefix = id_bytes(output)
        known = self._next.get(output)
        if known is None:
            known = read_next(self._database, prefix) or Next(0, new_place(output, self._database.group))
        first = number = known.number
        log = prefix + LOG
        for time_ms, lane, line, sequence in triggers:
            row = DeliveryRow(lane, time_ms, sequence, line)
            self._made[log + number_bytes(number)] = VERSION_BYTE + encode(row)
            number += 1
        self._next[output] = known = Next(number, known.place)
        self._made[prefix + NEXT] = VERSION_BYTE + encode(known)
        return first

    def delta(self) -> dict[bytes, bytes | None]:
        """What this epoch made, by stored key; the epoch is closed with it."""
        made, self._made = self._made, {}
        return made

    def numbered(self) -> dict[int, int]:
        """For each output that rows were added for in this run, the number that its next one gets."""
        return {output: known.number for output, known in self._next.items()}

    def restore(self) -> None:
        """Start over from what is stored."""
        self._made = {}
        self._next = {}
