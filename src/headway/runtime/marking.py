"""Taking part in a savepoint of a running flow, with a stop of a part of an epoch; `headway.savepoints` asks for it.

**What it is.** Somebody wants all key groups, and where all readers stand, as of one committed epoch. Each process has
its own part of these, and nobody may wait for another. So they agree on an epoch, and each links its part when it
knows that this epoch is durable and before anything of it can have changed: a folder of hard links for each group.

**How they agree.** Who asks makes a folder `.new-<number>` in `savepoints/` and holds a lock. The first slot that is
polled and sees it posts a *mark* on the board: the end of the epoch that it is in. That one cannot have been closed
anywhere, since no epoch closes before all slots have ended it, this one included. Several slots may see the folder in
the same epoch: they post the same. All slots count the epochs that they close, and all close the same.

**When a part is taken.** A slot that is polled, having closed the marked epoch, knows that it is durable on every
worker: that is what `headway.runtime.participant` stands on. It says so on the board, and takes the part of its
process, before it sends anything. Whatever another process does in the next epoch begins with a message that was sent
after that: so each task looks at the board before it takes a batch, and the part of its process is taken then. No group
can have prepared the next epoch, which would need this process's word. It may have promoted the marked one, or have
that still pending: the version says which of the two counts, as it does at a start after a crash.

In silence nothing would be sent to a process that has no slot. So a mark makes the slots prove the marked epoch to
everyone, as for a participant that waits to hear of it.

**What it costs.** A `stat` of the folder twenty times a second, a look at the board for each batch. A part takes
some 3 ms for a group: files are linked, and what is in memory is copied from its logs; no row is read. That the epoch
is committed is known before anything is linked, so there is nothing to take back. A run that is killed meanwhile
leaves a folder that nobody takes for a savepoint. A disk that is full fails the savepoint, and not the run.

**Rejected.** *Linking in `prepare`*, as barriers do it elsewhere: the epoch may yet not commit, a task that had nothing
to do is not asked to prepare, and a group that several tasks share has no last one to prepare it. *A thread that links
beside the engine*: the next epoch may be prepared under its hands.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headway.basics.crashpoints import reached
from headway.errors import StateError
from headway.runtime.board import Mark
from headway.state.files import SAVEPOINTS_NAME, state_files
from headway.state.private import make_private, open_private, write_private
from headway.state.seal import seal, unseal
from headway.state.tasks import output_task

if TYPE_CHECKING:
    from headway.runtime.job import Job

__all__ = ["ASKED_PREFIX", "LOCK_FILE", "REFUSED_FILE", "Marker", "Part", "read_part"]

_LOOK_MS: Final = 50
log = logging.getLogger("headway")

LOCK_FILE: Final = ".lock"
"""Held by whoever asks for a savepoint, for as long as he waits."""
ASKED_PREFIX: Final = ".new-"
"""What the name of a folder begins with that asks for a savepoint, before a number of 16 hexadecimal digits."""
REFUSED_FILE: Final = "refused"
"""In that folder: why there will be none."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one process has of a savepoint, besides the key groups that it has linked."""

    generation: int
    worker: int
    """The number of the process."""
    workers: int
    """How many processes the run has."""
    groups: list[int]
    versions: list[tuple[int, int, int]]
    """Task, key group, version."""
    slots: list[tuple[str, str, dict[str, Any]]]
    """Source, reader slot, and where that stood at the end of the epoch."""


def read_part(path: Path, data: bytes) -> Part:
    """A part that a process has left; raises `CorruptStateError` when it cannot be read."""
    return msgspec.convert(unseal(data, str(path)), Part)


class Marker:
    """The side of one process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._board = job.board
        self._folder = job.directory.path / SAVEPOINTS_NAME
        self._stamp = 0
        self._look_at_ms = 0
        self._lock = Lock()
        self._done = Mark(0, 0)

    def began(self, closed: int) -> None:
        """A slot that has closed so many epochs is polled in the next one. It has not sent anything in that yet."""
        self._board.report_proven(closed)
        self.arrived()

    def polled(self, closed: int) -> None:
        """A slot that has closed so many epochs is polled, and so the epoch that it is in has not been closed."""
        now_ms = self._job.clock_ms()
        if now_ms < self._look_at_ms or not self._job.options.sees_all:
            return
        self._look_at_ms = now_ms + _LOOK_MS
        try:
            stamp = os.stat(self._folder).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return
        if stamp != self._stamp:
            self._stamp = stamp
            self._look(closed + 1)

    def arrived(self) -> None:
        """Something has come to a task of this process, and nobody has looked at it yet. Half a microsecond."""
        mark = self._board.mark()
        if mark == self._done or self._board.proven() < mark.closed:
            return
        with self._lock:  # Workers that are threads wait until the first of them has linked everything.
            if mark != self._done:
                reached("savepoint-part.before")
                self._take_part(mark)
                reached("savepoint-part.after")
                self._done = mark

    @property
    def is_awaited(self) -> bool:
        """Whether all processes are to hear of the epoch that is under way, since the one before is to be linked."""
        closed = self._board.mark().closed
        return closed > 0 and closed <= self._board.proven() <= closed + 1

    def _look(self, closed: int) -> None:
        """Post a mark for the end of this epoch, if somebody has asked for one."""
        try:
            names = sorted(name for name in os.listdir(self._folder) if name.startswith(ASKED_PREFIX))
        except FileNotFoundError:
            return
        for name in names:
            asker = _asker(name)
            if asker is None or asker == self._board.mark().asker or not self._is_waited_for():
                continue
            self._board.post(Mark(closed, asker))
            return

    def _is_waited_for(self) -> bool:
        """Whether somebody holds the lock of those who ask; else a folder is what a killed one has left."""
        try:
            descriptor = open_private(self._folder / LOCK_FILE, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _take_part(self, mark: Mark) -> None:
        """Link what this process has. Whatever fails is told to the one who asks, and the run goes on."""
        place = self._folder / f"{ASKED_PREFIX}{mark.asker:016x}"
        if not place.exists():
            return  # It was taken back.
        part = place / f"{self._board.run:016x}-{mark.closed}"
        try:
            with state_files(part, "write"):
                make_private(part)
                make_private(part / "groups")
                groups = []
                for number, store in self._job.groups.stored(with_idle=self._is_first):
                    self._job.beat()  # To link all of them may take longer than a run waits for a sign of life.
                    store.checkpoint(part / "groups" / f"{number:03d}")
                    groups.append(number)
                known = seal(msgspec.to_builtins(self._part(groups)))
                write_private(part / f"worker-{self._job.options.worker}", known, sync=True)
        except StateError as error:
            if place.exists():
                self._refuse(place, str(error))

    @property
    def _is_first(self) -> bool:
        """Whether this process has the first reader slot of all: there is one such process in each run."""
        return min(name for source in self._job.manifest.sources for name in self._job.slot_names(source)) in (
            self._job.slots
        )

    def _part(self, groups: list[int]) -> Part:
        job = self._job
        numbers = {stage.name: number for number, stage in enumerate(job.manifest.stages)}
        versions = [(numbers[name], group, task.store.version) for (name, group), task in list(job.tasks.items())]
        for name, sink in list(job.sinks.items()):
            output = job.manifest.outputs[name].id
            versions.append((output_task(output), job.manifest.output_group(output), sink.store.version))
        return Part(
            generation=job.manifest.generation,
            worker=job.options.worker,
            workers=job.options.workers,
            groups=groups,
            versions=[one for one in versions if one[2]],
            slots=[(slot.source.name, name, dict(slot.kept)) for name, slot in job.slots.items()],
        )

    def _refuse(self, place: Path, why: str) -> None:
        log.warning("no savepoint: %s", why)
        try:
            with state_files(place, "write"):
                write_private(place / REFUSED_FILE, why.encode())
        except StateError as error:
            log.warning("and this could not be told to the one who asks: %s", error)


def _asker(name: str) -> int | None:
    try:
        return int(name.removeprefix(ASKED_PREFIX), 16)
    except ValueError:
        return None
