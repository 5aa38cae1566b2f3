"""The input `stdin`: JSON lines from standard input."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from typing import Optional

from headway.connectors.base import Input, PartitionReader, Position, Tell, unheard
from headway.connectors.bytelog import ByteLog
from headway.connectors.linereader import LineReader
from headway.connectors.stdout import path_of_descriptor
from headway.errors import InputError, UsageError
from headway.formats.base import Format
from headway.formats.named import JSON, FormatLike, format_of

__all__ = ["StdinInput", "stdin"]

_NAME = "stdin"
_PIECE_BYTES = 64 * 1024


def stdin(*, format: FormatLike = JSON) -> Input:  # noqa: A002 - the word of the field
    """Read lines from standard input, as one partition named `stdin`.

    Lines are as for `files`, in the `format`, by default JSON. One whose first line is no record is refused with
    `UsageError`, since a resumed run would not see it: name the columns, as in `headway.formats.Csv(columns=...)`.
    What comes in while there is nothing more yet is waited for without blocking.
    The end of the stream is final, also when the flow follows its inputs: the run then ends, unless other inputs are
    followed beside it. The last line needs no line end.

    Standard input cannot be read again: a resumed run takes what it is given as the continuation of the log,
    so give it what comes after the lines that the former run had made durable.

    >>> stdin().partitions()
    ['stdin']
    """
    form = format_of(format, "stdin()")
    if not form.has_lines or form.has_header:
        why = "needs the first line of the stream" if form.has_lines else "may have line ends in its records"
        msg = f"stdin(format={form.name!r}): this format {why}; take another, or name the columns of CSV"
        raise UsageError(msg)
    return StdinInput(format=form)


@dataclass(frozen=True)
class StdinInput(Input):
    """What `stdin` returns; `fd` is the descriptor to read."""

    fd: int = 0
    format: Format = JSON

    @property
    def ends(self) -> bool:
        """A stream that was closed brings nothing more."""
        return True

    def paths(self) -> list[str]:
        """The file that it comes from, if it does."""
        path = path_of_descriptor(self.fd)
        return [] if path is None else [path]

    def may_read(self, path: str) -> bool:
        """Only the file that it comes from."""
        return os.path.realpath(path) in self.paths()

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """Always the one."""
        return [_NAME]

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """Go on with what is given now, counting from `position`."""
        offset, ordinal = (position["offset"], position["ordinal"]) if position else (0, 0)
        return _StdinReader(_StreamLog(self.fd, offset), ordinal)

    def describe(self) -> str:
        """Always the same."""
        return _NAME

    @property
    def reading(self) -> str:
        """Always the same."""
        return "from standard input"


class _StreamLog(ByteLog):
    """What has come in from a stream and has not been read yet."""

    def __init__(self, fd: int, start: int) -> None:
        self.start = start
        self.ended = False
        self._fd = fd
        self._buffer = bytearray()
        self._buffer_offset = start

    def window(self, offset: int, size: int) -> bytes:
        """Take what is there without waiting."""
        del self._buffer[: offset - self._buffer_offset]
        self._buffer_offset = offset
        while len(self._buffer) < size and self._receive():
            pass
        with memoryview(self._buffer) as view:
            return bytes(view[:size])

    def head(self, size: int) -> bytes:
        """Not known: nothing identifies a stream."""
        return b""

    def require(self, offset: int, size: int) -> None:
        """Do nothing: what came in stays."""

    def check_end(self, *, final: bool) -> None:
        """Do nothing: a stream ends where it ends."""

    def close(self) -> None:
        """Do nothing: the stream belongs to the process."""

    def _receive(self) -> bool:
        if self.ended:
            return False
        try:
            if not select.select([self._fd], [], [], 0)[0]:
                return False
            data = os.read(self._fd, _PIECE_BYTES)
        except OSError as error:
            msg = (
                f"cannot read standard input: {error.strerror or error}; expected an open stream: "
                "pipe a log into the run, or read files(...)"
            )
            raise InputError(msg) from error
        self.ended = not data
        self._buffer += data
        return not self.ended


class _StdinReader(LineReader):
    def __init__(self, log: _StreamLog, ordinal: int) -> None:
        super().__init__(log, offset=log.start, ordinal=ordinal)
        self._stream = log

    def position(self) -> Position:
        """How many bytes and lines were read, over all runs."""
        return {"offset": self._offset + self._taken, "ordinal": self.next_ordinal}

    def _may_grow(self) -> bool:
        return not self._stream.ended
