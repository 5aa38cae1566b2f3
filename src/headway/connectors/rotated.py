"""Reads a log that was rotated into several files as one partition."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Optional

from headway.connectors.base import Chunk, Extent, PartitionReader, Position
from headway.connectors.detect import COMPRESSED_SUFFIXES
from headway.connectors.filereader import FileReader
from headway.errors import InputError

__all__ = ["RotatedReader"]


class RotatedReader(PartitionReader):
    """Reads files in the order of their names, each to its end, as one log.

    A file is finished when one with a later name exists. A file that was compressed meanwhile (`a.jsonl`,
    then `a.jsonl.gz`) is still the same one. While following, an idle read costs one `stat` and one listing.

    `find` gives name and path of the files that exist now, in order.
    """

    def __init__(self, find: Callable[[], dict[str, str]], position: Optional[Position], *, follow: bool) -> None:
        self._find = find
        self._follow = follow
        self._files = _uncompressed_names(find())
        self._name: Optional[str] = None
        self._reader: Optional[FileReader] = None
        self._at_end = False
        self._next_ordinal = 0
        self._first_ordinal = 0
        if position is not None and position["file"] is not None:
            self._resume(position)

    @property
    def at_end(self) -> bool:
        """True once the last file has been read to its end; always False while following."""
        return self._at_end

    @property
    def extent(self) -> Optional[Extent]:
        """How far all files together have been read; None while they are followed. Costs a `stat` for each file."""
        if self._follow or self._reader is None or self._reader.extent is None:
            return None
        read, total = self._reader.extent
        for name, path in self._files.items():
            if name != self._name:
                size = _size(path)
                total += size
                read += size if name < (self._name or "") else 0
        return Extent(read, total)

    def position(self) -> Position:
        """The file, the position in it, how many files are before it, and the ordinal of its first line."""
        if self._reader is None:
            return {"file": None}
        before = sum(name < (self._name or "") for name in self._files)
        return {"file": self._name, "before": before, "first": self._first_ordinal, **self._reader.position()}

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next lines, all from one file."""
        while not self._at_end:
            if self._reader is not None:
                chunk = self._reader.read(max_bytes)
                if chunk is not None:
                    return chunk
            following = self._following_file()
            if self._reader is not None and not self._reader.at_end:
                if following is None:
                    return None
                self._reader.finish()
            elif following is not None:
                self._turn_to(following)
            elif self._follow:
                return None
            else:
                self._at_end = True
        return None

    def close(self) -> None:
        """Close the file that is open."""
        if self._reader is not None:
            self._reader.close()

    def _resume(self, position: Position) -> None:
        name = position["file"]
        if name not in self._files:
            offset, found = position["offset"], _few(list(self._files))
            msg = (
                f"the log file {name} is gone, in which the run stood at byte {offset}; expected it among "
                f"{found}: put it back, or start with a new state directory"
            )
            raise InputError(msg)
        earlier = [other for other in self._files if other < name]
        if len(earlier) > position["before"]:
            raise self._out_of_order(name, _few(earlier), f"at most {position['before']} files before it")
        self._name = name
        self._first_ordinal = position["first"]
        self._reader = self._open(name, position)

    def _following_file(self) -> Optional[str]:
        """The file after the current one, if there is one already. Lists files only where it must."""
        known = self._known_following_file()
        if known is None and self._follow:
            self._list_again()
            known = self._known_following_file()
        return known

    def _known_following_file(self) -> Optional[str]:
        return next((name for name in self._files if self._name is None or name > self._name), None)

    def _list_again(self) -> None:
        files = _uncompressed_names(self._find())
        new = [name for name in files if name not in self._files]
        if self._name is not None and new and new[0] < self._name:
            raise self._out_of_order(self._name, new[0], "new files only after it")
        self._files = files

    def _out_of_order(self, name: str, found: str, expected: str) -> InputError:
        msg = (
            f"log files were added before {name}, up to which the log has been read: expected {expected}, "
            f"found {found}; name rotated files so that they sort by time, or read them without rotated=True"
        )
        return InputError(msg)

    def _turn_to(self, name: str) -> None:
        if self._reader is not None:
            self._next_ordinal = self._reader.next_ordinal
            self._reader.close()
            self._reader = None
        if not os.path.exists(self._files[name]):
            # It may have been compressed since it was found.
            self._files = {**self._files, **_uncompressed_names(self._find())}
        self._first_ordinal = self._next_ordinal
        self._reader = self._open(name, {"offset": 0, "ordinal": self._next_ordinal, "first": self._first_ordinal})
        self._name = name

    def _open(self, name: str, position: Position) -> FileReader:
        return FileReader(self._files[name], position, follow=self._follow, label=f"{name} ", may_vanish=True)


def _size(path: str) -> int:
    """The size of a file; of one that was deleted, or compressed and so renamed, none."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _uncompressed_names(files: dict[str, str]) -> dict[str, str]:
    """Files by the names they had before they were compressed; of both, the plain one counts."""
    plain: dict[str, str] = {}
    for name, path in files.items():
        for suffix in COMPRESSED_SUFFIXES:
            if name.endswith(suffix):
                plain.setdefault(name.removesuffix(suffix), path)
                break
        else:
            plain[name] = path
    return dict(sorted(plain.items()))


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "no files"
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
