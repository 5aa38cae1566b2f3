"""What the operating system lets one process have."""

from __future__ import annotations

import resource
from typing import Final

__all__ = ["open_files_per_group", "raise_open_files"]

_FILES_WANTED: Final = 10_240
"""Linux usually starts a process with 1,024, and lets it ask for more."""
_PER_GROUP_MIN: Final = 32
_PER_GROUP_MAX: Final = 512


def raise_open_files() -> int:
    """Ask for as many open files as are of use, if this process may have them; returns how many it may open."""
    allowed, at_most = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = _FILES_WANTED if at_most == unlimited else min(_FILES_WANTED, at_most)
    if allowed == unlimited:
        return _FILES_WANTED
    if allowed >= wanted:
        return allowed
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, at_most))
    except (OSError, ValueError):  # Some systems have a limit that this one does not tell of: the old one will do.
        return allowed
    return wanted


def open_files_per_group(allowed: int, groups: int) -> int:
    """How many files of its state each of `groups` key groups may keep open in a process that may open `allowed`.

    Half of all is for state: the rest is for what a database needs besides, for inputs, outputs and connections. But
    a group gets no fewer than 32, without which it would open a file for almost each read.

    >>> open_files_per_group(10_240, groups=16), open_files_per_group(1_024, groups=16)
    (320, 32)
    """
    return max(_PER_GROUP_MIN, min(_PER_GROUP_MAX, allowed // 2 // groups))
