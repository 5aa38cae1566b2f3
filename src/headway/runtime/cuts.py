"""Telling readers in other processes which versions are one committed epoch; see `headway.state.cut`.

**Who knows.** A slot that is polled in an epoch knows that the one before is durable on every worker: that is what
`headway.runtime.participant` stands on. So the first slot of all that is polled writes the cut, before it sends
anything. All others find it written. No group has promoted the epoch by then, since it hears of it only by what a slot
sends; and none has prepared the next one, since no epoch closes before all slots have ended it, this one included.

**What it needs to know.** The versions of all tasks in all key groups lie in memory that the workers of one machine
share, written by whoever has prepared. Where the slots stand is of any size: each worker has a file for its own, which
is rewritten when an epoch closes, and read by the one that writes the cut. Nobody writes it at that moment, for the
same reason. Which of the epochs it is, slots tell by counting those that they have closed: all close the same.

**Runs.** Whoever opens the shared memory first draws the number of the run, removes the feeds of runs before, and all
workers find it there: cuts and feeds (`headway.state.feed`) of one run have the same.

A flow without views does none of this. One with views does it once in an epoch: some 150 µs, or 10 µs when nothing has
changed. The processes of a cluster share no memory: they cannot, and say so.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final, Optional
from zlib import crc32

import msgspec

from headway.basics.times import MIN_TIME_MS
from headway.runtime.job_options import JobOptions
from headway.runtime.stats import known_time
from headway.state.cut import Cut
from headway.state.feed import forget_feeds
from headway.state.files import state_files
from headway.state.manifest import Manifest
from headway.state.private import open_private, read_private

__all__ = ["Cuts", "cuts_of", "forget_cuts"]

_HEAD: Final = struct.Struct("<qq")
"""How many epochs all slots had closed at the last cut, and a checksum of what it says."""
_RUN: Final = struct.Struct("<Q")
"""The number of the run, behind the head; 0 until it is drawn."""
_ENTRY: Final = struct.Struct("<qqq")
"""Of a task in a key group: whether it is known, its version, its watermark."""
_PREFIX: Final = "cut-"


class Cuts:
    """What the workers of a run know of their versions, and the cut that is made of it."""

    def __init__(self, directory: Path, manifest: Manifest, shared: Optional[Path], worker: int, workers: int) -> None:
        self._directory = directory
        self._groups = manifest.key_groups
        self._tasks = {stage.name: number for number, stage in enumerate(manifest.stages)}
        self._generation = manifest.generation
        self._shared = shared
        self._worker = worker
        self._workers = workers
        self._lock = Lock()
        self._slots: dict[str, tuple[str, Mapping[str, Any]]] = {}
        before = Cut.load(directory)
        self._base = 0 if before is None else before.epoch
        size = _HEAD.size + _RUN.size + len(self._tasks) * self._groups * _ENTRY.size
        if shared is None:
            self._memory = mmap.mmap(-1, size)
        else:
            with state_files(shared, "write"):
                self._file = open_private(shared / f"{_PREFIX}board", os.O_RDWR | os.O_CREAT)
                os.ftruncate(self._file, size)
                self._memory = mmap.mmap(self._file, size)
                self._own = open_private(shared / f"{_PREFIX}slots-{worker}", os.O_RDWR | os.O_CREAT)
        self.run = self._drawn()
        """The number of this run."""

    def note_task(self, stage: str, group: int, version: int, watermark: int) -> None:
        """Say where a task stands: when it is resumed, and whenever it has prepared."""
        _ENTRY.pack_into(self._memory, self._at(self._tasks[stage], group), 1, version, watermark)

    def note_slot(self, source: str, slot: str, kept: Mapping[str, Any]) -> None:
        """Say where a slot stands: when it is opened, and whenever it has closed an epoch."""
        with self._lock:
            self._slots[slot] = source, kept.get("partitions", {})
            if self._shared is not None:
                data = msgspec.msgpack.encode(self._slots)
                with state_files(self._shared, "write"):
                    os.pwrite(self._own, len(data).to_bytes(8, "little") + data, 0)

    def proven(self, closed: int) -> None:
        """A slot that has closed so many epochs in this run is polled: the last of them is durable everywhere."""
        if closed <= _HEAD.unpack_from(self._memory)[0]:
            return
        with self._alone():
            done, known = _HEAD.unpack_from(self._memory)
            if closed > done:
                _HEAD.pack_into(self._memory, 0, closed, self._publish(closed, known if done else None))

    def end(self) -> None:
        """The run has ended well on every worker, and so everything is durable."""
        with self._alone():
            done, known = _HEAD.unpack_from(self._memory)
            _HEAD.pack_into(self._memory, 0, done + 1, self._publish(done + 1, known if done else None))

    def close(self) -> None:
        """Let go of what is shared."""
        self._memory.close()
        if self._shared is not None:
            os.close(self._file)
            os.close(self._own)

    def _drawn(self) -> int:
        """The number of this run, drawn by whoever is the first to ask."""
        with self._alone():
            [run] = _RUN.unpack_from(self._memory, _HEAD.size)
            if run == 0:
                forget_feeds(self._directory)
                run = secrets.randbits(63) + 1
                _RUN.pack_into(self._memory, _HEAD.size, run)
        return int(run)

    def _publish(self, closed: int, known: Optional[int]) -> int:
        """Write the cut, unless it says what the one before does; returns the checksum of what it says."""
        cut = self._cut(self._base + closed)
        said = crc32(msgspec.msgpack.encode(msgspec.structs.replace(cut, epoch=0)))
        if said == known:
            Cut.touch(self._directory)
        else:
            cut.store(self._directory)
        return said

    def _cut(self, epoch: int) -> Cut:
        versions, watermarks = [], []
        for task in range(len(self._tasks)):
            entries = [_ENTRY.unpack_from(self._memory, self._at(task, group)) for group in range(self._groups)]
            versions.append([version for _, version, _ in entries])
            least = min(watermark if known else MIN_TIME_MS for known, _, watermark in entries)
            watermarks.append(known_time(least))
        positions: dict[str, dict[str, Any]] = {}
        for source, partitions in self._stands():
            positions.setdefault(source, {}).update(partitions)
        return Cut(
            epoch=epoch,
            generation=self._generation,
            versions=versions,
            watermarks=watermarks,
            positions=positions,
            run=self.run,
        )

    def _stands(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield from self._slots.values()
        for worker in range(self._workers) if self._shared is not None else ():
            if worker != self._worker:
                assert self._shared is not None
                with state_files(self._shared, "read"):
                    data = read_private(self._shared / f"{_PREFIX}slots-{worker}")
                if data:
                    size = int.from_bytes(data[:8], "little")
                    yield from msgspec.msgpack.decode(data[8 : 8 + size]).values()

    def _at(self, task: int, group: int) -> int:
        return _HEAD.size + _RUN.size + (task * self._groups + group) * _ENTRY.size

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._shared is None:
                yield
                return
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)


def cuts_of(manifest: Manifest, options: JobOptions, tell: Callable[[str], None]) -> Optional[Cuts]:
    """What tells readers of the views of a flow what is committed; None for a flow without views."""
    if not manifest.views:
        if options.worker == 0:
            forget_feeds(options.state_dir)
        return None
    if not options.sees_all:
        if options.worker == 0:
            tell("the views of this flow are not served: its workers run on several machines")
        return None
    shared = None if options.board_path is None else options.board_path.parent
    return Cuts(options.state_dir, manifest, shared, options.worker, options.workers)


def forget_cuts(run_dir: Path) -> None:
    """Remove what workers that are gone have shared."""
    for path in run_dir.glob(f"{_PREFIX}*"):
        path.unlink()
