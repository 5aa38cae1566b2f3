"""Backups that a run makes by itself, every so often, and a last one at its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, Optional

from headway.backups.catalog import FencedError, Listed
from headway.backups.create import Backups
from headway.backups.store import Store, StoreError
from headway.errors import HeadwayError
from headway.runtime.directory import StateDirectory

__all__ = ["AutomaticBackups", "Figures"]

log = logging.getLogger("headway")


class Figures(NamedTuple):
    """What has come of the backups of a run so far."""

    made: int = 0
    failed: int = 0
    sent_bytes: int = 0
    last_ms: Optional[int] = None
    """When the last backup in the place was made, in epoch milliseconds; None while it is not known."""


class AutomaticBackups:
    """Makes a backup every `every_ms` beside a run, in a thread, and keeps the last `keep` of all in the place.

    A store that fails or cannot be reached is told as a warning, and the next backup is tried in its turn: the run goes
    on. So does one whose place another run has claimed; it makes no more backups, and says so. `take_over`, `anew` and
    `gone` are those of `Backups.claimed`.
    """

    def __init__(
        self,
        store: Store,
        directory: StateDirectory,
        *,
        every_ms: int,
        keep: int,
        take_over: bool = False,
        anew: bool = False,
        gone: int = 0,
    ) -> None:
        self._store = store
        self._directory = directory
        self._every_s = every_ms / 1_000
        self._keep = keep
        self._take_over = take_over
        self._anew = anew
        self._gone = gone
        self._backups: Optional[Backups] = None
        self._held = ExitStack()
        self.figures = Figures()
        self._fenced = threading.Event()
        self._ending = threading.Event()

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Claim the place, and make backups as long as the block lasts; to be entered with the directory's lock held.

        Raises what `Backups.claimed` does, but for a store that cannot be reached: that is tried again.
        """
        try:
            self._claim()
        except StoreError as error:
            log.warning("no backups can be made yet: %s", error)
        thread = threading.Thread(target=self._work, name="headway-backups", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            self._end(thread)
            self._held.close()
            raise
        self._end(thread)

    def _end(self, thread: threading.Thread) -> None:
        self._ending.set()
        thread.join()

    def finish(self) -> Optional[Listed]:
        """Make the last backup, of the run that has ended well; None where none could be made, which is told."""
        with self._held:
            return self._make(lambda: False)

    def _claim(self) -> Backups:
        if self._backups is None:
            self._backups = Backups.claimed(
                self._store,
                self._directory,
                take_over=self._take_over,
                anew=self._anew,
                locked=not self._ending.is_set(),
                gone=self._gone,
            )
            self._held.enter_context(self._backups.leased(self._tell_fenced))
            last = self._backups.version.last
            self.figures = self.figures._replace(last_ms=None if last is None else last.made_ms)
        return self._backups

    def _tell_fenced(self, error: FencedError) -> None:
        if not self._fenced.is_set():
            self._fenced.set()
            log.warning("no more backups are made: %s", error)

    def _work(self) -> None:
        while not self._ending.wait(self._every_s):
            self._make(self._ending.is_set)

    def _make(self, stopping: Callable[[], bool]) -> Optional[Listed]:
        if self._fenced.is_set():
            return None
        try:
            made = self._claim().create(keep=self._keep, stopping=stopping)
        except FencedError as error:
            self._tell_fenced(error)
        except HeadwayError as error:
            if stopping():
                return None
            log.warning("no backup was made: %s", error)
        else:
            before = self.figures
            self.figures = Figures(before.made + 1, before.failed, before.sent_bytes + made.sent_bytes, made.made_ms)
            return made
        self.figures = self.figures._replace(failed=self.figures.failed + 1)
        return None
