"""What goes wrong with standard output, whoever writes to it: a run, or a command."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO, Any

from headway.errors import OutputError

__all__ = ["discard", "mute", "unwritable"]


def unwritable(error: Exception) -> OutputError:
    """The error for standard output that cannot be written, as on a full disk."""
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"cannot write to standard output: {reason}; check where it is redirected to")


def discard(stream: IO[Any]) -> None:
    """Let what is still buffered go nowhere, or the interpreter would complain again at its exit."""
    with suppress(OSError, ValueError):  # What a notebook or a test has put in its place has no descriptor.
        mute(stream.fileno())


def mute(fd: int) -> None:
    """Let all that is written to a descriptor from now on go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.dup2(nowhere, fd)
    finally:
        os.close(nowhere)
