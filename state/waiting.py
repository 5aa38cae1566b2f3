"""Records that have arrived but are later than the watermark: in memory to a bound, then in RocksDB."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec

from headway.errors import CorruptStateError, IncompatibleStateError, UserCodeError
from headway.state.database import VERSION_BYTE, WAITING, Database
from headway.state.inputs import BLOB, SPILLED, InputCodec, decode_blob
from headway.state.keys import FIRST_INPUT, WaitingPosition, decode_waiting, encode_waiting
from headway.state.layered import LayeredMap
from headway.state.redo import NO_SPILL, NO_SPILL_MS
from headway.state.runs import RECORD_TIME, Runs

__all__ = ["Waiting"]

_TIME_ORIGIN: Final = itemgetter(0, 3)
_FIRST: Final = -(2**63)
"""Before all numbers of records on disk: those that were moved there have negative ones."""


class Waiting:
    """The waiting records of all inputs of one stage.

    The order of records is that of their positions: `(time, rank, lane, arrival)`. The lane is the part of the log for
    an input fed by a source, and the origin for an input fed by a stage. Records before the position `spill_floor` are
    in memory, `bound` at most, and go into each epoch's delta as one value; the later ones go to RocksDB one by one,
    and come back in windows when the watermark gets there. The floor is a position and not a time, so that any number
    of records of one instant may wait. Taking and releasing n records costs O(n log n) in whatever steps, and O(n)
    when they arrive in order.

    What is released is gone only once it has been handled: who stops on the way gives the rest back.
    """

    def __init__(
        self, inputs: Sequence[InputCodec], database: Database, prefix: bytes, bound: int, carried: int = 0
    ) -> None:
        """The first `carried` inputs hold what waited when the flow's plan changed; nothing is added to them."""
        self._blob_changed = False
        self.spill_floor: WaitingPosition = NO_SPILL
        self.spilled = 0
        self.spill_sequence = 0
        """The number of the next record that arrives behind the floor."""
        self.spill_front = 0
        """The number of the first record that was moved behind the floor: it counts down, as it arrived before."""
        self.carried = carried
        self._inputs = list(inputs)
        self._database = database
        self._blob_key = prefix + BLOB
        self._spilled_prefix = prefix + SPILLED
        self._map = LayeredMap(
            database, WAITING, [self._spilled_prefix], self._encode_position, self._decode_position, _from_floor
        )
        self._bound = bound
        self._channels: dict[tuple[int, str], Runs] = {}
        self._held = 0
        self._first_ms = NO_SPILL_MS
        self._ready: list[Any] = []
        """What the watermark has passed and nobody has taken, the next one last: each is before all others."""

    def __len__(self) -> int:
        return self._held + len(self._ready) + self.spilled

    def add(self, rank: int, part: str, records: list[Any]) -> None:
        """Take `records` of input `rank`, which arrived in this order through channel `part`.

        Each is later than all that have been released. The list is no longer the caller's.
        Raises `UserCodeError` when one must go to disk and its value cannot be encoded.
        """
        if self.spill_floor[0] != NO_SPILL_MS:
            records = self._spill_late(rank, part, records)
        if records:
            self._hold(rank, part, records)
            if self._held > self._bound:
                self._shed()

    def release(self, watermark_ms: int, limit: int) -> list[Any]:
        """Take out the first records with time <= `watermark_ms`, in order, `limit` at most.

        Fewer than `limit` need not be all: only an empty list says that there are no more. A stage with one input gets
        the records themselves, one with several gets `(rank, record)` pairs. The list is the caller's.
        """
        ready = self._ready
        if not ready:
            if watermark_ms < self._first_ms and watermark_ms < self.spill_floor[0]:
                return []
            released = self._take(watermark_ms)
            if not released and watermark_ms >= self.spill_floor[0]:
                self._load()
                released = self._take(watermark_ms)
            if len(released) <= limit:
                return released
            released.reverse()
            ready = self._ready = released
        self._blob_changed = True
        taken = ready[-limit:]
        del ready[-limit:]
        taken.reverse()
        return taken

    def give_back(self, records: list[Any]) -> None:
        """Take back the last of the records that were just released, in the form and order of `release`."""
        self._ready.extend(reversed(records))
        self._blob_changed = True

    @property
    def next_ms(self) -> int:
        """No waiting record has an earlier time."""
        if self._ready:
            record = self._ready[-1]
            first: int = record[0] if len(self._inputs) == 1 else record[1][0]
            return first
        return min(self._first_ms, self.spill_floor[0])

    def restore(self, spill_floor: WaitingPosition, spilled: int, spill_sequence: int, spill_front: int) -> None:
        """Start over from the main column family; raises when what waits there cannot be read.

        Inputs that were carried over are dropped once nothing waits at them: a stage with one input is quicker.
        """
        self._map.commit()
        self._map.settle()
        self.spilled = spilled
        self.spill_sequence, self.spill_front = spill_sequence, spill_front
        self._channels = {}
        self._ready = []
        self._held = 0
        self._first_ms = NO_SPILL_MS
        blob = self._database.get(WAITING, self._blob_key)
        channels = [] if blob is None else decode_blob(self._database, self._blob_key, blob)
        if self.carried and not spilled and all(stored >= FIRST_INPUT for stored, _, _ in channels):
            del self._inputs[: self.carried]
            self.carried = 0
        time_ms, stored, lane, sequence = spill_floor
        self.spill_floor = time_ms, self._rank(stored), lane, sequence
        for stored, part, encoded in channels:
            rank = self._rank(stored)
            self._hold(rank, part, self._decode(rank, self._blob_key, encoded))
        self._blob_changed = False

    @property
    def stored_floor(self) -> WaitingPosition:
        """The floor as `restore` takes it."""
        time_ms, rank, lane, sequence = self.spill_floor
        return time_ms, self._stored_rank(rank), lane, sequence

    def _stored_rank(self, rank: int) -> int:
        """The number under which an input is stored, which does not depend on how many there are before it."""
        return rank - self.carried + FIRST_INPUT

    def _rank(self, stored: int) -> int:
        return stored - FIRST_INPUT + self.carried

    def _encode_position(self, position: WaitingPosition) -> bytes:
        time_ms, rank, lane, sequence = position
        return self._spilled_prefix + encode_waiting((time_ms, self._stored_rank(rank), lane, sequence))

    def _decode_position(self, key: bytes) -> WaitingPosition:
        time_ms, stored, lane, sequence = decode_waiting(key, len(self._spilled_prefix))
        return time_ms, self._rank(stored), lane, sequence

    @property
    def changed(self) -> bool:
        """Whether this epoch has changed anything."""
        return self._blob_changed or bool(self._map.changes)

    def delta(self) -> dict[bytes, bytes | None]:
        """What this epoch changed, by stored key."""
        changes = self._map.delta()
        if self._blob_changed:
            changes[self._blob_key] = self._encode_blob() if self._held or self._ready else None
        return changes

    def commit(self) -> None:
        """The pending delta has gone into RocksDB, the epoch's changes have become pending."""
        self._map.commit()
        self._blob_changed = False

    def settle(self) -> None:
        """The pending delta has gone into RocksDB."""
        self._map.settle()

    def last_ms(self) -> int | None:
        """The latest time of a waiting record; of a settled store."""
        if self.spilled:
            last = self._map.last()
            return None if last is None else last[0]
        times = [max(runs.times()) for runs in self._channels.values()]
        return max([*times, *(record[0] for _, record in self._ready_pairs())], default=None)

    def _hold(self, rank: int, part: str, records: list[Any]) -> None:
        runs = self._channels.get((rank, part))
        if runs is None:
            runs = self._channels[rank, part] = Runs()
        self._first_ms = min(self._first_ms, runs.add(records))
        self._held += len(records)
        self._blob_changed = True

    def _take(self, until_ms: int) -> list[Any]:
        """Remove and return what is in memory with time <= `until_ms`, in order."""
        if until_ms < self._first_ms:
            return []
        by_rank: list[list[list[Any]]] = [[] for _ in self._inputs]
        first_ms = NO_SPILL_MS
        for channel in sorted(self._channels):
            runs = self._channels[channel]
            taken = runs.take(until_ms)
            if taken:
                by_rank[channel[0]].append(taken)
                self._held -= len(taken)
            if runs:
                first_ms = min(first_ms, runs.first_ms())
            else:
                del self._channels[channel]
        self._first_ms = first_ms
        ordered = [_in_order(parts, codec.from_stage) for parts, codec in zip(by_rank, self._inputs)]
        self._blob_changed = True
        if len(ordered) == 1:
            return ordered[0]
        pairs = [(rank, record) for rank, records in enumerate(ordered) for record in records]
        pairs.sort(key=_pair_time)
        return pairs

    def _lane(self, rank: int, part: str, record: Any) -> str:
        """The third part of a record's position."""
        lane: str = record[3] if self._inputs[rank].from_stage else part
        return lane

    def _spill_late(self, rank: int, part: str, records: list[Any]) -> list[Any]:
        """Move the records that are not before the floor to disk; returns the others."""
        floor_ms, floor_rank, floor_lane, _ = self.spill_floor
        held: list[Any] = []
        late: list[Any] = []
        for record in records:
            time_ms = record[0]
            # At the floor's own lane a new record is behind all that arrived before it, and so behind the floor.
            is_before = time_ms < floor_ms or (
                time_ms == floor_ms and (rank, self._lane(rank, part, record)) < (floor_rank, floor_lane)
            )
            (held if is_before else late).append(record)
        self._spill(rank, part, late)
        return held

    def _shed(self) -> None:
        """Move the later half of what is in memory to disk."""
        times = sorted(time_ms for runs in self._channels.values() for time_ms in runs.times())
        cut_ms = times[self._bound // 2]
        earlier = bisect_left(times, cut_ms)
        moved = {channel: runs.take_from(cut_ms) for channel, runs in self._channels.items()}
        self._channels = {channel: runs for channel, runs in self._channels.items() if runs}
        self._held = earlier
        self._first_ms = min((runs.first_ms() for runs in self._channels.values()), default=NO_SPILL_MS)
        if earlier >= max(1, self._bound // 4):
            self.spill_floor = (cut_ms, 0, "", _FIRST)
        else:
            self._split_instant(cut_ms, moved)
        for (rank, part), records in moved.items():
            self._move(rank, [(part, record) for record in records])
        self._blob_changed = True

    def _split_instant(self, at_ms: int, moved: dict[tuple[int, str], list[Any]]) -> None:
        """Keep the first of so many records of one instant that they do not fit into memory together."""
        instant = [
            (rank, self._lane(rank, part, record), part, record)
            for (rank, part), records in sorted(moved.items(), key=itemgetter(0))
            for record in records
            if record[0] == at_ms
        ]
        instant.sort(key=itemgetter(0, 1))
        count = max(1, self._bound // 2 - self._held)
        for channel, records in moved.items():
            moved[channel] = [record for record in records if record[0] > at_ms]
        kept: dict[tuple[int, str], list[Any]] = {}
        for rank, _, part, record in instant[:count]:
            kept.setdefault((rank, part), []).append(record)
        for (rank, part), records in kept.items():
            self._hold(rank, part, records)
        self.spill_floor = (at_ms + 1, 0, "", _FIRST)
        # From the last to the first: what is moved later comes before what was moved already.
        for rank, lane, part, record in reversed(instant[count:]):
            self._move(rank, [(part, record)])
            self.spill_floor = (at_ms, rank, lane, self.spill_front)

    def _spill(self, rank: int, part: str, records: list[Any]) -> None:
        """Write records to disk that have just arrived."""
        for record in records:
            self._put(rank, part, record, self.spill_sequence)
            self.spill_sequence += 1

    def _move(self, rank: int, records: list[tuple[str, Any]]) -> None:
        """Write records to disk that were in memory: each was there before all on disk with its time and lane."""
        self.spill_front -= len(records)
        for number, (part, record) in enumerate(records):
            self._put(rank, part, record, self.spill_front + number)

    def _put(self, rank: int, part: str, record: Any, sequence: int) -> None:
        position = (record[0], rank, self._lane(rank, part, record), sequence)
        self._map.put(position, VERSION_BYTE + self._encode(rank, [record]), far=True)
        self.spilled += 1

    def _load(self) -> None:
        """Bring the earliest spilled records into memory, half of the bound at most."""
        count = max(1, self._bound // 2)
        found = self._map.first(self.spill_floor, count + 1)
        self.spill_floor = found.pop()[0] if len(found) > count else NO_SPILL
        for position, value in found:
            _, rank, lane, _ = position
            part = "" if self._inputs[rank].from_stage else lane
            self._hold(rank, part, self._decode(rank, self._encode_position(position), value[1:]))
            self._map.remove(position)
        self.spilled -= len(found)

    def _ready_pairs(self) -> list[tuple[int, Any]]:
        """What is ready, in order, as `(rank, record)`."""
        ready = self._ready[::-1]
        return [(0, record) for record in ready] if len(self._inputs) == 1 else ready

    def _encode_blob(self) -> bytes:
        # Its order needs no channels any more: it is before all others of its input, wherever they come from.
        ready: dict[int, list[Any]] = {}
        for rank, record in self._ready_pairs():
            ready.setdefault(rank, []).append(record)
        channels = [(self._stored_rank(rank), "", self._encode(rank, records)) for rank, records in ready.items()]
        channels += [
            (self._stored_rank(rank), part, self._encode(rank, runs.records()))
            for (rank, part), runs in sorted(self._channels.items(), key=itemgetter(0))
        ]
        return VERSION_BYTE + _blob_encoder.encode(channels)

    def _encode(self, rank: int, records: list[Any]) -> bytes:
        try:
            return self._inputs[rank].encode(records)
        except Exception as error:
            msg = (
                f"records of input {rank} cannot be stored while they wait for the watermark ({error}), "
                f"the first is {records[0]!r:.300}; expected values that MessagePack has: text, numbers of 64 bits, "
                "bytes, times, lists, dicts and msgspec structs"
            )
            raise UserCodeError(msg) from error

    def _decode(self, rank: int, key: bytes, encoded: bytes) -> list[Any]:
        if not 0 <= rank < len(self._inputs):
            raise self._database.corrupt(WAITING, key, f"a record of input {rank}, there are {len(self._inputs)}")
        try:
            records: list[Any] = self._inputs[rank].decode(encoded)
        except msgspec.DecodeError as error:
            raise self._undecodable(rank, key, encoded, error) from error
        return records

    def _undecodable(
        self, rank: int, key: bytes, encoded: bytes, error: msgspec.DecodeError
    ) -> CorruptStateError | IncompatibleStateError:
        try:
            msgspec.msgpack.decode(encoded)
        except msgspec.DecodeError:
            return self._database.corrupt(WAITING, key, f"not waiting records ({error})")
        return IncompatibleStateError(
            f"records that wait at input {rank} in {self._database.directory}, key group "
            f"{self._database.group:03d}, do not fit the event's type: {error}; run the version of the flow that "
            "took them until its watermark has passed them, or start with an empty state directory"
        )


def _in_order(parts: list[list[Any]], from_stage: bool) -> list[Any]:
    """One input's records in order; `parts` are in the order of the channels, each sorted by (time, arrival)."""
    if not parts:
        return []
    records = parts[0] if len(parts) == 1 else [record for part in parts for record in part]
    if from_stage:
        records.sort(key=_TIME_ORIGIN)
    elif len(parts) > 1:
        records.sort(key=RECORD_TIME)
    return records


def _from_floor(floor: WaitingPosition, _: int) -> WaitingPosition:
    return floor


def _pair_time(pair: tuple[int, Any]) -> int:
    time_ms: int = pair[1][0]
    return time_ms


_blob_encoder: Final = msgspec.msgpack.Encoder()
