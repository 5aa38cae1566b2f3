"""Declaring the queues in which calls of steps wait for their turn."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final, Literal, Optional

from headway.basics.declaring import declaring, fail
from headway.basics.times import Duration, duration_ms
from headway.errors import UsageError

__all__ = ["BUILT_IN", "DEFAULT", "PROCESSES", "Queue", "RunsOn", "rate_per_second"]

RunsOn = Literal["flow", "workers"]
"""Who runs the steps of a queue: the processes of the flow, or `headway worker` elsewhere."""

DEFAULT: Final = "default"
"""The queue of calls that name none."""
PROCESSES: Final = "processes"
"""The queue of steps with `runs_in="process"` that name none."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(ms|s|min|m|h|d)")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_RATE_MOST: Final = 1_000_000.0
_WEIGHT_MOST: Final = 1_000


class Queue:
    """Where calls of steps wait for their turn, and how many have it.

    `concurrency` is how many attempts are under way at once, and `rate` how many begin in a time, such as `"100/s"` or
    `"5/min"`; `burst` of them may begin together, by default a tenth of a second's worth. Both hold for all processes
    of a flow on one machine together. A call of a smaller `priority` goes first. Among those of one priority the keys
    that calls name as their `fairness` take turns, however many calls each of them has; `weights` gives a key more
    turns, all others have 1.

    `runs_on` says who runs the steps: the processes of the flow, or `"workers"`: `headway worker` on this or other
    machines. A worker that is not heard of for the length of `lease` is lost, and what it had is tried again.

    Priorities and turns are looked at among the first 2,000 calls that wait in each process; those behind are on the
    disk, in their order. Raises `FlowError` for what cannot be.

    >>> Queue("payments", concurrency=10, rate="100/s")
    Queue('payments', concurrency=10, rate=100/s)
    >>> Queue("reports", runs_on="workers", weights={"gold": 3}).lease_ms
    30000
    """

    def __init__(
        self,
        name: str,
        *,
        concurrency: int = 100,
        rate: Optional[str] = None,
        burst: Optional[int] = None,
        weights: Optional[Mapping[str, int]] = None,
        runs_on: RunsOn = "flow",
        lease: Duration = "30s",
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            fail(f"Queue({name!r}): use letters, digits, '-', '_' and '.', starting with a letter or digit")
        if runs_on not in ("flow", "workers"):
            fail(f'queue {name!r}: runs_on={runs_on!r}: expected "flow" or "workers"')
        with declaring():
            self.name = name
            self.concurrency = _whole(f"queue {name!r}: concurrency", concurrency, 100_000)
            self.rate = rate
            self.per_second = None if rate is None else rate_per_second(rate, f"queue {name!r}")
            self.burst = self._burst(burst)
            self.weights = {
                key: _whole(f"queue {name!r}: weight of {key!r}", weight, _WEIGHT_MOST)
                for key, weight in (weights or {}).items()
            }
            self.runs_on: RunsOn = runs_on
            self.lease_ms = duration_ms(lease, what="lease")
            if not 1_000 <= self.lease_ms <= 86_400_000:
                msg = f"queue {name!r}: lease={lease!r}: expected 1s to 1d"
                raise UsageError(msg)

    def _burst(self, burst: Optional[int]) -> int:
        if burst is None:
            return max(1, int((self.per_second or 0) / 10))
        if self.per_second is None:
            msg = f"queue {self.name!r}: burst={burst!r} says nothing without a rate"
            raise UsageError(msg)
        return _whole(f"queue {self.name!r}: burst", burst, 1_000_000)

    def __repr__(self) -> str:
        rate = "" if self.rate is None else f", rate={self.rate}"
        runs_on = "" if self.runs_on == "flow" else f", runs_on={self.runs_on!r}"
        return f"Queue({self.name!r}, concurrency={self.concurrency}{rate}{runs_on})"


def rate_per_second(text: str, what: str) -> float:
    """How many a second a rate means. Raises `UsageError` for what is none.

    >>> rate_per_second("90/min", "queue 'mails'")
    1.5
    """
    found = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
    rate = 0.0 if found is None else float(found[1]) / _UNITS_S[found[2]]
    if not 0 < rate <= _RATE_MOST:
        msg = f'{what}: rate={text!r} is no rate: write how many in which time, such as "100/s", "90/min" or "5/h"'
        raise UsageError(msg)
    return rate


def _whole(what: str, value: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        msg = f"{what}={value!r}: expected a whole number from 1 to {most:,}"
        raise UsageError(msg)
    return value


BUILT_IN: Final = (Queue(DEFAULT), Queue(PROCESSES, concurrency=os.cpu_count() or 1))
"""Queues that are there without being declared. Who declares one of the same name replaces it."""
