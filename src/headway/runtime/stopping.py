"""What tells a run to stop: a signal, a second Ctrl-C, or the caller."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["StopFlag"]

_INTERRUPTED: Final = 130


class StopFlag:
    """Tells a run to stop gracefully: the epoch closes, and nothing is done again at the next start.

    `also` is asked as well, and so may be the `is_set` of an event that the caller holds.
    """

    def __init__(self, also: Callable[[], bool] = lambda: False) -> None:
        self._is_set = False  # No lock: a signal sets it, and another one may come meanwhile.
        self._also = also
        self._interrupts = 0

    def set(self) -> None:
        """Stop soon."""
        self._is_set = True

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._is_set or self._also()

    @property
    def by_interrupt(self) -> bool:
        """Whether Ctrl-C has set it."""
        return self._interrupts > 0

    def is_urgent(self) -> bool:
        """Whether a second Ctrl-C has come: the run ends where it stands, as at a crash."""
        return self._interrupts > 1

    @contextmanager
    def on_signals(self) -> Iterator[StopFlag]:
        """Inside this block SIGTERM and the first Ctrl-C set the flag; a second Ctrl-C raises `KeyboardInterrupt`.

        A third one ends the process on the spot: something has swallowed the second. Only the main thread can have
        such a block that does anything: in another one signals go on as before.
        """

        def stop(number: int, frame: Any) -> None:
            if number == signal.SIGINT:
                self._interrupts += 1
                if self._interrupts > 2:
                    os._exit(_INTERRUPTED)
                if self._interrupts == 2:
                    raise KeyboardInterrupt
            self.set()

        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
