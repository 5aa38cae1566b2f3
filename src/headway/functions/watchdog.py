"""A time limit for code of users that may never come back, in the thread that runs it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from headway.functions.tasks import Interrupted

__all__ = ["TookTooLong", "within"]

T = TypeVar("T")

_TURNS: Final = 1_000
_AGAIN_S: Final = 0.05
"""After this long it is told again: a bare `except:` may have caught it."""
_raise_in: Final = ctypes.pythonapi.PyThreadState_SetAsyncExc


class TookTooLong(Exception):
    """Code was not done in its time and was ended."""


def within(limit_s: float, work: Callable[[], T]) -> T:
    """What `work` returns or raises. Raises `TookTooLong` when it takes longer.

    Ends loops of Python, not a call that never comes back from C. Costs a thread, some 50 us.

    >>> within(10.0, lambda: 7)
    7
    """
    watch = _Watch(limit_s)
    try:
        return work()
    except Interrupted:
        if watch.has_barked:
            raise TookTooLong from None
        raise
    finally:
        watch.end()


class _Watch:
    """Raises `Interrupted` in the thread that has made it, from a time on and until it is told to end."""

    def __init__(self, limit_s: float) -> None:
        self.has_barked = False
        self._thread = ctypes.c_ulong(threading.get_ident())
        self._guard = threading.Lock()
        self._is_over = False
        self._timer = self._after(limit_s)

    def end(self) -> None:
        """Nothing is raised any more, also not what was on its way."""
        while not self._is_over:
            try:
                with self._guard:
                    self._is_over = True
            except Interrupted:
                continue
        self._timer.cancel()
        if self.has_barked:
            # What is on its way is raised in the next turns of a loop. To take it back by a call would leave the
            # interpreter looking for it for ever, and one that is traced hangs then (CPython 3.11).
            with suppress(Interrupted):
                for _ in range(_TURNS):
                    pass

    def _bark(self) -> None:
        with self._guard:
            if not self._is_over:
                self.has_barked = True
                _raise_in(self._thread, ctypes.py_object(Interrupted))
                self._timer = self._after(_AGAIN_S)

    def _after(self, pause_s: float) -> threading.Timer:
        timer = threading.Timer(pause_s, self._bark)
        timer.daemon = True
        timer.start()
        return timer
