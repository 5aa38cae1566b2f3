"""How a table knows what is in it already: the part of the exact SQL targets that both databases share.

Next to the table that is written there is a table `headway_positions`, with a row for each place of an outbox: the
number of the last delivery that is in. It is read (and locked) and written in the transaction of the rows. So rows and
number are there together or not at all, whatever breaks: when an answer to a commit is lost, the same deliveries come
again, and are passed over by their numbers. Rows that the database has refused are kept with the number as well: when
they come again they are refused again, although their number is passed.

A number that comes with another id than it had says that this place is told by two outboxes: a state directory was put
back from a copy, say. Then nothing is written, because what else would be passed over cannot be known.

When key groups are divided otherwise, what waited gets another place and keeps its number. The positions of the places
before say then what of it is in; once something is written under the new one, its own position says more.

Rejected: to know each delivery by its id. It needs an index of all ids for ever, and a table of one row per key has no
room for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.targets.base import DONE, Answer, Delivery, Outcome

__all__ = [
    "NOTHING_YET",
    "POSITIONS",
    "Position",
    "Refusals",
    "all_retried",
    "answers_of",
    "answers_placed",
    "by_place",
    "encoded",
    "keeping",
    "locking",
    "refusal",
]

POSITIONS: Final = "headway_positions"
"""The name of the table."""

_REFUSALS_MAX: Final = 1_000
_DETAIL_MAX: Final = 300
"""Characters of what the database says in detail: a thousand of them are in one row of the table."""

Refusals = dict[int, list[str]]
"""Numbers of deliveries that the database will never take, with the reason and what it said in detail."""


class Position(NamedTuple):
    """How far a place of an outbox is in a table."""

    number: int
    id: str
    refused: Refusals
    """Of the last refusals some hundreds: what comes again after a crash is among the last."""

    @classmethod
    def of_row(cls, number: int, last_id: str, refused: str) -> Position:
        """From what stands in the table."""
        return cls(number, last_id, msgspec.json.decode(refused, type=Refusals))

    def going_on_from(self, former: Iterable[Position]) -> Position:
        """Where a place without a position stands whose deliveries had others before, under the same numbers.

        >>> NOTHING_YET.going_on_from([Position(3, "a", {2: ["no", ""]}), Position(5, "b", {})])
        Position(number=5, id='b', refused={2: ['no', '']})
        """
        together = [self, *former]
        last = max(together, key=lambda position: position.number)
        return last._replace(refused={number: why for one in together for number, why in one.refused.items()})

    def contradiction(self, batch: Sequence[Delivery]) -> Optional[str]:
        """Why this cannot be the position of these deliveries; None where it can."""
        found = next((each for each in batch if each.number == self.number and each.id != self.id), None)
        if found is None:
            return None
        return (
            f"{POSITIONS} has number {self.number} of place {found.place!r} for the trigger {self.id}, and now it is "
            f"{found.id}: another state directory has written there. If this one is right, delete that row"
        )

    def after(self, batch: Sequence[Delivery], refused: Refusals) -> Position:
        """The position when a batch is in, whose last delivery is new, and of which some were refused."""
        last = batch[-1]
        kept = self.refused
        if refused:
            together = {**self.refused, **refused}
            kept = {number: together[number] for number in sorted(together)[-_REFUSALS_MAX:]}
        return Position(last.number, last.id, kept)


NOTHING_YET: Final = Position(-1, "", {})


def refusal(reason: str, detail: str = "") -> list[str]:
    """What is kept of a refusal."""
    return [reason[:_DETAIL_MAX], detail[:_DETAIL_MAX]]


def encoded(refused: Refusals) -> str:
    """Refusals as text for the table."""
    return msgspec.json.encode(refused).decode()


def locking(table: str) -> str:
    """The statement that reads and locks a position in a table of PostgreSQL or MySQL, by its target and place.

    Another process that still writes there is waited for.
    """
    return f"SELECT number, id, refused FROM {table} WHERE target = %s AND place = %s FOR UPDATE"


def keeping(
    table: str, target: str, place: str, position: Position, *, is_refusing: bool
) -> tuple[str, tuple[Any, ...]]:
    """The statement, with its parameters, that writes a position which is in a table of PostgreSQL or MySQL already.

    What was refused is written again only with `is_refusing`, when there is more of it.
    """
    refused = ", refused = %s" if is_refusing else ""
    values = (encoded(position.refused),) if is_refusing else ()
    statement = f"UPDATE {table} SET number = %s, id = %s{refused} WHERE target = %s AND place = %s"
    return statement, (position.number, position.id, *values, target, place)


def answers_of(batch: Sequence[Delivery], refused: Mapping[int, Sequence[str]]) -> list[Answer]:
    """An answer for each delivery, once the transaction is over."""
    return [
        Answer(Outcome.NEVER, refused[delivery.number][0], refused[delivery.number][1])
        if delivery.number in refused
        else DONE
        for delivery in batch
    ]


def all_retried(batch: Sequence[Delivery], reason: str) -> list[Answer]:
    """Nothing of the batch is in, or nobody knows."""
    return [Answer(Outcome.RETRY, reason)] * len(batch)


def answers_placed(batch: Sequence[Delivery], answers: Mapping[str, Sequence[Answer]]) -> list[Answer]:
    """The answers to a batch, in its order, from those of `by_place`."""
    left = {place: iter(found) for place, found in answers.items()}
    return [next(left[delivery.place]) for delivery in batch]


def by_place(batch: Sequence[Delivery]) -> dict[str, list[Delivery]]:
    """Deliveries by place, in their order."""
    found: dict[str, list[Delivery]] = {}
    for delivery in batch:
        found.setdefault(delivery.place, []).append(delivery)
    return found
