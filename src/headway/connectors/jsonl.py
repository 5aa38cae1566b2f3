"""The output `to_jsonl`: a file of JSON lines, written exactly once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EACCES, EDQUOT, EFBIG, EISDIR, ELOOP, ENOSPC, EPERM, EROFS
from typing import ClassVar, Final, Optional, Union

from headway.basics.crashpoints import reached, synced
from headway.basics.guarantees import Guarantee
from headway.basics.syncing import sync_directory
from headway.basics.utf8 import is_utf8
from headway.connectors.base import Output, OutputWriter, Position
from headway.connectors.bytelog import FINGERPRINT_BYTES, TOO_MANY_FILES, Tail, fingerprint
from headway.errors import OutputError, UsageError

__all__ = ["JsonlOutput", "sync_name", "to_jsonl", "writing"]

_NEXT_STEPS: Final = {
    **TOO_MANY_FILES,
    ENOSPC: "free some space and run again: what was made durable is kept",
    EDQUOT: "free some space or raise the quota and run again: what was made durable is kept",
    EFBIG: "raise the limit of file sizes (`ulimit -f`) and run again: what was made durable is kept",
    EISDIR: "give the path of a file",
    ELOOP: "remove the link: it could make a run write elsewhere",
    EACCES: "give the user of this run write permission",
    EPERM: "give the user of this run write permission",
    EROFS: "choose a path on a file system that can be written",
}


def to_jsonl(path: Union[str, os.PathLike[str]]) -> Output:
    r"""Append each record as a line to a file. Missing directories are created.

    Transactional: a resumed run cuts the file back to what was durable, so that each record is in it once. A
    file that is there already and of which nothing is known to be this flow's, by its inode, is not lost: it is
    moved to `<path>.1` (or the first free number). Costs one `fsync` for each epoch in which something was written.

    The writer raises `OutputError` when the file cannot be written, when the disk is full, or when the file
    is not the one (or shorter than the one) that was written before.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "out", "triggers.jsonl")
    >>> writer = to_jsonl(path).open(None, mark=None)
    >>> writer.write([b'{"n": 1}', b'{"n": 2}'])
    >>> writer.close()
    >>> path.read_text()
    '{"n": 1}\n{"n": 2}\n'
    """
    text = os.fspath(path)
    if not isinstance(text, str) or not text:
        msg = f"to_jsonl({path!r}): expected the path of a file as text, such as 'triggers.jsonl'"
        raise UsageError(msg)
    if not is_utf8(text):
        msg = f"to_jsonl({text!r}): expected a path that is UTF-8 text; choose another name"
        raise UsageError(msg)
    return JsonlOutput(text)


@dataclass(frozen=True)
class JsonlOutput(Output):
    """What `to_jsonl` returns."""

    path: str
    private: bool = False
    """Whether only its owner may read it, and a link in its place is not followed; else as the umask has it."""

    guarantee: ClassVar[Guarantee] = Guarantee.EXACT

    def open(self, position: Optional[Position], *, mark: Optional[str]) -> OutputWriter:
        """Cut the file back to the position, or begin a new one."""
        offset = 0 if position is None else position["offset"]
        with writing(self.path):
            mode = 0o700 if self.private else 0o777
            os.makedirs(os.path.dirname(self.path) or os.curdir, mode=mode, exist_ok=True)
            notice = None if offset else _move_aside(self.path, mark)
            existed = os.path.exists(self.path)
            if not existed and offset:
                raise _too_short(self.path, expected=offset, found=0)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_NOFOLLOW if self.private else 0)
            fd = os.open(self.path, flags, 0o600 if self.private else 0o666)
        try:
            if not existed or notice is not None:
                sync_name(self.path)
            return _JsonlWriter(self.path, fd, _cut_back(self.path, fd, position), notice)
        except BaseException:
            os.close(fd)
            raise

    @property
    def writes(self) -> Optional[str]:
        """The path as it was given."""
        return self.path

    def describe(self) -> str:
        """The path, such as `file triggers.jsonl`."""
        return f"file {self.path}"


class _JsonlWriter(OutputWriter):
    transactional = True

    def __init__(self, path: str, fd: int, tail: Tail, notice: Optional[str]) -> None:
        self.notice = notice
        self._path = path
        self._fd = fd
        self._tail = tail
        self._offset = self._synced_offset = tail.end
        with writing(path):
            self.mark = _mark_of(os.fstat(fd))
            self._fingerprint = fingerprint(os.pread(fd, min(tail.end, FINGERPRINT_BYTES), 0))

    def write(self, records: Sequence[bytes]) -> None:
        """Append lines; on an error takes back what was written of them."""
        if not records:
            return
        data = b"\n".join(records) + b"\n"
        with writing(self._path):
            size = os.fstat(self._fd).st_size
        if size < self._offset:
            raise _too_short(self._path, expected=self._offset, found=size)
        reached("lines.before")
        try:
            with writing(self._path):
                self._write_all(data)
        except OutputError:
            # If even this fails, the next open cuts the file back.
            with suppress(OSError):
                os.ftruncate(self._fd, self._offset)
            raise
        self._tail = self._tail.grown(self._offset, data)
        self._offset += len(data)
        reached("lines.after")

    def position(self) -> Position:
        """Sync the file if something was written since the last time."""
        with writing(self._path):
            if self._offset > self._synced_offset:
                reached("lines-sync.before")
                os.fsync(self._fd)
                synced(self._path)
                reached("lines-sync.after")
                self._check_name()
                if self._synced_offset < FINGERPRINT_BYTES:
                    self._fingerprint = fingerprint(os.pread(self._fd, min(self._offset, FINGERPRINT_BYTES), 0))
                self._synced_offset = self._offset
        return {"offset": self._offset, "id": self._fingerprint, "tail": str(self._tail)}

    def close(self) -> None:
        """Close the file; nothing is buffered."""
        with writing(self._path):
            os.close(self._fd)

    def _check_name(self) -> None:
        """Make sure that the file still has its name: nobody would find what is written to another one."""
        if not os.path.exists(self._path) or not os.path.samestat(os.stat(self._path), os.fstat(self._fd)):
            msg = (
                f"{self._path} was removed or replaced while it was written; expected the file of "
                f"{self._offset} bytes: put it back, or start with a new state directory"
            )
            raise OutputError(msg)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        written = 0
        while written < len(view):
            written += os.pwrite(self._fd, view[written:], self._offset + written)


def _mark_of(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}"


def _move_aside(path: str, mark: Optional[str]) -> Optional[str]:
    """Rename a file that is not ours; returns what to tell about it."""
    if not os.path.isfile(path) or os.path.getsize(path) == 0 or _mark_of(os.stat(path)) == mark:
        return None
    number = 1
    while os.path.lexists(f"{path}.{number}"):
        number += 1
    moved = f"{path}.{number}"
    try:
        os.rename(path, moved)
    except OSError as error:
        msg = (
            f"{path} is there already and cannot be moved to {moved} ({error.strerror}): it is left as it is; move it "
            "away yourself, or give the output another path"
        )
        raise OutputError(msg) from error
    which = "existed before the first start of this flow" if mark is None else "is not the file that this flow wrote"
    return f"{path} {which}: it was moved to {moved}"


def _cut_back(path: str, fd: int, position: Optional[Position]) -> Tail:
    """Cut the file to the position, once it is known to be the one of the position; returns its last bytes."""
    with writing(path):
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            msg = (
                f"cannot write {path}: it is not a regular file; expected one that can be cut back: "
                "use to_stdout(), or another path"
            )
            raise OutputError(msg)
        offset = 0 if position is None else position["offset"]
        head = os.pread(fd, min(offset, FINGERPRINT_BYTES), 0)
        first = max(0, offset - FINGERPRINT_BYTES)
        tail = Tail(offset, os.pread(fd, offset - first, first))
    if status.st_size < offset:
        raise _too_short(path, expected=offset, found=status.st_size)
    if position is not None and (fingerprint(head), str(tail)) != (position["id"], position["tail"]):
        expected = f"{position['id']} and {position['tail']}"
        msg = (
            f"{path} is not the file that was written before: expected fingerprint {expected} (length and checksum of "
            f"its first and last bytes), found {fingerprint(head)} and {tail}; put the former file back, or start with "
            "a new state directory"
        )
        raise OutputError(msg)
    with writing(path):
        reached("lines-cut.before")
        os.ftruncate(fd, offset)
        synced(path)  # What is left was durable before.
        reached("lines-cut.after")
    return tail


def _too_short(path: str, *, expected: int, found: int) -> OutputError:
    msg = (
        f"{path} is shorter than what was written to it: expected at least {expected} bytes, found {found}; "
        "put the former file back, or start with a new state directory"
    )
    return OutputError(msg)


def sync_name(path: str) -> None:
    """Make the file's name durable."""
    with writing(path):
        sync_directory(os.path.dirname(path) or os.curdir)


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn the operating system's errors into `OutputError`."""
    try:
        yield
    except OSError as error:
        next_step = _NEXT_STEPS.get(error.errno or 0, "check the path, its directory and their permissions")
        msg = f"cannot write {path} ({os.path.abspath(path)}): {error.strerror or error}; {next_step}"
        raise OutputError(msg) from error
