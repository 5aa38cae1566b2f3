"""The output `to_stdout`: JSON lines on standard output."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Sequence
from typing import BinaryIO, Optional

from headway.connectors.base import Output, OutputWriter, Position
from headway.errors import OutputError, ReaderGoneError

__all__ = ["StdoutOutput", "path_of_descriptor", "to_stdout"]


def to_stdout() -> Output:
    """Print each record as a line.

    Not transactional: a record is printed once its epoch is durable, and may be printed again when the run
    died right after. Flushed at each write. The writer raises `ReaderGoneError`
    when the reading end is closed, `OutputError` when it cannot be written for another reason.

    >>> to_stdout().describe()
    'stdout'
    """
    return StdoutOutput()


class StdoutOutput(Output):
    """What `to_stdout` returns."""

    @property
    def writes(self) -> Optional[str]:
        """The file that standard output is redirected to, if it is."""
        return path_of_descriptor(1)

    @property
    def shared(self) -> bool:
        """Lines of several outputs may stand between each other."""
        return True

    def open(self, position: Optional[Position], *, mark: Optional[str]) -> OutputWriter:
        """Print to what is standard output now."""
        return _StdoutWriter()

    def describe(self) -> str:
        """Always the same."""
        return "stdout"


def path_of_descriptor(fd: int) -> Optional[str]:
    """The path of the regular file that a descriptor is open on; None for anything else, or where nobody can tell."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}") if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None


class _StdoutWriter(OutputWriter):
    transactional = False

    def write(self, records: Sequence[bytes]) -> None:
        if not records:
            return
        # What it is now: while a cluster runs, it is another one than after its end.
        stream = sys.stdout.buffer
        try:
            _write_all(stream, memoryview(b"\n".join(records) + b"\n"))
            stream.flush()
        except BrokenPipeError as error:
            _silence(stream)
            msg = (
                "standard output was closed by its reader (such as `head`): expected it to stay open "
                "while the flow runs; run again to go on, or write to a file with to_jsonl(...)"
            )
            raise ReaderGoneError(msg) from error
        except OSError as error:
            _silence(stream)
            msg = f"cannot write to standard output: {error.strerror or error}; check where it is redirected to"
            raise OutputError(msg) from error

    def position(self) -> Position:
        return {}


def _write_all(stream: BinaryIO, data: memoryview) -> None:
    """Write all of it: unbuffered, as with `python -u`, a stream may take a part and say how much."""
    while data:
        try:
            taken = stream.write(data)
        except BlockingIOError as error:
            taken = error.characters_written
        if not taken:  # Its other end made it non-blocking, and is slow.
            select.select([], [stream.fileno()], [])
        data = data[taken or 0 :]


def _silence(stream: BinaryIO) -> None:
    """Let what is still buffered go nowhere, or the interpreter would complain again at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
