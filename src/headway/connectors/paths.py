"""Finds the files that a pattern means, and gives them names that are the same from every directory."""

from __future__ import annotations

import glob
import os
from typing import Final

from headway.connectors.detect import COMPRESSED_SUFFIXES
from headway.errors import InputError

__all__ = ["FilePattern"]

_LINE_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
_DIRECTORY_SUFFIXES: Final = tuple(
    suffix + packed for suffix in _LINE_SUFFIXES for packed in ("", *COMPRESSED_SUFFIXES)
)


class FilePattern:
    """A file, a directory, or a glob pattern. Looked up in the current directory at each call."""

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def is_glob(self) -> bool:
        """Whether the pattern can match other files than the one of its name."""
        return glob.has_magic(self.text) and not os.path.exists(self.text)

    @property
    def base(self) -> str:
        """The directory that names are relative to: what stands before the first wildcard.

        >>> FilePattern("logs/2024-*/shop.jsonl").base, FilePattern("*.jsonl").base
        ('logs', '')
        """
        if os.path.isdir(self.text):
            return self.text
        if not self.is_glob:
            return os.path.dirname(self.text)
        fixed, rest = "", self.text
        while rest:
            part, _, tail = rest.partition(os.sep)
            if glob.has_magic(part):
                break
            fixed, rest = fixed + part + os.sep, tail
        return fixed if fixed == os.sep else fixed.rstrip(os.sep)

    def find(self) -> dict[str, str]:
        """Name and path of each file that there is now, in the order of their names.

        A glob that matches nothing gives nothing. Raises `InputError` when a file or directory that is named
        outright does not exist or a directory cannot be listed.
        """
        base = self.base
        self._check_directory(base or os.curdir)
        if os.path.isdir(self.text):
            names = [name for name in os.listdir(base) if _is_log_of_directory(name)]
        elif self.is_glob:
            names = glob.glob(os.path.relpath(self.text, base or os.curdir), root_dir=base or None, recursive=True)
        else:
            names = [os.path.basename(self.text)]
            if not os.path.exists(self.text):
                raise self._missing(self.text)
            return {names[0]: self.text}
        found = {name.replace(os.sep, "/"): os.path.join(base, name) for name in sorted(set(names))}
        return {name: path for name, path in found.items() if os.path.isfile(path)}

    def path_of(self, name: str) -> str:
        """The path of a file of that name."""
        return os.path.join(self.base, *name.split("/"))

    def _check_directory(self, directory: str) -> None:
        if not os.path.isdir(directory):
            raise self._missing(directory)
        if not os.access(directory, os.R_OK | os.X_OK):
            msg = (
                f"cannot list {directory} ({os.path.abspath(directory)}), where {self.text} is looked for: "
                "expected permission to read it; check its permissions"
            )
            raise InputError(msg)

    def _missing(self, path: str) -> InputError:
        wanted = "" if path == self.text else f", in which {self.text} is looked for"
        msg = (
            f"{path} does not exist ({os.path.abspath(path)}){wanted}; expected a file, a directory "
            "or a glob pattern such as 'events/*.jsonl': check the path and the current directory"
        )
        return InputError(msg)


def _is_log_of_directory(name: str) -> bool:
    return name.lower().endswith(_DIRECTORY_SUFFIXES) and not name.startswith(".")
