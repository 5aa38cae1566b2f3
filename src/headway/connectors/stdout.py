"""The output `to_stdout`: JSON lines on standard output."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Sequence
from typing import BinaryIO, Optional

from headway.connectors.base import Output, OutputWriter, Position
from headway.errors import OutputError

__all__ = ["StdoutOutput", "path_of_descriptor", "to_stdout"]


def to_stdout() -> Output:
    """Print each record as a line.

    Not transactional: a record is printed once its epoch is durable, and may be printed again when the run
    died right after. Flushed at each write. The writer raises `OutputError` when the reading end is closed.

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
        return _StdoutWriter(sys.stdout.buffer)

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

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, records: Sequence[bytes]) -> None:
        if not records:
            return
        try:
            self._write_all(memoryview(b"\n".join(records) + b"\n"))
            self._stream.flush()
        except BrokenPipeError as error:
            _silence(self._stream)
            msg = (
                "standard output was closed by its reader (such as `head`): expected it to stay open "
                "while the flow runs; run again to go on, or write to a file with to_jsonl(...)"
            )
            raise OutputError(msg) from error
        except OSError as error:
            _silence(self._stream)
            msg = f"cannot write to standard output: {error.strerror or error}; check where it is redirected to"
            raise OutputError(msg) from error

    def _write_all(self, data: memoryview) -> None:
        """Write all of it: unbuffered, as with `python -u`, a stream may take a part and say how much."""
        while data:
            try:
                taken = self._stream.write(data)
            except BlockingIOError as error:
                taken = error.characters_written
            if not taken:  # Its other end made it non-blocking, and is slow.
                select.select([], [self._stream.fileno()], [])
            data = data[taken or 0 :]

    def position(self) -> Position:
        return {}


def _silence(stream: BinaryIO) -> None:
    """Let what is still buffered go nowhere, or the interpreter would complain again at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
