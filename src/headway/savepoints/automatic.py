"""Savepoints that a run makes by itself, every so often, and of which it keeps the last ones."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Optional

from headway.errors import HeadwayError
from headway.runtime.directory import StateDirectory
from headway.savepoints.create import create_savepoint
from headway.savepoints.shelf import AUTOMATIC, Shelf

__all__ = ["AutomaticSavepoints"]

log = logging.getLogger("headway")


class AutomaticSavepoints:
    """Makes a savepoint every `every_ms` beside a run, in a thread, and keeps `keep` of those; a context manager.

    It asks the run as `headway savepoint create` does, so several workers make no difference. One that fails is told as
    a warning, and the next is tried in its turn: the run goes on. Savepoints that have a name of their own are never
    removed. The end of the block gives up one that waits for the run.
    """

    def __init__(self, directory: StateDirectory, every_ms: int, keep: int) -> None:
        self._directory = directory
        self._every_s = every_ms / 1_000
        self._keep = keep
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="headway-savepoints", daemon=True)

    def __enter__(self) -> AutomaticSavepoints:
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ending.wait(self._every_s):
            try:
                create_savepoint(self._directory, prefix=AUTOMATIC, stopping=self._ending.is_set)
                Shelf(self._directory.path).prune(self._keep)
            except HeadwayError as error:
                if not self._ending.is_set():
                    log.warning("no savepoint was made: %s", error)
