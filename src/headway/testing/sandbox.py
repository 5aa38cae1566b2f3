"""Notices what the code of a durable function reads beside its context: the clock, chance, files, the environment.

What a function does must follow from its history. Code that reads the clock does something else in a replay, some day,
in production, where it was never tried. So a test watches it: while the function's code runs, the interpreter tells of
each call (`sys.setprofile`), and calls of what is known to differ from one run to the next are noted with the line of
the user's code that led there.

Nothing is replaced, so nothing behaves differently under the watch. Other threads are not watched, nor is anything
while another profiler is at work. What reads the clock on behalf of Headway, of `logging` or of an import is nobody's
decision and is not noted. The order of a set, and variables that instances share, cannot be seen this way: a replay
shows them, which is what `with_crashes` is for.

Rejected: replacing `time.time` and the others while the code runs, as the sandboxes of peers do. Whoever wrote `from
time import time` has the original, and methods of C classes such as `datetime.now` cannot be replaced at all.
"""

from __future__ import annotations

import _thread
import datetime
import gc
import io
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Optional

from headway.functions.journal import user_line

__all__ = ["NotDurable", "Read", "Watch"]


class NotDurable(UserWarning):
    """A durable function reads something that differs from one replay to the next."""


class Read(NamedTuple):
    """What was read, the line that did it, and what to use in its place."""

    what: str
    line: str
    instead: str

    def __str__(self) -> str:
        return f"{self.what} at {self.line} is not the same in each replay: {self.instead}"


_CLOCK: Final = "use context.now() or context.now_ms"
_CHANCE: Final = "use context.random or context.uuid()"
_OUTSIDE: Final = "read it in a step, or give it to the function as an argument"
_WORK: Final = "that is work for a step"

_BUILTINS: Final[dict[Any, tuple[str, str]]] = {
    **{getattr(time, name): (f"time.{name}", _CLOCK) for name in ("time", "time_ns", "monotonic", "monotonic_ns")},
    **{getattr(time, name): (f"time.{name}", _CLOCK) for name in ("perf_counter", "perf_counter_ns", "process_time")},
    time.sleep: ("time.sleep", "use context.sleep"),
    random.random: ("random.random", _CHANCE),
    random.getrandbits: ("random.getrandbits", _CHANCE),
    os.urandom: ("os.urandom", _CHANCE),
    io.open: ("open", _OUTSIDE),
    **{getattr(os, name): (f"os.{name}", _OUTSIDE) for name in ("open", "listdir", "scandir", "stat", "getcwd")},
    os.getpid: ("os.getpid", _OUTSIDE),
    _thread.start_new_thread: ("a thread", _WORK),
}
_PYTHON: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("os", "__getitem__"): ("os.environ", _OUTSIDE),
    ("socket", "__init__"): ("a socket", _WORK),
    ("subprocess", "__init__"): ("a process", _WORK),
}
_NAMED_BY_CALLER: Final = ("random.random", "random.getrandbits", "os.urandom", "os.stat", "open")
_NOBODYS: Final = frozenset({"logging", "importlib", "linecache", "traceback", "warnings"})
_DATES: Final = frozenset({"now", "today", "utcnow"})


class Watch:
    """Notes what is read while it is entered; `reads` is what it has seen, each line once."""

    def __init__(self) -> None:
        self.reads: list[Read] = []
        self._is_on = False

    def __enter__(self) -> None:
        self._is_on = sys.getprofile() is None
        if self._is_on:
            sys.setprofile(self._see)

    def __exit__(self, *_: object) -> None:
        if self._is_on:
            sys.setprofile(None)

    def _see(self, frame: Any, event: str, called: Any) -> None:
        found: Optional[tuple[str, str]] = None
        if event == "c_call":
            try:
                found = _BUILTINS.get(called) or _of_dates(called)
            except TypeError:
                # A method of an object without a hash.
                return
        elif event == "call":
            code = frame.f_code
            if code.co_name in ("__getitem__", "__init__"):
                found = _PYTHON.get((frame.f_globals.get("__name__", ""), code.co_name))
        if found is not None:
            self._note(frame, *found)

    def _note(self, frame: Any, what: str, instead: str) -> None:
        caller = ""
        while frame is not None:
            module = str(frame.f_globals.get("__name__", ""))
            top = module.partition(".")[0]
            if top in _NOBODYS or (top == "headway" and not module.startswith("headway.flows.")):
                return
            if any(getattr(collecting, "__code__", None) is frame.f_code for collecting in gc.callbacks):
                # The collector came along, and has told somebody.
                return
            if top not in sys.stdlib_module_names:
                break
            caller = f"{module}.{frame.f_code.co_name}"
            frame = frame.f_back
        if frame is None:
            return
        if caller and what in _NAMED_BY_CALLER:
            what = caller
        read = Read(what, user_line(frame), instead)
        if read not in self.reads:
            self.reads.append(read)


def _of_dates(called: Callable[..., Any]) -> Optional[tuple[str, str]]:
    owner = getattr(called, "__self__", None)
    name = getattr(called, "__name__", "")
    if name in _DATES and isinstance(owner, type) and issubclass(owner, datetime.date):
        return f"{owner.__name__}.{name}", _CLOCK
    return None
