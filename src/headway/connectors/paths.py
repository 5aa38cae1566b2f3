"""Finds the files that a pattern means, and gives them names that are the same from every directory."""

from __future__ import annotations

import glob
import os
import stat
from fnmatch import fnmatchcase
from typing import Final, Optional

from headway.basics.utf8 import is_utf8
from headway.connectors.base import Tell, unheard
from headway.connectors.bytelog import reading
from headway.connectors.detect import COMPRESSED_SUFFIXES
from headway.connectors.ownfiles import OwnFiles
from headway.errors import InputError

__all__ = ["FilePattern"]

_LINE_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
_DIRECTORY_SUFFIXES: Final = tuple(
    suffix + packed for suffix in _LINE_SUFFIXES for packed in ("", *COMPRESSED_SUFFIXES)
)


_LOOKS_MAX: Final = 50
_Identity = tuple[int, int]


class FilePattern:
    """A file, a directory, or a glob pattern, without the flow's `own` files.

    Looked up in the current directory at each call.
    """

    def __init__(self, text: str, own: Optional[OwnFiles] = None) -> None:
        self.text = text
        self._own = own

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

    @property
    def is_there(self) -> bool:
        """Whether what is named outright exists: the file, the directory, or that in which the glob is looked for."""
        return os.path.isdir(self.base or os.curdir) and (self.is_glob or os.path.exists(self.text))

    def matches(self, path: str) -> bool:
        """Whether `find` gives a file of this path, or would if there were one; it need not exist.

        Links to directories are followed only as far as they are in the pattern's fixed part.

        >>> FilePattern("logs/*.jsonl").matches("logs/a.jsonl"), FilePattern("*.jsonl").matches("logs/a.jsonl")
        (True, False)
        """
        folder, name = os.path.split(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))
        base = os.path.realpath(self.base or os.curdir)
        if os.path.isdir(self.text):
            return folder == base and _is_log_of_directory(name)
        if not self.is_glob:
            return os.path.realpath(path) == os.path.realpath(self.text)
        parts = os.path.relpath(os.path.join(folder, name), base).split(os.sep)
        return parts[0] != os.pardir and _match(parts, os.path.relpath(self.text, self.base or os.curdir).split(os.sep))

    def find(self, tell: Tell = unheard) -> dict[str, str]:
        """Name and path of each file that there is now, in the order of their names.

        A glob that matches nothing gives nothing. `tell` gets to know what is passed over. Raises `InputError` when a
        file or directory that is named outright does not exist, a directory cannot be listed, or one file has several
        names.
        """
        for _ in range(_LOOKS_MAX):
            told: list[str] = []
            try:
                found = self._look(told.append)
            except _SeveralNamesError as error:
                # While files are renamed one after the other, one may be seen twice. The next look tells.
                twice = error
            else:
                for text in told:
                    tell(text)
                return found
        raise twice

    def _look(self, tell: Tell) -> dict[str, str]:
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
        names_by_file: dict[_Identity, list[str]] = {}
        for name in sorted(set(names)):
            identity = self._identity(os.path.join(base, name), tell)
            if identity is not None:
                names_by_file.setdefault(identity, []).append(name)
        kept = [self._only(base, same, tell) if len(same) > 1 else same[0] for same in names_by_file.values()]
        return {name.replace(os.sep, "/"): os.path.join(base, name) for name in sorted(kept)}

    def _identity(self, path: str, tell: Tell) -> Optional[_Identity]:
        """What tells a file from others whatever its name is; None for what is passed over."""
        if not is_utf8(path):
            msg = f"the name of the file {os.fsencode(path)!r} is not UTF-8: rename it, or choose a pattern without it"
            raise InputError(msg)
        with reading(path):
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):  # `file/**` finds `file/`.
                if os.path.islink(path):
                    tell(f"{path} is a link to {os.readlink(path)}, which does not exist: it is not read")
                return None
        if stat.S_ISDIR(status.st_mode):
            return None
        if not stat.S_ISREG(status.st_mode):
            tell(f"{path} is not a regular file: it is not read (for a pipe use stdin())")
            return None
        owner = None if self._own is None else self._own.owner(path)
        if owner is not None:
            tell(f"{path} matches {self.text} and is not read: {owner} writes it")
            return None
        return status.st_dev, status.st_ino

    def _only(self, base: str, names: list[str], tell: Tell) -> str:
        """Of several names of one file the one that is no link."""
        root = os.path.realpath(base or os.curdir)
        direct = [name for name in names if os.path.realpath(os.path.join(base, name)) == os.path.join(root, name)]
        if len(direct) != 1:
            one, other = (os.path.join(base, name) for name in (direct or names)[:2])
            msg = (
                f"{one} and {other} are the same file, which would be read twice: remove one of the two names, or "
                "choose a pattern that matches one of them"
            )
            raise _SeveralNamesError(msg)
        for name in names:
            if name != direct[0]:
                link, file = os.path.join(base, name), os.path.join(base, direct[0])
                tell(f"{link} is a link to {file}, which is read already: it is not read twice")
        return direct[0]

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


class _SeveralNamesError(InputError):
    """One file has several names."""


def _match(parts: list[str], patterns: list[str]) -> bool:
    """Whether the parts of a path match those of a glob, as for the module `glob`: `**` is any number of parts."""
    if not patterns:
        return not parts
    first, *rest = patterns
    if first == "**":
        if not rest:
            return bool(parts) and all(not part.startswith(".") for part in parts)
        return _match(parts, rest) or bool(parts and not parts[0].startswith(".") and _match(parts[1:], patterns))
    if not parts or not fnmatchcase(parts[0], first) or (parts[0].startswith(".") and not first.startswith(".")):
        return False
    return _match(parts[1:], rest)


def _is_log_of_directory(name: str) -> bool:
    return name.lower().endswith(_DIRECTORY_SUFFIXES) and not name.startswith(".")
