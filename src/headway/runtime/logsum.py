"""A checksum of the engine's recovery log while no run uses it, since the log itself has none.

It holds positions and versions in SQLite: a flipped bit there would be believed, and a file be read twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

from headway.basics.crashpoints import reached
from headway.basics.syncing import sync_directory
from headway.errors import CorruptStateError
from headway.state.files import RESTORE, state_files
from headway.state.private import open_private, read_private, write_private
from headway.state.seal import seal, unseal

__all__ = ["open_log", "summed_log"]

_UNFINISHED: Final = ("-wal", "-shm", "-journal")


@contextmanager
def summed_log(directory: Path) -> Iterator[None]:
    """Sum the log up at the end of the block, if that is a good one: nothing else may be running then."""
    yield
    with state_files(directory):
        paths = sorted(directory.iterdir())
        if any(path.name.endswith(_UNFINISHED) for path in paths):
            return  # SQLite keeps files of its own beside the log, and so it is not final.
        for path in paths:
            descriptor = open_private(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        reached("log-sum.before")
        write_private(_sum_of(directory), seal(_sums(directory)), sync=True)
        reached("log-sum.after")


def open_log(directory: Path) -> None:
    """Check the log, if the run before has summed it up, and take the sum away, as it is about to change.

    To be called before anything else opens the log. Raises `CorruptStateError` when it is not as it was left.
    """
    path = _sum_of(directory)
    with state_files(path):
        try:
            sealed = read_private(path)
        except FileNotFoundError:
            return
        expected = unseal(sealed, str(path))
        found = _sums(directory) if directory.is_dir() else {}
        if found != expected:
            differing = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
            msg = (
                f"the recovery log in {directory} is not as the last run left it: {', '.join(differing)} differs; it "
                f"is damaged, or from another time than the rest: {RESTORE}"
            )
            raise CorruptStateError(msg)
        path.unlink()
        sync_directory(directory.parent)


def _sum_of(directory: Path) -> Path:
    return directory.with_suffix(".sum")


def _sums(directory: Path) -> dict[str, str]:
    """A hash for each file."""
    return {path.name: blake2b(read_private(path), digest_size=16).hexdigest() for path in sorted(directory.iterdir())}
