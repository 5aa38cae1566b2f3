"""How exactly the system wakes a thread that sleeps: the one that waits for the engine's workers may be woken late.

While workers run in threads of their own, the engine's first thread looks every millisecond whether they have ended,
and takes the interpreter's lock for that: 1.6 % of a core in each process, for nothing. It cannot be told to look less
often. But Linux lets a thread say by how much its wake-ups may be put off, so that they come together with others; the
engine's own sleep is then longer by as much. A thread has the slack of the one that started it, so each worker takes
its own back when it first gets to Python.

Elsewhere than on Linux nothing is done, and nothing else changes.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["patient", "prompt"]

_SET_SLACK: Final = 29
"""PR_SET_TIMERSLACK of prctl(2)."""
_PATIENT_NS: Final = 25_000_000
_PROMPT_NS: Final = 50_000
"""What Linux gives to processes."""


@contextmanager
def patient() -> Iterator[None]:
    """Inside this block the calling thread may be woken some 25 ms late from a sleep."""
    _set_slack(_PATIENT_NS)
    try:
        yield
    finally:
        _set_slack(_PROMPT_NS)


def prompt() -> None:
    """The calling thread is to be woken in time, whatever thread has started it."""
    _set_slack(_PROMPT_NS)


def _set_slack(slack_ns: int) -> None:
    if sys.platform == "linux":
        # A system that refuses wakes as it always did.
        ctypes.CDLL(None).prctl(_SET_SLACK, ctypes.c_ulong(slack_ns), 0, 0, 0)
