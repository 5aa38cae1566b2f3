"""What the processes of a flow leave for the exporter: small files, each rewritten as a whole about twice a second.

**Why files.** The exporter must not slow down an epoch, nor fail with a worker, nor make a worker wait for whoever
scrapes. So nobody is asked when somebody scrapes: what each process has left is read. A process that is dead or stuck
shows by the age of its file. The files are small, replaced atomically, and lie in the run's directory, which belongs to
the user of the run.

Rejected: prometheus_client's multiprocess mode (no custom collectors, a file for each process that ever lived, sums
that a restart makes wrong); asking each worker over a socket (a scrape would wait for the slowest, and its thread take
the interpreter from the engine); shared memory with a fixed layout (names of stages and targets are of any length).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Optional, TypeVar, Union

import msgspec

from headway.basics.histogram import Histogram
from headway.errors import StateError
from headway.runtime.stats import RunStats
from headway.state.files import state_files
from headway.state.private import make_private, read_private, write_private

__all__ = [
    "SNAPSHOTS",
    "BackupSnapshot",
    "IngestSnapshot",
    "Leaver",
    "RunObserver",
    "RunSnapshot",
    "SourceIngest",
    "ViewsSnapshot",
    "leave",
    "now_ms",
    "process_name",
    "read_snapshot",
    "snapshot_directory",
]

log = logging.getLogger("headway")

EVERY_S: Final = 0.5
"""How often a process leaves a snapshot."""


class RunSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A run: what its workers have said last."""

    file_name: ClassVar[str] = "run.json"

    process: str
    """Of the process that watches the workers; see `process_name`."""
    at_ms: int
    workers: int
    """How many there are to be; fewer are known while they are started."""
    stats: RunStats


class SourceIngest(msgspec.Struct, kw_only=True):
    """What the server that takes posts has done for one source, since it was started."""

    events: int = 0
    """Events that it has acknowledged, repeats included."""
    duplicates: int = 0
    """Requests, or events with keys of their own, that were repeats."""
    syncs: Histogram = msgspec.field(default_factory=Histogram)
    """How long it took to make a group of requests durable."""


class IngestSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The server that takes posts."""

    file_name: ClassVar[str] = "ingest.json"

    process: str
    at_ms: int
    responses: dict[str, int]
    """Answers by status."""
    under_way: int
    queued_bytes: int
    """What waits to be made durable."""
    sources: dict[str, SourceIngest]


class ViewsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The server of views."""

    file_name: ClassVar[str] = "views.json"

    process: str
    at_ms: int
    responses: dict[str, int]
    """Answers by status."""
    under_way: int
    watching: int
    """Clients that wait for a change."""
    cut_at_ms: Optional[int]
    """When what it answers was the newest; None while it knows nothing."""


class BackupSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The backups of a run."""

    file_name: ClassVar[str] = "backups.json"

    process: str
    at_ms: int
    made: int
    failed: int
    sent_bytes: int
    last_ms: Optional[int]
    """When the last one was made, also of an earlier run; None while there is none that is known."""


Snapshot = Union[RunSnapshot, IngestSnapshot, ViewsSnapshot, BackupSnapshot]
SNAPSHOTS: Final = (RunSnapshot, IngestSnapshot, ViewsSnapshot, BackupSnapshot)
S = TypeVar("S", RunSnapshot, IngestSnapshot, ViewsSnapshot, BackupSnapshot)


def process_name(started_ms: int, pid: Optional[int] = None) -> str:
    """What tells a process from all that are or were."""
    return f"{os.getpid() if pid is None else pid}-{started_ms}"


def snapshot_directory(state_dir: Path) -> Path:
    """Where the processes of a run leave their snapshots."""
    return state_dir / "run" / "metrics"


def leave(directory: Path, snapshot: Snapshot) -> None:
    """Leave a snapshot; its directory is made where there is none. Raises `StateError` when the disk refuses."""
    path = directory / snapshot.file_name
    with state_files(path, "write"):
        make_private(directory)
        write_private(path, msgspec.json.encode(snapshot))


def read_snapshot(directory: Path, kind: type[S]) -> Optional[S]:
    """The last one of a kind; None where there is none, or it cannot be read: the next one will be there soon."""
    try:
        return msgspec.json.decode(read_private(directory / kind.file_name), type=kind)
    except (OSError, StateError, msgspec.DecodeError, UnicodeDecodeError):
        return None


class RunObserver:
    """Hears what a run says of itself, and has the last of it for a `Leaver`: the engine's thread writes no file."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._process = process_name(now_ms())
        self._stats: Optional[RunStats] = None

    def observe(self, stats: RunStats) -> None:
        """Keep what is told; some nanoseconds."""
        self._stats = stats

    def take(self) -> Optional[RunSnapshot]:
        """The last of it."""
        stats = self._stats
        if stats is None:
            return None
        return RunSnapshot(process=self._process, at_ms=now_ms(), workers=self._workers, stats=stats)


class Leaver:
    """Leaves a snapshot every half second, from a thread of its own, as long as its block lasts; and a last one.

    `take` is called there: it must only read, and gives None while there is nothing to tell. A disk that refuses is
    told once in the log, and changes nothing else.
    """

    def __init__(self, directory: Path, take: Callable[[], Optional[Snapshot]], every_s: float = EVERY_S) -> None:
        self._directory = directory
        self._take = take
        self._every_s = every_s
        self._ended = threading.Event()
        self._refused = False
        self._thread = threading.Thread(target=self._run, name="headway-metrics", daemon=True)

    def __enter__(self) -> Leaver:
        self._leave()
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._leave()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._leave()

    def _leave(self) -> None:
        try:
            snapshot = self._take()
            if snapshot is not None:
                leave(self._directory, snapshot)
            self._refused = False
        except StateError as error:
            if not self._refused:
                self._refused = True
                log.warning("metrics are not up to date: %s", error)


def now_ms() -> int:
    """The wall clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000
