"""The files of a rotated log as they are at one moment, and which of them a reader stood in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Optional

from headway.connectors.base import Position
from headway.connectors.bytelog import fingerprint, reading
from headway.connectors.detect import COMPRESSED_SUFFIXES, open_log
from headway.connectors.filereader import FileReader
from headway.connectors.rotation import is_stable, oldest_first
from headway.errors import InputError

__all__ = ["Files", "LogFile", "begins_alike", "few", "files_now", "names_before_compression", "stood_in"]

_LOOKS_MAX: Final = 50


@dataclass(frozen=True)
class LogFile:
    """A file of the log."""

    path: str
    identity: tuple[int, int]
    """Device and inode: they stay when it is renamed."""
    size: int


Files = dict[str, LogFile]
"""The files of a log by their names before they were compressed, oldest first."""


def files_now(find: Callable[[], dict[str, str]], known: Files) -> Files:
    """The files that there are now. Looks again until two looks agree: a rotation renames one file after the other."""
    last = known
    for _ in range(_LOOKS_MAX):
        found = _look(find)
        if found is not None:
            if _identities(found) == _identities(last):
                return found
            last = found
    msg = f"the files of the log ({few(list(last))}) are renamed faster than they can be listed; run again"
    raise InputError(msg)


def _look(find: Callable[[], dict[str, str]]) -> Optional[Files]:
    """One look; None when a file was gone before it could be looked at."""
    paths = find()
    names = names_before_compression(paths)
    found: Files = {}
    for name in oldest_first(names):
        path = paths[names[name]]
        with reading(path):
            try:
                status = os.stat(path)
            except FileNotFoundError:
                return None
        found[name] = LogFile(path, (status.st_dev, status.st_ino), status.st_size)
    return found


def _identities(files: Files) -> dict[str, tuple[int, int]]:
    return {name: file.identity for name, file in files.items()}


def names_before_compression(names: Iterable[str]) -> dict[str, str]:
    """The names by what they were before the files were compressed; of both, the plain one counts.

    >>> names_before_compression(["a.jsonl.gz", "b.jsonl", "b.jsonl.zst"])
    {'a.jsonl': 'a.jsonl.gz', 'b.jsonl': 'b.jsonl'}
    """
    plain: dict[str, str] = {}
    for name in names:
        for suffix in COMPRESSED_SUFFIXES:
            if name.endswith(suffix):
                plain.setdefault(name.removesuffix(suffix), name)
                break
        else:
            plain[name] = name
    return plain


def stood_in(files: Files, position: Position) -> Optional[str]:
    """The name of the file that a position is in, by what it holds; None where there is none.

    Rotated files are renamed and compressed, and so the name that the position has is only the first guess; where
    files keep their names, it is the only one. Raises `InputError` where it cannot be told.
    """
    name = position["file"]
    names = [name] if is_stable([*files, name]) else list(reversed(files))
    candidates = [other for other in names if other in files]
    same_inode = [other for other in candidates if files[other].identity[1] == position["inode"]]
    for other in same_inode:
        if _holds(files[other], position):
            return other
    holding = [other for other in candidates if other not in same_inode and _holds(files[other], position)]
    if len(holding) > 1:
        msg = (
            f"the run stood at byte {position['offset']} of the log file {name}, and {few(holding)} all hold what was "
            "read of it: which one it was cannot be told; put the files back as they were, or start with a new state "
            "directory"
        )
        raise InputError(msg)
    return holding[0] if holding else None


def _holds(file: LogFile, position: Position) -> bool:
    try:
        FileReader(file.path, position, follow=False, held=True).close()
    except InputError:
        return False
    return True


def begins_alike(file: LogFile, position: Position) -> bool:
    """Whether a file begins as the one of a position does: it is a copy of it, perhaps in the making."""
    length = int(position["id"].partition(":")[0])
    try:
        log = open_log(file.path)
    except InputError:
        return False
    try:
        return fingerprint(log.head(length)[:length]) == str(position["id"])
    finally:
        log.close()


def few(names: list[str]) -> str:
    """Some of the names, for people."""
    shown = ", ".join(names[:3]) or "no files"
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
