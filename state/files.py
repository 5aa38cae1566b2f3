"""What the operating system refuses in a state directory, told as errors of the state directory.

Everything of Headway that opens a file there, but for RocksDB and SQLite, does it inside `state_files`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EDQUOT, EEXIST, EFBIG, EISDIR, ENAMETOOLONG, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import Final

from headway.errors import StateError

__all__ = ["CLUSTER_NAME", "INBOX_NAME", "RESTORE", "SAVEPOINTS_NAME", "check_room", "next_step", "state_files"]

RESTORE: Final = "restore the whole state directory from one backup, or start with a new one"
"""What is left to do about something that is damaged."""

INBOX_NAME: Final = "inbox"
"""The folder in a state directory that has the logs of inboxes. It may be there before the first run."""

SAVEPOINTS_NAME: Final = "savepoints"
"""The folder in a state directory that has its savepoints. It may be there before the first run."""

CLUSTER_NAME: Final = "cluster.json"
"""Which history of a cluster the state directory of one of its hosts belongs to. Written before the manifest."""

_ROOM_LEAST_BYTES: Final = 256 << 10
_ROOM: Final = "then run again: what was made durable is kept"
_RIGHTS: Final = "give the user of this run the right to read and write all of the state directory, then run again"
_NO_FOLDER: Final = (
    "something else lies where the state directory has a file or a folder: move it away, or give another directory"
)
_STEPS: Final = {
    ENOSPC: f"free some space, {_ROOM}",
    EDQUOT: f"free some space or raise the quota, {_ROOM}",
    EFBIG: f"raise the limit of file sizes (ulimit -f), {_ROOM}",
    EACCES: _RIGHTS,
    EPERM: _RIGHTS,
    EROFS: "give the path of a state directory on a file system that can be written",
    ENAMETOOLONG: "give a state directory with a shorter path",
    ENOTDIR: _NO_FOLDER,
    EISDIR: _NO_FOLDER,
    EEXIST: _NO_FOLDER,
}
_TEXTS: Final = {os.strerror(code): step for code, step in _STEPS.items()} | {
    "disk is full": _STEPS[ENOSPC],
    "DiskFull": _STEPS[ENOSPC],
    "readonly database": _RIGHTS,
    "unable to open database": _RIGHTS,
}


def next_step(text: str, otherwise: str) -> str:
    """What to do about an error that came as text: of RocksDB, of SQLite or of the engine.

    >>> next_step("IO error: No space left on device: While appending to file", "look at the disk")
    'free some space, then run again: what was made durable is kept'
    """
    return next((step for found, step in _TEXTS.items() if found in text), otherwise)


def check_room(directory: Path) -> None:
    """Raise `StateError` when the disk of a directory is full, or nearly so: then many things fail in strange ways."""
    with state_files(directory):
        free = shutil.disk_usage(directory).free
    if free < _ROOM_LEAST_BYTES:
        msg = f"the disk of {directory} is full: {free:,} bytes are free; {_STEPS[ENOSPC]}"
        raise StateError(msg)


@contextmanager
def state_files(place: Path, action: str = "use") -> Iterator[None]:
    """Inside of this block an `OSError` is a `StateError` that says what cannot be done, where, and what to do.

    `place` is told where the error itself names no file.
    """
    try:
        yield
    except OSError as error:
        step = _STEPS.get(error.errno or 0, "check the path, the disk and the rights, then run again")
        where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(place)
        msg = f"cannot {action} {_shown(where)}: {error.strerror or error}; {step}"
        raise StateError(msg) from error


def _shown(path: str) -> str:
    """A path in a message: of one that is far too long, its begin and its end."""
    text = path.encode(errors="backslashreplace").decode()
    return text if len(text) <= 300 else f"{text[:120]}…{text[-120:]} ({len(text)} characters)"
