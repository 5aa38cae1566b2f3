"""The limits of a queue, where a flow has several processes on one machine: they count in one small file together.

The file is mapped, and locked for the some microseconds of a look. Each process has a cell: how many of its attempts
run, when it began one last, and when it was last seen to want one. Who wants one that others have waits for the next
look, some milliseconds later; among those that want, the process with the fewest goes first, then the one that has
waited longest. Cells of processes that are gone are those of processes that are about to be started again: each begins
with an empty one.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from headway.steps.queues import Queue

__all__ = ["LOOK_MS", "SharedLimits"]

LOOK_MS: Final = 5
"""How long to wait for what others have before the next look."""
_WANTS_MS: Final = 100
"""For how long after it was seen to want one a process counts: one that stands still holds up nobody."""
_CELL: Final = struct.Struct("<qqq")
_TOKENS: Final = struct.Struct("<dq")


class _Cell(NamedTuple):
    running: int = 0
    took_ms: int = -1
    wants_ms: int = -_WANTS_MS


class SharedLimits:
    """The limits of one queue, for one of the processes of a flow. Times are of a clock that all of them have."""

    def __init__(self, directory: Path, queue: Queue, worker: int, workers: int, now_ms: int) -> None:
        self._concurrency = queue.concurrency
        self._per_ms = None if queue.per_second is None else queue.per_second / 1_000
        self._burst = float(queue.burst)
        self._worker = worker
        self._workers = workers
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(directory / f"queue-{queue.name}.limits", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with self._locked():
            size = _TOKENS.size + workers * _CELL.size
            if os.fstat(self._file).st_size != size:
                os.ftruncate(self._file, 0)
                os.ftruncate(self._file, size)
                os.pwrite(self._file, _TOKENS.pack(self._burst, now_ms), 0)
                for other in range(workers):
                    os.pwrite(self._file, _CELL.pack(*_Cell()), _TOKENS.size + other * _CELL.size)
            self._map = mmap.mmap(self._file, size)
            self._put(_Cell())
            _, counted_ms = _TOKENS.unpack_from(self._map)
            if counted_ms > now_ms:  # The machine was started anew, and its clock too.
                _TOKENS.pack_into(self._map, 0, self._burst, now_ms)

    def take(self, now_ms: int) -> int:
        """Take a place and a token: 0 when they are there, else in how many milliseconds to ask again."""
        with self._locked():
            cells = [self._cell(worker) for worker in range(self._workers)]
            mine = cells[self._worker]
            others = [cell for worker, cell in enumerate(cells) if worker != self._worker]
            wait_ms = 0
            if sum(cell.running for cell in cells) >= self._concurrency or any(
                cell.wants_ms > now_ms - _WANTS_MS and (cell.running, cell.took_ms) < (mine.running, mine.took_ms)
                for cell in others
            ):
                wait_ms = LOOK_MS
            else:
                wait_ms = self._token(now_ms)
            if wait_ms:
                self._put(mine._replace(wants_ms=now_ms))
            else:
                self._put(_Cell(mine.running + 1, now_ms))
            return wait_ms

    def admit(self) -> None:
        """One has begun already, elsewhere, whatever the limits say."""
        self._add(1)

    def release(self) -> None:
        """A place is free."""
        self._add(-1)

    def give_back_token(self) -> None:
        """What was to begin has not begun."""
        with self._locked():
            tokens, counted_ms = _TOKENS.unpack_from(self._map)
            _TOKENS.pack_into(self._map, 0, min(self._burst, tokens + 1), counted_ms)

    def close(self) -> None:
        """Let go of all places."""
        with self._locked():
            self._put(_Cell())
        self._map.close()
        os.close(self._file)

    def _token(self, now_ms: int) -> int:
        if self._per_ms is None:
            return 0
        tokens, counted_ms = _TOKENS.unpack_from(self._map)
        tokens = min(self._burst, tokens + max(0, now_ms - counted_ms) * self._per_ms)
        # Sums of fractions may miss a whole by a little.
        has_one = tokens >= 1 - 1e-9
        _TOKENS.pack_into(self._map, 0, tokens - has_one, max(now_ms, counted_ms))
        return 0 if has_one else int((1 - tokens) / self._per_ms) + 1

    def _add(self, count: int) -> None:
        with self._locked():
            mine = self._cell(self._worker)
            self._put(mine._replace(running=max(0, mine.running + count)))

    def _cell(self, worker: int) -> _Cell:
        return _Cell(*_CELL.unpack_from(self._map, _TOKENS.size + worker * _CELL.size))

    def _put(self, cell: _Cell) -> None:
        _CELL.pack_into(self._map, _TOKENS.size + self._worker * _CELL.size, *cell)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
