"""What is stored of triggers that are to be delivered, and under which keys. See `headway.state.deliveries`."""

from __future__ import annotations

from secrets import token_hex
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from headway.state.database import DELIVERIES, Database
from headway.state.keys import ID_BYTES

__all__ = [
    "BEFORE",
    "DEAD",
    "DUE",
    "HEAD",
    "LANE",
    "LOG",
    "NEXT",
    "NUMBER_BYTES",
    "PARKED",
    "TOTALS",
    "Dead",
    "DeliveryRow",
    "Lane",
    "Next",
    "Totals",
    "Undelivered",
    "decoded",
    "encode",
    "new_place",
    "number_bytes",
    "read_next",
    "read_number",
]

# Behind the number of the output, what a key is of; then:
LOG: Final = b"a"
"""The number of a row."""
NEXT: Final = b"b"
"""Nothing: one `Next` for each output."""
TOTALS: Final = b"c"
"""Nothing: one `Totals` for each output."""
LANE: Final = b"d"
"""A lane."""
DUE: Final = b"e"
"""When a lane is due, and the lane."""
PARKED: Final = b"f"
"""A lane, and the number of a row."""
DEAD: Final = b"g"
"""The number of a row."""

NUMBER_BYTES: Final = 8
HEAD: Final = ID_BYTES + 1
"""How much of a key says of which output and of what it is."""
T = TypeVar("T")


class DeliveryRow(msgspec.Struct, array_like=True, frozen=True):
    """What is stored of a trigger. Fields may be added at the end, with defaults."""

    lane: str
    """Triggers of one lane leave one after the other: the key."""
    time_ms: int
    sequence: str
    line: bytes
    """The CloudEvent in JSON."""
    place: str = ""
    """A place of its own, for one that stands no longer where it was made in its turn; empty for all others."""
    number: int = 0
    """The number that it has in its own place, or had in the former one."""
    former: str = ""
    """The place in which it had its number when key groups were divided otherwise; empty where they were not."""


class Lane(msgspec.Struct, array_like=True, frozen=True):
    """How it stands with a lane that is parked."""

    attempts: int = 0
    """How often its first row was tried."""
    first_ms: int = 0
    """When that was first, by the wall clock, in epoch milliseconds."""
    due_ms: int = 0
    """When it is tried next."""
    reason: str = ""
    """Why it failed last; empty where it only waits for others."""
    head: str = ""
    """The beginning of what the receiver answered."""


class Dead(msgspec.Struct, array_like=True, frozen=True):
    """A row that was given up, and why."""

    row: DeliveryRow
    reason: str
    head: str
    attempts: int
    died_ms: int
    """When it was given up, by the wall clock, in epoch milliseconds."""


class Totals(msgspec.Struct, array_like=True, frozen=True):
    """What has become of the rows of one output in one group, since there is state."""

    delivered: int = 0
    died: int = 0
    dropped: int = 0
    floor: int = 0
    """No row in the log has a number below it: the first search need not pass what was deleted."""
    stopped: str = ""
    """Why the receiver wants nothing more at all; empty where it does."""
    redriven: int = 0
    """How many rows were put back that had died."""
    log: Lane = Lane()
    """How it stands with the log of a receiver that takes it strictly in order."""

    @property
    def gone(self) -> int:
        """Rows that wait no longer."""
        return self.delivered + self.died + self.dropped


class Next(msgspec.Struct, array_like=True, frozen=True):
    """Where the numbers of an output stand in a group."""

    number: int = 0
    place: str = ""
    """The name of their log: another one in each state directory, and after key groups were divided otherwise."""


class Undelivered(NamedTuple):
    """A row that waits, and where it is."""

    number: int
    row: DeliveryRow
    is_parked: bool

    def place(self, log: str) -> tuple[str, int, tuple[str, ...]]:
        """The place that it is delivered under from a log, its number there, and the places that it had before.

        Rows that have come from another group keep the numbers that they had, in a place for each such group: what the
        receiver had taken of that place is above none of them, and what it goes on taking of it elsewhere neither.

        >>> Undelivered(7, DeliveryRow("cart-1", 0, "", b"", former="b<a", number=3), is_parked=False).place("c")
        ('c<b<a', 3, ('b<a', 'a'))
        """
        row = self.row
        if row.place:
            return row.place, row.number, ()
        if not row.former:
            return log, self.number, ()
        parts = row.former.split(BEFORE)
        return log + BEFORE + row.former, row.number, tuple(BEFORE.join(parts[at:]) for at in range(len(parts)))


BEFORE: Final = "<"
"""In the name of a place, stands between that of a log and the place in which its rows were before."""


encode: Final = msgspec.msgpack.Encoder().encode
_DECODERS: Final[dict[type[Any], msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (DeliveryRow, Lane, Dead, Totals, Next)
}


def decoded(database: Database, key: bytes, payload: bytes, kind: type[T]) -> T:
    """A stored value as what it is, given without its version byte; raises `CorruptStateError` for anything else."""
    try:
        value: T = _DECODERS[kind].decode(payload)
    except msgspec.DecodeError as error:
        raise database.corrupt(DELIVERIES, key, f"not a {kind.__name__.strip('_')} ({error})") from error
    return value


def read_next(database: Database, prefix: bytes) -> Next | None:
    """Where the numbers of the output with this prefix stand; None before it has any."""
    key = prefix + NEXT
    payload = database.get(DELIVERIES, key)
    return None if payload is None else decoded(database, key, payload, Next)


def new_place(output: int, group: int) -> str:
    """The name of a log of an output in a group: no other one has it, also not in a directory that is made anew.

    A receiver that remembers the last number of a place would pass over what comes later under a smaller one.
    """
    return f"{output}/{group}/{token_hex(8)}"


def number_bytes(number: int) -> bytes:
    """A number, or a time in milliseconds that is not negative, so that it sorts as it counts."""
    return number.to_bytes(NUMBER_BYTES, "big")


def read_number(key: bytes) -> int:
    """The number that a key ends with."""
    return int.from_bytes(key[-NUMBER_BYTES:], "big")
