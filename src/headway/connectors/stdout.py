"""The output `to_stdout`: JSON lines on standard output."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Sequence
from typing import BinaryIO, Optional, TextIO

from headway.basics.stdio import discard, unwritable
from headway.connectors.base import Output, OutputWriter, Position
from headway.errors import OutputError, ReaderGoneError

__all__ = ["StdoutOutput", "path_of_descriptor", "to_stdout"]


def to_stdout() -> Output:
    """Print each record as a line.

    Not transactional: a record is printed once its epoch is durable, and may be printed again when the run
    died right after. Flushed at each write; goes to whatever `sys.stdout` is by then, also where that takes text only,
    as in a notebook. The writer raises `ReaderGoneError` when the reading end is closed, `OutputError` when it cannot
    be written for another reason.

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
        stream = sys.stdout
        if stream is None:
            msg = "this program has no standard output: expected a terminal or a file; write with to_jsonl(...)"
            raise OutputError(msg)
        try:
            _print(stream, b"\n".join(records) + b"\n")
        except BrokenPipeError as error:
            discard(stream)
            msg = (
                "standard output was closed by its reader (such as `head`): expected it to stay open "
                "while the flow runs; run again to go on, or write to a file with to_jsonl(...)"
            )
            raise ReaderGoneError(msg) from error
        except (OSError, ValueError) as error:  # The latter where it has been closed.
            discard(stream)
            raise unwritable(error) from error

    def position(self) -> Position:
        return {}


def _print(stream: TextIO, data: bytes) -> None:
    """Write lines and see to it that they leave; as text where it takes no bytes, as in a notebook."""
    binary: Optional[BinaryIO] = getattr(stream, "buffer", None)
    if binary is None:
        stream.write(data.decode())
        stream.flush()
        return
    _write_all(binary, memoryview(data))
    while True:
        try:
            return binary.flush()
        except BlockingIOError:
            _await_room(binary)


def _write_all(stream: BinaryIO, data: memoryview) -> None:
    """Write all of it: unbuffered, as with `python -u`, a stream may take a part and say how much."""
    while data:
        try:
            taken = stream.write(data)
        except BlockingIOError as error:
            taken = error.characters_written
        if not taken:
            _await_room(stream)
        data = data[taken or 0 :]


def _await_room(stream: BinaryIO) -> None:
    """Wait for a stream that its other end made non-blocking, and that is slow."""
    select.select([], [stream.fileno()], [])
