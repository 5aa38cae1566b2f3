"""What a command line does for its process: standard streams that exist, and a Ctrl-C that ends it in one line."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Optional

import click

from headway.basics.stdio import discard, mute, unwritable
from headway.errors import UsageError

__all__ = ["INTERRUPTED", "Interrupts", "check_directory", "discard_output", "open_standard_streams", "say"]

INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C has ended."""


def open_standard_streams() -> None:
    """Put something in the place of standard streams that are closed, as by `>&-`.

    Else the next file to be opened, such as one of the state, would take the place and be written to as if it were
    the stream. Reading finds the end at once, writing to standard output fails.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR if number == 2 else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - it lives as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above


def check_directory() -> None:
    """Raises `UsageError` where the working directory is gone: paths mean nothing, and flows are looked for there."""
    try:
        os.getcwd()
    except OSError as error:
        msg = (
            f"the working directory cannot be used ({error.strerror}): it was removed, or its disk is gone; change to "
            "one that is there (cd), then start again"
        )
        raise UsageError(msg) from None


def say(text: str) -> None:
    """Write a line to standard output; raises `OutputError` when it cannot be written, as on a full disk."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(error) from error


def discard_output() -> None:
    """Whoever read the output has gone, or it cannot be written: the interpreter must not complain at its exit."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
            continue
        discard(stream)


class Interrupts:
    """Ctrl-C outside of a run, which has its own way: the first one ends the command, the second one at once."""

    def __init__(self) -> None:
        self.count = 0
        self._stderr: Optional[int] = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for it inside this block, in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            self._unmute()

    def _interrupt(self, number: int, frame: Any) -> None:
        self.count += 1
        if self.count > 1:
            os._exit(INTERRUPTED)
        # An extension module may panic at an exception in the midst of its work, and tell about it at length.
        with suppress(OSError):
            self._stderr = os.dup(2)
            mute(2)
        raise KeyboardInterrupt

    def _unmute(self) -> None:
        if self._stderr is not None:
            sys.stderr.flush()
            os.dup2(self._stderr, 2)
            os.close(self._stderr)
            self._stderr = None
