"""A board in shared memory on which the reader slots and the workers of one machine say how far they are.

Nothing that is read here decides about results. Slots use it to go in step, to wait while stages are behind, to prove
that an epoch is durable as long as anybody waits for it, and to end a run only when everything they have sent has been
handled.
"""

from __future__ import annotations

import mmap
import secrets
import struct
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, Optional

from headway.basics.times import MAX_TIME_MS, MIN_TIME_MS
from headway.plan.stages import Plan
from headway.state.files import state_files
from headway.state.private import write_private

__all__ = ["Board", "Mark", "Progress", "sources_in_step"]

_ENTRY: Final = struct.Struct("<qqq")
_WORKER: Final = struct.Struct("<qq")
_COUNT: Final = struct.Struct("<q")
_GROUPS_BYTES: Final = 32
"""A bit for each key group there may be."""
_SHARE: Final = _WORKER.size + 6 * _COUNT.size + _GROUPS_BYTES
_RUN: Final = struct.Struct("<Q")
"""The number of the run, drawn when the board is made."""
_MARK: Final = struct.Struct("<qQ")
"""After which epoch key groups are linked, and for whom; behind it how many epochs are proven to be durable."""
_UNSTARTED, _ACTIVE, _IDLE, _DONE = range(4)
LEAD_RECORDS: Final = 50_000
"""How many records a slot may read ahead of the slowest one before it pauses."""


class _Entry(NamedTuple):
    state: int
    watermark: int
    events: int


class Progress(NamedTuple):
    """How far one worker has handled what was sent to it."""

    behind: int
    """How many of its tasks have more to do."""
    watermark: int
    """The least watermark of its tasks; the greatest time where it has none."""


class Mark(NamedTuple):
    """After which epoch all processes take their part of a savepoint."""

    closed: int
    """How many epochs all slots will have closed in this run; 0 where none was asked for."""
    asker: int
    """The number of who asks."""


class Board:
    """What slots and workers know of each other: hints that pace them, and the basis for calling a slot idle.

    `slots` maps each slot's name to the number of its set: only slots of one set go in step. Without
    `path` the board is private to the process. `workers` is the number of processes.
    """

    def __init__(
        self,
        slots: Mapping[str, int],
        path: Optional[Path] = None,
        lead_records: int = LEAD_RECORDS,
        workers: int = 1,
    ) -> None:
        self._index = {name: index for index, name in enumerate(sorted(slots))}
        self._sets = dict(slots)
        self._lead_records = lead_records
        self._history: dict[str, deque[tuple[int, int]]] = {name: deque() for name in slots}
        # On a private board the slots of other processes never start.
        self._shared = path is not None
        self._workers = workers
        size = _size(len(slots), workers)
        if path is None:
            self._memory = mmap.mmap(-1, size)
            self._memory[-_RUN.size :] = secrets.token_bytes(_RUN.size)
        else:
            with state_files(path), path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), size)

    @staticmethod
    def create(path: Path, slots: int, workers: int) -> None:
        """Make an empty board for several processes to open."""
        write_private(path, bytes(_size(slots, workers) - _RUN.size) + secrets.token_bytes(_RUN.size))

    @property
    def run(self) -> int:
        """The number of the run: another one after each restart of the workers."""
        return int(_RUN.unpack_from(self._memory, len(self._memory) - _RUN.size)[0])

    def post(self, mark: Mark) -> None:
        """Ask for parts of a savepoint. Everybody of this run who may do so at a time says the same."""
        _MARK.pack_into(self._memory, self._mark_at, *mark)

    def mark(self) -> Mark:
        """What was asked for last."""
        return Mark(*_MARK.unpack_from(self._memory, self._mark_at))

    def report_proven(self, closed: int) -> None:
        """Say that the last of so many epochs, which all slots have closed, is durable on every worker."""
        if closed > self.proven():
            _COUNT.pack_into(self._memory, self._mark_at + _MARK.size, closed)

    def proven(self) -> int:
        """How many epochs of this run are known to be durable on every worker."""
        return int(_COUNT.unpack_from(self._memory, self._mark_at + _MARK.size)[0])

    @property
    def _mark_at(self) -> int:
        return len(self._memory) - _RUN.size - _COUNT.size - _MARK.size

    def report(self, worker: int, progress: Progress) -> None:
        """Say how far a worker is."""
        # A new board is all zeros: what is stored is one more, so that a worker that said nothing counts for nothing.
        _WORKER.pack_into(self._memory, self._at(worker), progress.behind + 1, progress.watermark)

    def report_in_doubt(self, worker: int, count: int) -> None:
        """Say how many participants of a worker wait to hear that what they have prepared is durable."""
        _COUNT.pack_into(self._memory, self._at(worker) + _WORKER.size, count)

    def in_doubt(self) -> int:
        """How many participants of all workers wait to hear that what they have prepared is durable."""
        places = [self._at(worker) + _WORKER.size for worker in range(self._workers)]
        return sum(_COUNT.unpack_from(self._memory, place)[0] for place in places)

    def _at(self, worker: int) -> int:
        """Where the part of a worker begins.

        Progress, participants in doubt, failures, the end of its last epoch, pressing, groups that wait, what comes
        back, the begin of its epoch.
        """
        return len(self._index) * _ENTRY.size + worker * _SHARE

    def progress(self) -> Progress:
        """How far all workers together are."""
        found = [_WORKER.unpack_from(self._memory, self._at(worker)) for worker in range(self._workers)]
        told = [Progress(behind - 1, watermark) for behind, watermark in found if behind]
        return Progress(sum(one.behind for one in told), min((one.watermark for one in told), default=MAX_TIME_MS))

    def report_failures(self, worker: int, count: int) -> None:
        """Say how often code of the flow has failed in a worker."""
        _COUNT.pack_into(self._memory, self._failures_at(worker), count)

    def failures_elsewhere(self, worker: int) -> int:
        """How often it has in all other workers."""
        others = [other for other in range(self._workers) if other != worker]
        return sum(_COUNT.unpack_from(self._memory, self._failures_at(other))[0] for other in others)

    def _failures_at(self, worker: int) -> int:
        return self._at(worker) + _WORKER.size + _COUNT.size

    def report_closed(self, worker: int, now_ms: int) -> None:
        """Say when a slot of a worker has closed an epoch, on the machine's clock that never goes back."""
        _COUNT.pack_into(self._memory, self._failures_at(worker) + _COUNT.size, now_ms)

    def last_closed_ms(self) -> int:
        """When a slot of any worker has last closed an epoch; 0 when none has."""
        places = [self._failures_at(worker) + _COUNT.size for worker in range(self._workers)]
        return max(int(_COUNT.unpack_from(self._memory, place)[0]) for place in places)

    def report_begun(self, worker: int, now_ms: int) -> None:
        """Say when a slot of a worker has begun an epoch: all workers have written the one before."""
        _COUNT.pack_into(self._memory, self._returning_at(worker) + _COUNT.size, now_ms)

    def last_begun_ms(self) -> int:
        """When a slot of any worker has last begun an epoch; 0 when none has ended one yet."""
        places = [self._returning_at(worker) + _COUNT.size for worker in range(self._workers)]
        return max(int(_COUNT.unpack_from(self._memory, place)[0]) for place in places)

    def report_pressing(self, worker: int, *, is_pressing: bool) -> None:
        """Say whether as many triggers wait in a worker as may, so that no worker should read more."""
        _COUNT.pack_into(self._memory, self._failures_at(worker) + 2 * _COUNT.size, is_pressing)

    def is_pressed(self) -> bool:
        """Whether any worker has said so."""
        places = [self._failures_at(worker) + 2 * _COUNT.size for worker in range(self._workers)]
        return any(_COUNT.unpack_from(self._memory, place)[0] for place in places)

    def report_waiting(self, worker: int, groups: int) -> None:
        """Say which groups of a worker wait for time to go on, a bit for each."""
        place = self._failures_at(worker) + 3 * _COUNT.size
        self._memory[place : place + _GROUPS_BYTES] = groups.to_bytes(_GROUPS_BYTES, "little")

    def waiting(self) -> int:
        """Which groups of all workers wait for time to go on, a bit for each."""
        found = 0
        for worker in range(self._workers):
            place = self._failures_at(worker) + 3 * _COUNT.size
            found |= int.from_bytes(self._memory[place : place + _GROUPS_BYTES], "little")
        return found

    def report_returning(self, worker: int, *, is_busy: bool) -> None:
        """Say whether a worker delivers anything that comes back to the flow."""
        _COUNT.pack_into(self._memory, self._returning_at(worker), is_busy)

    def is_returning(self) -> bool:
        """Whether any worker does."""
        return any(_COUNT.unpack_from(self._memory, self._returning_at(one))[0] for one in range(self._workers))

    def _returning_at(self, worker: int) -> int:
        return self._failures_at(worker) + 3 * _COUNT.size + _GROUPS_BYTES

    def is_done(self, name: str) -> bool:
        """Whether a slot has read all that it ever will."""
        return self._entry(name).state == _DONE

    def has_begun(self, name: str) -> bool:
        """Whether a slot has said anything yet."""
        return self._entry(name).state != _UNSTARTED

    def least_published(self) -> int:
        """The least watermark that any slot has published."""
        return min((self._entry(name).watermark for name in self._index), default=MAX_TIME_MS)

    def publish(self, name: str, watermark: int, events: int, *, done: bool, idle: bool) -> None:
        """Say how far a slot is."""
        state = _DONE if done else _IDLE if idle else _ACTIVE
        _ENTRY.pack_into(self._memory, self._index[name] * _ENTRY.size, state, watermark, events)
        history = self._history[name]
        if not history or history[-1][0] < watermark:
            low = self.least_active(name)
            if low is None:
                history.clear()
            while len(history) > 1 and low is not None and history[1][0] <= low:
                history.popleft()
            history.append((watermark, events))

    def events(self) -> int:
        """How many events all slots together have read, as far as they have said."""
        return sum(self._entry(name).events for name in self._index)

    def _entry(self, name: str) -> _Entry:
        return _Entry(*_ENTRY.unpack_from(self._memory, self._index[name] * _ENTRY.size))

    def _others(self, name: str) -> list[_Entry]:
        return [
            self._entry(other) for other, its_set in self._sets.items() if its_set == self._sets[name] and other != name
        ]

    def must_wait(self, name: str) -> bool:
        """Whether a slot has read so far ahead of the slowest active one that it should let it catch up."""
        low = self.least_active(name)
        history = self._history[name]
        if low is None or not history or history[-1][0] <= low:
            return False
        while len(history) > 1 and history[1][0] <= low:
            history.popleft()
        own = self._entry(name)
        ahead_from = history[0][1]
        return own.events - ahead_from > self._lead_records

    def least_active(self, name: str) -> Optional[int]:
        """The least watermark of the other slots of its set that still read and are not idle; None without any."""
        reading = (_UNSTARTED, _ACTIVE) if self._shared else (_ACTIVE,)
        active = [
            MIN_TIME_MS if entry.state == _UNSTARTED else entry.watermark
            for entry in self._others(name)
            if entry.state in reading
        ]
        return min(active, default=None)

    def least_known(self, name: str) -> Optional[int]:
        """The least watermark of those of the other slots of its set that have one; None without any."""
        known = [entry.watermark for entry in self._others(name) if entry.state != _UNSTARTED]
        return min((watermark for watermark in known if watermark != MIN_TIME_MS), default=None)


def _size(slots: int, workers: int) -> int:
    return max(1, slots) * _ENTRY.size + workers * _SHARE + _MARK.size + _COUNT.size + _RUN.size


def sources_in_step(plan: Plan) -> dict[str, int]:
    """For each source the number of its set: sources whose events meet somewhere downstream are in one set."""
    leads_to: dict[str, set[str]] = {source.name: set() for source in plan.sources}
    stages = {stage.name: stage for stage in plan.stages}
    for source in plan.sources:
        todo = {edge.target for edge in plan.edges_of(list(source.ports.values()))}
        while todo:
            target = todo.pop()
            if target not in leads_to[source.name]:
                leads_to[source.name].add(target)
                if target in stages:
                    todo |= {edge.target for edge in plan.edges_of(list(stages[target].outputs.values()))}
    sets: dict[str, int] = {}
    for number, (name, targets) in enumerate(leads_to.items()):
        met = {sets[other] for other in sets if leads_to[other] & targets}
        sets[name] = number
        for other, its_set in list(sets.items()):
            if its_set in met:
                sets[other] = number
    return sets
