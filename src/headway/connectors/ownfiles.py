"""Which files a flow writes itself, so that it does not read them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final, Optional

__all__ = ["OwnFiles", "is_same"]

_FOLDERS_MAX: Final = 10_000
_MOVED: Final = re.compile(r"(.+)\.[1-9]\d*")


class OwnFiles:
    """The files that a flow writes itself: its outputs, and all that is in its state directory.

    `outputs` maps a path to what writes it; `folders` are those of them that are directories.
    """

    def __init__(self, outputs: Mapping[str, str], directory: str, folders: Sequence[str] = ()) -> None:
        self._outputs = {os.path.realpath(path): who for path, who in outputs.items()}
        self._within = [f"{os.path.realpath(path)}{os.sep}" for path in folders]
        self._directory = os.path.realpath(directory)
        self._folders: dict[str, str] = {}
        """Real paths of directories that files were in: there are few, and to find one takes longer than the rest."""

    def owner(self, path: str) -> Optional[str]:
        """What writes a file, such as `the output 'counts'`; None for a file that is not the flow's own.

        Links are followed, and hard links are told by the file that they lead to. What an output has found in its
        place and moved aside counts as its own. Costs some microseconds.
        """
        real = self._real(path)
        moved = _MOVED.fullmatch(real)
        who = self._outputs.get(real) or (self._outputs.get(moved[1]) if moved else None)
        who = who or next((self._outputs[folder[:-1]] for folder in self._within if real.startswith(folder)), None)
        if who is not None:
            return who
        if real.startswith(self._directory + os.sep):
            return f"the state directory {self._directory}"
        if not _has_names(path):
            return None
        return next((who for output, who in self._outputs.items() if is_same(path, output)), None)

    def _real(self, path: str) -> str:
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        if folder not in self._folders:
            if len(self._folders) >= _FOLDERS_MAX:
                self._folders.clear()
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)


def _has_names(path: str) -> bool:
    """Whether a file has more than one name."""
    try:
        return os.stat(path).st_nlink > 1
    except OSError:
        return False


def is_same(path: str, other: str) -> bool:
    """Whether two paths lead to one file that is there."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False
