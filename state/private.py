"""Files that only the user of a run may read or change, and that are what they seem: no links to somewhere else.

A state directory holds events, keys and positions, and who may write into it decides what the next run does. So it
belongs to the user of the run, has mode 0700 and its files 0600, whatever the umask is.

Most files in it are written by RocksDB and SQLite, which open them with 0644. A umask would settle that, but for the
whole process, and a flow's own outputs follow the user's umask. So the directory gets a default ACL: it takes the
place of the umask for everything that is made inside. Where a file system has none, the directory's own 0700 protects
what is in it.

Symbolic links inside are refused, at the start for the whole tree, once nobody else can plant one; what is written by
this module refuses them again when it opens a file. Whoever may write to the directory's *parent* can put another one
in its place: that is not defended against.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from headway.basics.crashpoints import reached
from headway.basics.syncing import sync_directory
from headway.errors import StateError

__all__ = ["make_private", "open_private", "read_private", "secure", "write_private"]

_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600

_ACL: Final = "system.posix_acl_default"
# Version 2, then tag, rights and an unused id for: the owner may do everything, the group and others nothing.
_ACL_OWNER_ONLY: Final = struct.pack("<IHHIHHIHHI", 2, 0x01, 7, 0xFFFFFFFF, 0x04, 0, 0xFFFFFFFF, 0x20, 0, 0xFFFFFFFF)


def make_private(directory: Path) -> None:
    """Make a directory, where there is none, that only its owner may use; its parents follow the umask.

    One that exists is left as it is, see `secure`. Raises `StateError` when it belongs to another user.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=_DIRECTORY_MODE)
    except FileExistsError:
        if not directory.is_dir():
            raise
        _check_owner(directory, directory.stat())
    else:
        _shut(directory)


def secure(directory: Path) -> None:
    """Let only the owner use an existing state directory and all that is in it; costs one look at each file.

    Raises `StateError` when the directory or something in it belongs to another user, or when there is a symbolic
    link in it.
    """
    found = directory.stat()
    _check_owner(directory, found)
    _shut(directory)
    was_open = bool(stat.S_IMODE(found.st_mode) & 0o077)
    for entry in _tree(directory):
        with suppress(FileNotFoundError):  # Another process of a cluster has removed it meanwhile.
            status = entry.stat(follow_symlinks=False)
            _check_owner(Path(entry.path), status)
            if stat.S_ISLNK(status.st_mode):
                raise _linked(Path(entry.path))
            if was_open and stat.S_ISDIR(status.st_mode):
                _shut(Path(entry.path))
            elif was_open:
                os.chmod(entry.path, _FILE_MODE)


def open_private(path: Path | str, flags: int) -> int:
    """A descriptor of a file of the state directory, made with mode 0600 if `flags` say so.

    Raises `StateError` for a symbolic link, and `OSError` like `os.open` for everything else.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _linked(Path(path)) from None
        raise


def read_private(path: Path) -> bytes:
    """What a file of the state directory holds; raises as `open_private` does."""
    descriptor = open_private(path, os.O_RDONLY)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def write_private(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Put `data` in the place of a file of the state directory: readers see the old content or the new one.

    With `sync` it has reached the disk on return.
    """
    partial = path.with_name(path.name + ".tmp")
    # A file that a killed process has left, or a link that somebody has planted: neither is written to.
    partial.unlink(missing_ok=True)
    with os.fdopen(open_private(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    reached("replacement.before")
    partial.replace(path)
    if sync:
        sync_directory(path.parent)
    reached("replacement.after")


def _shut(directory: Path) -> None:
    """Mode 0700 for a directory, and 0600 for what will be made in it."""
    directory.chmod(_DIRECTORY_MODE)
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(directory, _ACL, _ACL_OWNER_ONLY)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
                raise


def _tree(directory: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a directory; what another process removes meanwhile is left out."""
    try:
        found = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in found:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _tree(Path(entry.path))


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        msg = (
            f"{path} belongs to user {found.st_uid}, and this run is of user {os.geteuid()}: expected one's own, since "
            "who may write to a state directory decides what runs with it; run as its owner, or give another --state"
        )
        raise StateError(msg)


def _linked(path: Path) -> StateError:
    msg = (
        f"{path} is a symbolic link: expected none in a state directory, where it could make a run write elsewhere; "
        "put what it leads to in its place, or give another --state"
    )
    return StateError(msg)
