"""What an output has still to write and cannot take back once it has: rows, until they have been written."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from headway.basics.crashpoints import reached
from headway.state.database import OUTBOX, VERSION_BYTE, Database
from headway.state.keys import successor

__all__ = ["Outbox"]

_VERSION_BYTES: Final = 8
_NUMBER_BYTES: Final = 4
_PART: Final = 1_000
"""Rows that are read back and written at a time."""


class Outbox:
    """Records in the order in which they were made, each a row `(version, number)` of the epoch that made it.

    `add` takes those of this epoch. They become pending with the epoch's delta, and once that is known to be durable
    on every worker, `deliver` hands them to the output. Then the delta is moved into the main column families without
    them, so that in a run without a crash a record is stored once, with the delta. Only what a start finds pending
    and promotes becomes rows of the main family; `deliver` takes these out as it hands them on.

    A crash in the middle of `deliver` delivers again, in the same order and with the same bytes.
    """

    def __init__(self, database: Database, prefix: bytes) -> None:
        self._database = database
        self._prefix = prefix
        self._end = successor(prefix)
        self._made: list[bytes] = []
        self._pending: dict[bytes, bytes] = {}
        self._has_stored = True

    def __len__(self) -> int:
        """How many records of this epoch and of the pending one there are."""
        return len(self._made) + len(self._pending)

    def add(self, records: list[bytes]) -> None:
        """Take records that this epoch has made."""
        self._made += records

    def deliver(self, write: Callable[[list[bytes]], None]) -> None:
        """Hand on all that is durable, which the pending version must be by now; what `write` raises leaves the rest.

        The removal of rows is not synced: whoever must be sure that they do not come again syncs the database.
        """
        if self._has_stored:
            self._deliver_stored(write)
            self._has_stored = False
        if self._pending:
            reached("outbox.before")
            write([value[len(VERSION_BYTE) :] for value in self._pending.values()])
            reached("outbox.after")
            self._pending = {}

    def _deliver_stored(self, write: Callable[[list[bytes]], None]) -> None:
        database = self._database
        # The keys only grow, so each search begins behind what was deleted.
        start = self._prefix
        while rows := list(islice(database.scan(OUTBOX, start, self._end), _PART)):
            write([database.unwrap(OUTBOX, key, value) for key, value in rows])
            batch = database.batch()
            for key, _ in rows:
                batch.delete(OUTBOX, key)
            database.write(batch, sync=False)
            start = rows[-1][0]

    @property
    def changed(self) -> bool:
        """Whether this epoch has made any."""
        return bool(self._made)

    @property
    def undelivered(self) -> bool:
        """Whether records of the pending version have not been handed on: they must be kept when it is promoted."""
        return bool(self._pending)

    def delta(self, version: int) -> dict[bytes, bytes]:
        """What this epoch made, by stored key."""
        return {
            self._prefix + self.key(version, number): VERSION_BYTE + record for number, record in enumerate(self._made)
        }

    @staticmethod
    def key(version: int, number: int) -> bytes:
        """The key of a record behind the prefix of its task; versions begin with 1, and before them are older ones."""
        return version.to_bytes(_VERSION_BYTES, "big") + number.to_bytes(_NUMBER_BYTES, "big")

    def commit(self, delta: dict[bytes, bytes]) -> None:
        """The pending delta has gone into RocksDB, and `delta`, this epoch's, has become pending."""
        self.settle()
        self._pending, self._made = delta, []

    def settle(self) -> None:
        """The pending delta has gone into RocksDB, with what was not delivered of it."""
        self._has_stored = self._has_stored or self.undelivered
        self._pending = {}

    def restore(self) -> None:
        """Start over from the main column family."""
        self._made, self._pending = [], {}
        self._has_stored = True
