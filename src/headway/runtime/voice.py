"""What the engine says when it breaks: kept off the terminal, and looked into for the cause.

A panic of the engine writes some lines, or a hundred, to the descriptor of standard error, and an exception that it
cannot hand on is printed as a traceback. Neither is for the user, who gets one message; but the cause may stand in
nothing else: all that a cluster's run then raises is "Send thread panic".
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from types import TracebackType
from typing import Final, Optional

__all__ = ["EngineVoice", "Sieve", "engine_voice"]

_THREAD: Final = b"thread '"
_PANIC: Final = b"' panicked at "
_PANIC_KEPT: Final = 65_536
"""How much of a panic's text is kept, in bytes."""
_PIPE_BYTES: Final = 1 << 20
"""Room between those who write and the thread that passes on: native code may write while it holds Python's lock."""
_LAST_WORDS_S: Final = 0.5


class EngineVoice:
    """What was said inside of an `engine_voice` block."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        """Exceptions that the engine printed, as it could not hand them on."""
        self.panic_bytes = b""

    @property
    def panic(self) -> str:
        """What the engine said of its panics; empty without any."""
        return self.panic_bytes.decode(errors="replace")

    @property
    def interrupted(self) -> bool:
        """Whether a Ctrl-C came while the engine ran."""
        return any(isinstance(error, KeyboardInterrupt) for error in self.errors)

    def hear(self, kind: type[BaseException], error: BaseException, trace: Optional[TracebackType]) -> None:
        """Take an exception, as `sys.excepthook` does."""
        self.errors.append(error)


_turn: Final = threading.Lock()


@contextmanager
def engine_voice(*, aloud: bool = False) -> Iterator[EngineVoice]:
    """Inside this block the engine's panics are heard instead of printed, with `aloud` both; all else is printed.

    What Python writes to `sys.stderr` goes where it went. What others write to the descriptor, such as a library in C
    or a program that the flow starts, is passed on by a thread. Of blocks in several threads at once only the first
    one listens.
    """
    voice = EngineVoice()
    printing, sys.excepthook = sys.excepthook, voice.hear
    listens = _turn.acquire(blocking=False)
    try:
        if listens:
            with _listening(voice, aloud=aloud):
                yield voice
        else:
            yield voice
    finally:
        sys.excepthook = printing
        if listens:
            _turn.release()


@contextmanager
def _listening(voice: EngineVoice, *, aloud: bool) -> Iterator[None]:
    try:
        kept = os.dup(2)
    except OSError:  # It is closed: there is nothing to be kept clean.
        yield
        return
    hearing, speaking = os.pipe()
    with suppress(AttributeError, OSError):  # Linux only, and only as far as the user's limits allow.
        fcntl.fcntl(speaking, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    relay = threading.Thread(target=_pass_on, args=(hearing, kept, voice, aloud), name="headway-stderr", daemon=True)
    try:
        with _stderr_at(kept):
            os.dup2(speaking, 2)
            os.close(speaking)
            relay.start()
            try:
                yield
            finally:
                os.dup2(kept, 2)
    finally:
        # A program that the flow has started may still write: then the thread goes on.
        relay.join(_LAST_WORDS_S)


@contextmanager
def _stderr_at(descriptor: int) -> Iterator[None]:
    """Let Python's own standard error, which logging may hold as well, write to another descriptor meanwhile."""
    buffer = getattr(sys.__stderr__, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if sys.__stderr__ is None or not isinstance(raw, FileIO) or raw.fileno() != 2:
        yield
        return
    sys.__stderr__.flush()
    raw.__init__(descriptor, "wb", closefd=False)  # type: ignore[misc]
    try:
        yield
    finally:
        sys.__stderr__.flush()
        raw.__init__(2, "wb", closefd=False)  # type: ignore[misc]


def _pass_on(hearing: int, kept: int, voice: EngineVoice, aloud: bool) -> None:
    """Pass on what comes until nobody speaks any more."""
    sieve = Sieve(voice, aloud=aloud)
    while said := os.read(hearing, 65_536):
        with suppress(OSError):  # Nobody who writes to standard error minds.
            os.write(kept, sieve.take(said))
    with suppress(OSError):
        os.write(kept, sieve.begun)
    os.close(hearing)
    os.close(kept)


class Sieve:
    """Tells other text from a panic, and all that follows one: that is the engine's own, as the run ends with it."""

    def __init__(self, voice: EngineVoice, *, aloud: bool) -> None:
        self._voice = voice
        self._aloud = aloud
        self.begun = b""
        """The begin of a line that may become the first one of a panic: it is written in pieces."""

    def take(self, said: bytes) -> bytes:
        """Take what was said next; returns what is to be passed on by now."""
        said = self.begun + said
        self.begun = b""
        if self._voice.panic_bytes or _PANIC in said:
            # What others wrote may have come in the same piece, before the line that the panic begins with.
            begins_at = 0 if self._voice.panic_bytes else said.rfind(b"\n", 0, said.index(_PANIC)) + 1
            self._voice.panic_bytes = (self._voice.panic_bytes + said[begins_at:])[:_PANIC_KEPT]
            return said if self._aloud else said[:begins_at]
        line_at = said.rfind(b"\n") + 1
        if said.startswith(_THREAD, line_at) or _THREAD.startswith(said[line_at:]):
            said, self.begun = said[:line_at], said[line_at:]
        return said
