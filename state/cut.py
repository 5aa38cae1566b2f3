"""The cut: which versions of all key groups together are one epoch, for readers in other processes.

Each key group promotes an epoch's delta when it hears that the epoch is committed, each at a moment of its own. So at
no moment do all main column families stand at one epoch while a flow runs. But every group holds two versions that can
be read: what is promoted, and behind it the pending delta. The cut says which of the two it is, for each task and key
group, and it is written by whoever first knows that the epoch is committed, before any group can promote the next one.
A reader that has it, and has caught up since, finds in each group either the version itself or the pending delta that
leads to it; one that finds a later version reads the cut again.

The cut is a small file that is replaced as a whole. It need not be synced: an old one is noticed, since a group is then
ahead of it, and the next run writes another. Its time of modification says when the epoch was last known to be the
newest: in silence that is all that changes.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, Final, Optional
from zlib import crc32

import msgspec

from headway.state.files import state_files
from headway.state.private import read_private, write_private

__all__ = ["CUT_NAME", "Cut"]

CUT_NAME: Final = "views.cut"

_HEAD: Final = struct.Struct(">BI")
_FORMAT: Final = 1


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """One committed epoch of all key groups."""

    epoch: int
    """Grows from cut to cut, over all runs on a state directory."""
    generation: int
    """That of the manifest: under another one the tasks have other numbers."""
    versions: list[list[int]]
    """Of each task the version of each key group; 0 where there is none yet."""
    watermarks: list[Optional[int]]
    """Of each task, up to which time everything has been handled; None where that is not known yet."""
    positions: dict[str, dict[str, tuple[Optional[dict[str, Any]], Optional[int]]]]
    """By source and partition: up to where records are in the epoch, and the latest event time among them."""
    run: int = 0
    """Of the run that wrote it, as its feeds are named (`headway.state.feed`); 0 for one without feeds."""
    at_ms: int = 0
    """When it was last known to be the newest, on the wall clock; from the file, and not in it."""

    def store(self, directory: Path) -> None:
        """Put it in the place of the cut before; some 100 µs."""
        path = directory / CUT_NAME
        data = msgspec.msgpack.encode(self)
        with state_files(path, "write"):
            write_private(path, _HEAD.pack(_FORMAT, crc32(data)) + data)

    @classmethod
    def load(cls, directory: Path) -> Optional[Cut]:
        """The last one; None where there is none, or what is there cannot be read: then the next run writes one."""
        path = directory / CUT_NAME
        with state_files(path, "read"):
            try:
                data = read_private(path)
                at_ms = os.stat(path).st_mtime_ns // 1_000_000
            except FileNotFoundError:
                return None
        if len(data) < _HEAD.size or _HEAD.unpack_from(data) != (_FORMAT, crc32(data[_HEAD.size :])):
            return None
        try:
            found = msgspec.msgpack.decode(data[_HEAD.size :], type=cls)
        except msgspec.DecodeError:
            return None
        return msgspec.structs.replace(found, at_ms=at_ms)

    @staticmethod
    def touch(directory: Path) -> None:
        """The last one is still the newest."""
        with state_files(directory, "write"):
            os.utime(directory / CUT_NAME)

    @staticmethod
    def stamp(directory: Path) -> Optional[tuple[int, int]]:
        """Tells whether the file is another one, or was touched: its number and time; None where there is none."""
        try:
            found = os.stat(directory / CUT_NAME)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns
