"""Syncs that run at the same time: an epoch waits for the disk once, and not once for each key group.

**Why.** A process has a database for each of its key groups, and each has a log of its own. Synced one after the other
at the end of an epoch, twelve logs take twelve times as long as one. Synced at the same time they take little longer
than one: the file system writes its journal once for all of them. And while the disk works on a group, the engine's
thread encodes what has changed in the next one.

**What holds.** A token must not get into the engine's log before all that it stands for has reached the disk: a start
would look for a version that a loss of power has taken. So whoever hands tokens to the engine calls `wait` first
(`headway.runtime.seal`), and so does whoever takes the end of a run for durable. Nothing else that an epoch has
changed is told to anybody before: participants hear `committed` only when the engine's log has all tokens.

**Errors.** When a sync fails, nothing of its process is handed out any more: `wait` raises what the sync raised, each
time. That ends the run, as a failed sync on the engine's thread would. What has been written is discarded by the next
start, since no token speaks of it.

**What it costs.** Some 20 µs for each sync, and threads that sleep between the epochs.

**Rejected.** *To start all syncs together*, when the first token is handed out: they end later, and gain nothing else.
*One log for all groups of a process*: groups move between workers, each with what it needs to be opened.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import Final

from headway.basics.crashpoints import reached

__all__ = ["Syncs"]

_THREADS: Final = 16
"""They wait for the disk, and take no processor. More would gain little: the disk has a queue, too."""


class Syncs:
    """The syncs of one process that are under way. Its threads are started when they are first needed."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="headway-sync")
        self._changed = Condition()
        self._count = 0
        self._failure: BaseException | None = None

    def start(self, sync: Callable[[], None]) -> None:
        """Have a thread call `sync`, which returns once what was written by now has reached the disk, or raises."""
        with self._changed:
            self._threads.submit(self._run, sync)
            self._count += 1

    def wait(self) -> None:
        """Return once all that were started have ended well; raises what the first one raised that has not."""
        with self._changed:
            while self._count > 0:
                self._changed.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Wait for those that are under way, however they end: before what they sync is closed. Again does nothing."""
        self._threads.shutdown()

    def _run(self, sync: Callable[[], None]) -> None:
        failure: BaseException | None = None
        try:
            reached("delta-sync.before")
            sync()
            reached("delta-sync.after")
        except BaseException as error:  # Whatever it is: it must not be taken for a good end.
            failure = error
        with self._changed:
            self._count -= 1
            self._failure = self._failure or failure
            if self._count == 0:
                self._changed.notify_all()
