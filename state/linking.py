"""Copies of a database that is open, by hard links.

RocksDB has a checkpoint of its own. It writes out first what lies in memory and waits for the disk several times, some
50 ms for a key group, and a run that is asked for a savepoint stands still meanwhile. Here the logs of what lies in
memory are copied instead, as a crash would leave them: some 2 MiB at most, and whoever opens the copy replays them.

**Why that is whole.** RocksDB says in its manifest which files of rows count, by appending to it. A file that counts
was complete before the manifest says so, never changes, and is deleted only after the manifest says that it no longer
counts. So all that the manifest names are in the folder when its size is read, and if its size is the same once they
were taken, they are those of one moment. A log that is not the last one is complete; of the last one a part may be
copied, which is what was written up to some moment. No log goes before the manifest says that it is not needed.

What RocksDB lists as its files is behind the manifest: it says there first what counts from now on, waits for the disk,
and only then believes it. So that list says which files can be linked because they never change, and not which ones
count. All others in the folder are copied: most are none, or one that is being written and counts nowhere yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from headway.state.copies import copy_file, link_file
from headway.state.private import make_private, read_private, write_private

__all__ = ["link_open"]

_CURRENT: Final = "CURRENT"
_OTHERS: Final = ("IDENTITY", "rocksdict-config.json")
"""Files that say what a database is, written once. The latter is of the binding, which makes it where there is none."""


class _Manifest(NamedTuple):
    name: str
    size: int


def link_open(source: Path, target: Path, living: Callable[[], Iterable[str]]) -> bool:
    """Copy an open database into a new folder, which reaches the disk when somebody sees to that; some milliseconds.

    `living` names files of rows that are complete. Returns False where it changed meanwhile which ones count: then what
    is in the folder is no database. Raises `OSError`.
    """
    make_private(target)
    try:
        before = _manifest_of(source)
        complete = set(living())
        for name in sorted(entry.name for entry in os.scandir(source) if entry.name.endswith(".sst")):
            (link_file if name in complete else copy_file)(source / name, target / name)
        for name in sorted(entry.name for entry in os.scandir(source) if entry.name.endswith(".log")):
            copy_file(source / name, target / name)
        copy_file(source / before.name, target / before.name, before.size)
        for name in _OTHERS:
            copy_file(source / name, target / name)
        write_private(target / _CURRENT, before.name.encode() + b"\n")
        return _manifest_of(source) == before
    except FileNotFoundError:  # A file that counted no more was removed.
        return False


def _manifest_of(source: Path) -> _Manifest:
    """Which one counts, and how much has been said in it."""
    name = read_private(source / _CURRENT).decode().strip()
    return _Manifest(name, os.stat(source / name).st_size)
