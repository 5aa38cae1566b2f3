"""The output `to_stdout`: JSON lines on standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import BinaryIO, Optional

from headway.connectors.base import Output, OutputWriter, Position
from headway.errors import OutputError, ReaderGoneError

__all__ = ["StdoutOutput", "to_stdout"]


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

    def open(self, position: Optional[Position], *, fresh: bool) -> OutputWriter:
        """Print to what is standard output now."""
        return _StdoutWriter()

    def describe(self) -> str:
        """Always the same."""
        return "stdout"


class _StdoutWriter(OutputWriter):
    transactional = False

    def write(self, records: Sequence[bytes]) -> None:
        if not records:
            return
        # What it is now: while a cluster runs, it is another one than after its end.
        stream = sys.stdout.buffer
        try:
            left = memoryview(b"\n".join(records) + b"\n")
            while left:  # An unbuffered stream takes a part when a signal comes, or when the reader goes meanwhile.
                left = left[stream.write(left) :]
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


def _silence(stream: BinaryIO) -> None:
    """Let what is still buffered go nowhere, or the interpreter would complain again at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
