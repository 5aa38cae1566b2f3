"""Named points before and after each durable step, at which tests and `headway prove` end a process by SIGKILL.

What survives a crash is decided between two steps: a delta is written and its token not yet returned, a line is in the
file and not yet synced. A kill at a random moment seldom falls there. So the code says where it stands, by name, and a
*watch* counts these points and ends the process at one of them, as `kill -9` would: no handler runs, no buffer is
flushed.

Nothing is watched unless the environment variable `HEADWAY_CRASHPOINTS` names a folder when the process starts, or
`watch` was called. Then a point costs some microseconds. Else it costs the call of an empty function, some 30 ns, and
there are points for an epoch, a batch or a file, never for an event.

The folder is shared by all processes of a run. `counts` is how often each point was reached, in memory that they share
and that outlives them; `kill` says where to end (`Kill`), once, as counts only grow; `run` is the number of the run's
first process; `synced` grows by a line for each file that was made durable, with its length. By that a loss of power
can be played afterwards: what lies behind the last synced length is cut off (`headway.proving.crashes`).

Rejected: replacing functions from outside, as test doubles do. It needs the same process, follows no child, and goes
stale without a word when a function gets another name. And `ptrace` or a faulty file system: they see system calls and
not what they mean.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Optional, Union

__all__ = ["COUNT", "POINTS", "STEPS", "VARIABLE", "reached", "synced", "syncing", "watch"]

VARIABLE: Final = "HEADWAY_CRASHPOINTS"

STEPS: Final = {
    "database": "a batch of any kind is written to the RocksDB of a key group",
    "delta": "what an epoch has changed of a task is stored as pending",
    "delta-sync": "what an epoch has changed of a task is synced: only then may the engine's log have its token",
    "promotion": "a pending delta that is durable on every worker becomes what readers see",
    "resumption": "a start promotes or discards the delta that was pending",
    "mark": "the mark by which an output knows its file is stored",
    "slot": "the position of a reader slot is handed to the engine's log",
    "stage": "the version of a keyed stage is handed to the engine's log",
    "output": "the version of an output is handed to the engine's log",
    "epoch": "a slot learns that the epoch before is durable, and acknowledges what was read in it",
    "settlement": "at a good end of the run, all that is durable is promoted and delivered",
    "lines": "lines are written to a JSON lines file",
    "lines-sync": "a JSON lines file is synced, at the end of an epoch",
    "lines-cut": "a start cuts a JSON lines file back to the last durable epoch",
    "columns": "a file of Parquet, the time of which is over, takes its place",
    "outbox": "lines leave that cannot be taken back, such as those of standard output",
    "attempt": "triggers are handed to a target",
    "acknowledgement": "it is noted what came of deliveries: rows are removed, parked or given up",
    "inbox": "events are written to an inbox",
    "inbox-sync": "an inbox is synced",
    "inbox-answer": "those who wait are told that their events are durable",
    "queue-answer": "messages of a queue are acknowledged, which are durable in its inbox",
    "snapshot": "a snapshot of a table, all rows of which are on the disk, gets its name",
    "replacement": "a file of the state directory takes the place of the one before",
    "manifest": "the manifest is replaced: what the directory is now",
    "positions": "the positions of the sources are stored, as a generation begins",
    "drain": "it is noted how far the books are closed",
    "cleaning": "what only other generations need is removed",
    "move": "key groups that were divided otherwise take the place of the old ones",
    "savepoint-part": "a process of a run links its part of a savepoint",
    "savepoint": "a savepoint, all files of which are there, gets its name",
    "restoring": "all that a savepoint restores is written beside what it takes the place of",
    "backup-claim": "a place for backups is claimed for a state directory",
    "backup-files": "the files of a backup are sent that the place lacks",
    "backup-manifest": "the manifest of a backup is written, all files of which are there",
    "backup": "the catalog of the place takes a backup",
    "backup-cleaning": "objects are removed that no backup needs any more",
    "redrive": "dead letters are put back in",
    "log-sum": "a checksum of the engine's log is kept, at a good end of the run",
}
"""What is made durable, by the name of the step. Its points are `STEP.before` and `STEP.after`."""

POINTS: Final = tuple(f"{step}.{side}" for step in STEPS for side in ("before", "after"))
"""All points, in the order of their counts in the folder."""

COUNT: Final = struct.Struct("<Q")
"""How often a point was reached, as it is stored."""

_NUMBERS: Final = {point: number for number, point in enumerate(POINTS)}


def reached(point: str) -> None:
    """The process stands at a point: it may end here."""
    if _watches:
        _watches[0].reached(point)


def synced(path: Union[str, Path]) -> None:
    """A file has just been made durable as it is now."""
    if _watches:
        _watches[0].synced(path)


@contextmanager
def syncing(folder: Path, pattern: str) -> Iterator[None]:
    """Inside this block all such files of a folder are made durable, as they were when it was entered.

    What others write to them meanwhile is not taken for durable, nor is anything where the block raises.
    """
    watch = _watches[0] if _watches else None
    lengths = [] if watch is None else [watch.length(path) for path in sorted(folder.glob(pattern))]
    yield
    if watch is not None:
        watch.note("".join(lengths))


def watch(folder: Union[str, Path, None]) -> None:
    """Count points in this process from now on, and in those that it starts; None ends that."""
    _watches.clear()
    os.environ.pop(VARIABLE, None)
    if folder is not None:
        os.environ[VARIABLE] = str(folder)
        _watches.append(_Watch(Path(folder)))


class _Watch:
    """The folder of one run, as one of its processes sees it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        size = COUNT.size * len(POINTS)
        self._file = os.open(folder / "counts", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < size:
            os.ftruncate(self._file, size)
        self._counts = mmap.mmap(self._file, size)
        self._synced = os.open(folder / "synced", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._kill: Optional[tuple[int, int, bool]] = None
        with suppress(FileNotFoundError):
            point, nth, whom = (folder / "kill").read_text().split()
            self._kill = _NUMBERS[point], int(nth), whom == "run"

    def reached(self, point: str) -> None:
        number = _NUMBERS[point]
        # Between threads by the lock, between processes by the file's: a kill is to happen exactly once.
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            [before] = COUNT.unpack_from(self._counts, number * COUNT.size)
            COUNT.pack_into(self._counts, number * COUNT.size, before + 1)
            if self._kill is not None and self._kill[:2] == (number, before + 1):
                self._end()
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def synced(self, path: Union[str, Path]) -> None:
        self.note(self.length(path))

    def length(self, path: Union[str, Path]) -> str:
        """What is noted of a file that is durable as it is now."""
        with suppress(FileNotFoundError):  # RocksDB removes a log that it needs no more.
            found = os.stat(path)
            return f"{found.st_ino} {found.st_size} {os.path.abspath(path)}\n"
        return ""

    def note(self, lengths: str) -> None:
        os.write(self._synced, lengths.encode())

    def _end(self) -> None:
        """End this process, and before it that of the run if the whole run is to end."""
        assert self._kill is not None
        if self._kill[2]:
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int((self._folder / "run").read_text()), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


_watches: Final[list[_Watch]] = []
"""The one that this process has, if any."""

if os.environ.get(VARIABLE):
    watch(os.environ[VARIABLE])
