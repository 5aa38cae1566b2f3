"""The history of a run as bars over time: what was under way, from when to when, and how it came out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, Optional

import msgspec

from headway.functions.history import (
    HAPPENINGS,
    Answered,
    CallCancelled,
    Called,
    CancelAsked,
    Cancelled,
    Continued,
    Entry,
    Failed,
    Finished,
    FinishedBadly,
    Fired,
    Signalled,
    Started,
    TerminateAsked,
    Terminated,
    TimerCancelled,
    TimerSet,
    UpdateAnswered,
    UpdateAsked,
)

__all__ = ["Bar", "bars_of"]

Outcome = Literal["done", "failed", "cancelled", "open"]

_ENDS: Final[dict[type[Any], Outcome]] = {
    Finished: "done",
    Continued: "done",
    FinishedBadly: "failed",
    Cancelled: "cancelled",
    Terminated: "cancelled",
}


class Bar(msgspec.Struct):
    """One thing that was under way."""

    label: str
    begin_ms: int
    end_ms: Optional[int] = None
    """None while it is open."""
    outcome: Outcome = "open"
    detail: str = ""
    """Why it failed, or what it waits for."""
    is_moment: bool = False
    """Whether it has no length: a signal, a request to end."""


def bars_of(name: str, entries: Iterable[Entry]) -> list[Bar]:
    """The run itself, and then its calls, timers, signals and updates in the order in which they began.

    >>> history = [Started(0), Called(1, "step", "pack"), Answered(5, 1), Called(2, "step", "ship")]
    >>> [(bar.label, bar.begin_ms, bar.end_ms, bar.outcome) for bar in bars_of("order", history)]
    [('order', 0, None, 'open'), ('pack', 0, 5, 'done'), ('ship', 5, None, 'open')]
    """
    made = _Bars(name)
    for entry in entries:
        made.take(entry)
    return made.bars


class _Bars:
    def __init__(self, name: str) -> None:
        self.whole = Bar(name, 0)
        self.bars = [self.whole]
        self._now_ms = 0
        self._open: dict[Any, Bar] = {}

    def take(self, entry: Entry) -> None:
        if isinstance(entry, HAPPENINGS):
            self._now_ms = max(self._now_ms, entry.at_ms)
            self._happened(entry)
        elif isinstance(entry, Called):
            word = "" if entry.kind == "step" else f"{entry.kind} "
            self._begin(entry.number, f"{word}{entry.name}".strip(), entry.to)
        elif isinstance(entry, TimerSet):
            self._begin(entry.number, "timer")
        elif isinstance(entry, (CallCancelled, TimerCancelled)):
            self._end(entry.number, "cancelled")
        elif isinstance(entry, UpdateAnswered):
            self._end(entry.update_id, "done" if entry.failure is None else "failed", str(entry.failure or ""))
        elif type(entry) in _ENDS:
            failure = entry.failure if isinstance(entry, FinishedBadly) else getattr(entry, "reason", "")
            self.whole.end_ms, self.whole.outcome = self._now_ms, _ENDS[type(entry)]
            self.whole.detail = str(failure)

    def _happened(self, entry: Any) -> None:
        if isinstance(entry, Started):
            self.whole.begin_ms = entry.at_ms
        elif isinstance(entry, Answered):
            self._end(entry.call, "done")
        elif isinstance(entry, Failed):
            self._end(entry.call, "failed", str(entry.failure))
        elif isinstance(entry, Fired):
            self._end(entry.timer, "done")
        elif isinstance(entry, Signalled):
            self._moment(f"signal {entry.name}")
        elif isinstance(entry, UpdateAsked):
            self._begin(entry.update_id, f"update {entry.name}")
        elif isinstance(entry, CancelAsked):
            self._moment("asked to cancel", entry.reason)
        elif isinstance(entry, TerminateAsked):
            self._moment("terminated", entry.reason)

    def _begin(self, key: Any, label: str, detail: str = "") -> None:
        bar = self._open[key] = Bar(label, self._now_ms, detail=detail)
        self.bars.append(bar)

    def _end(self, key: Any, outcome: Outcome, detail: str = "") -> None:
        bar = self._open.pop(key, None)
        if bar is not None:
            bar.end_ms, bar.outcome = self._now_ms, outcome
            bar.detail = detail or bar.detail

    def _moment(self, label: str, detail: str = "") -> None:
        self.bars.append(Bar(label, self._now_ms, self._now_ms, "done", detail, is_moment=True))
