"""The savepoints of a state directory: their folder, their names, and which of them go."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from headway.basics.crashpoints import reached
from headway.basics.syncing import sync_directory
from headway.errors import LockedStateError, StateError, UsageError
from headway.runtime.marking import ASKED_PREFIX, LOCK_FILE
from headway.state.files import SAVEPOINTS_NAME, state_files
from headway.state.private import make_private, open_private
from headway.state.savepoint import Known, SavepointInfo, known_files

__all__ = ["AUTOMATIC", "BEFORE_EDIT", "BEFORE_RESTORE", "KEPT_BEFORE", "Shelf", "check_name", "name_for"]

AUTOMATIC: Final = "auto-"
"""What the names of those begin with that a run makes by itself."""
BEFORE_EDIT: Final = "before-edit-"
BEFORE_RESTORE: Final = "before-restore-"
KEPT_BEFORE: Final = 5
"""How many of those stay that commands make before they change a state."""
_DRAFT_PREFIX: Final = ".draft-"
_GONE_PREFIX: Final = ".gone-"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: str) -> None:
    """Raise `UsageError` unless a savepoint may have this name."""
    if not _NAME.fullmatch(name):
        msg = f"{name!r} is no name for a savepoint: write 1 to 100 letters, digits, '.', '_' and '-', no sign first"
        raise UsageError(msg)


def name_for(made_ms: int, prefix: str = "") -> str:
    """A name from a time in epoch milliseconds; names of one prefix sort by time.

    >>> name_for(1767225600406)
    '20260101T000000.406Z'
    """
    at = datetime.fromtimestamp(made_ms / 1_000, timezone.utc)
    return f"{prefix}{at:%Y%m%dT%H%M%S}.{made_ms % 1_000:03d}Z"


class Shelf:
    """The savepoints in a state directory; making one of these opens nothing."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / SAVEPOINTS_NAME
        self._directory = directory

    def path(self, name: str) -> Path:
        """The folder of a savepoint. Raises `UsageError` where there is none of that name."""
        check_name(name)
        found = self.folder / name
        if not found.is_dir():
            listed = ", ".join(self.names()) or "it has none"
            msg = f"{self._directory} has no savepoint {name!r}: expected one of {listed}"
            raise UsageError(msg)
        return found

    def check_free(self, name: str) -> None:
        """Raise `UsageError` when there is something of that name."""
        if (self.folder / name).exists():
            msg = f"{self._directory} has a savepoint {name!r} already: give another name, or delete that one"
            raise UsageError(msg)

    def names(self) -> list[str]:
        """All savepoints, by name."""
        with state_files(self.folder, "read"):
            try:
                return sorted(entry.name for entry in os.scandir(self.folder) if _NAME.fullmatch(entry.name))
            except FileNotFoundError:
                return []

    def all(self) -> list[tuple[str, SavepointInfo | StateError]]:
        """What each savepoint says of itself, the oldest first; of one that cannot say it, why not."""
        found: list[tuple[str, SavepointInfo | StateError]] = []
        for name in self.names():
            try:
                found.append((name, SavepointInfo.load(self.folder / name)))
            except StateError as error:
                found.append((name, error))
        return sorted(found, key=lambda one: one[1].made_ms if isinstance(one[1], SavepointInfo) else 0)

    def known_files(self) -> Known:
        """What files are that savepoints have; of savepoints that can be read."""
        known: Known = {}
        for name in self.names():
            with suppress(StateError):
                known.update(known_files(self.folder / name))
        return known

    def delete(self, name: str) -> None:
        """Remove a savepoint, at once for all who look: a kill meanwhile leaves nothing that has its name."""
        path = self.path(name)
        gone = self.folder / f"{_GONE_PREFIX}{secrets.token_hex(8)}"
        with state_files(path, "remove"):
            path.rename(gone)
            sync_directory(self.folder)
            shutil.rmtree(gone)

    def prune(self, keep: int, prefix: str = AUTOMATIC, spared: str = "") -> list[str]:
        """Remove the oldest of those that a run or a command has made by itself under a prefix, and leave so many.

        The one called `spared` stays too. Returns the names of those that are gone.
        """
        made = [name for name, info in self.all() if isinstance(info, SavepointInfo) and info.automatic]
        old = [name for name in made if name.startswith(prefix) and name != spared][: -keep or None]
        for name in old:
            self.delete(name)
        return old

    @contextmanager
    def held(self, until_s: float, stopping: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Be the only one who puts a savepoint there; what killed ones have left is removed.

        Raises `LockedStateError` when another one is at it until `until_s`, on the clock of `time.monotonic`, or until
        this one is `stopping`.
        """
        with state_files(self.folder, "write"):
            make_private(self._directory)
            make_private(self.folder)
            descriptor = open_private(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        try:
            while not _locked(descriptor):
                if stopping() or time.monotonic() > until_s:
                    msg = f"another savepoint of {self._directory} is being made: try again when it is done"
                    raise LockedStateError(msg)
                time.sleep(0.02)
            with state_files(self.folder, "write"):
                for entry in os.scandir(self.folder):
                    if entry.name.startswith((ASKED_PREFIX, _DRAFT_PREFIX, _GONE_PREFIX)):
                        # A process may be putting its part into one just now: then the next call removes it.
                        shutil.rmtree(entry.path, ignore_errors=True)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def draft(self, *, asks: bool = False) -> Iterator[Path]:
        """An empty folder, removed at the end of the block. One that `asks` is seen by the run of the flow."""
        asker = (secrets.randbits(63) | 1) if asks else 0
        name = f"{ASKED_PREFIX}{asker:016x}" if asks else f"{_DRAFT_PREFIX}{secrets.token_hex(8)}"
        path = self.folder / name
        with state_files(path, "write"):
            make_private(path)
        try:
            yield path
        finally:
            with state_files(path, "remove"):
                if path.exists():
                    gone = self.folder / f"{_GONE_PREFIX}{secrets.token_hex(8)}"
                    path.rename(gone)
                    # A process of the run may be putting its part there just now: the next one removes what is left.
                    shutil.rmtree(gone, ignore_errors=True)

    def place(self, made: Path, info: SavepointInfo) -> Path:
        """Give a folder with all files of a savepoint, but for `savepoint.json`, that file and its name, durably."""
        path = self.folder / info.name
        self.check_free(info.name)
        info.store(made)
        reached("savepoint.before")
        with state_files(path, "write"):
            made.rename(path)
            sync_directory(self.folder)
        reached("savepoint.after")
        return path


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
