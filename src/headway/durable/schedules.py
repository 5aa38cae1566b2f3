"""Schedules of durable functions: what is declared of one, and which of the times that are due lead to a start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Optional, Union, get_args

from headway.basics.times import Duration, duration_ms, format_time
from headway.durable.messages import SCHEDULES, address_of
from headway.durable.timetable import Cron, Every, Timetable, zone_of
from headway.functions.declared import DurableFunction

__all__ = ["DUE_MOST", "ON_TIME_MS", "CatchUp", "Overlap", "Schedule", "declared", "due_times", "to_be_started"]

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel", "terminate", "allow"]
"""What happens at a time that is due while what was started before still runs: nothing; one start waits for its end;
all do; it is cancelled or terminated, and the next one starts when it has ended; both run."""
CatchUp = Literal["one", "all", "none"]
"""Which of the times that have passed while no run was there lead to a start: the last one, all, or none."""

ON_TIME_MS: Final = 60_000
"""What is due is on time so long: later it was missed, and is caught up with or not."""
_PERIOD_LEAST_MS: Final = 10
DUE_MOST: Final = 1_000
"""Times that are dealt with in one step."""

Arguments = Union[tuple[Any, ...], list[Any], dict[str, Any]]


@dataclass(frozen=True)
class Schedule:
    """Starts a function again and again."""

    name: str
    function: DurableFunction[Any]
    timetable: Timetable
    prefix: str
    """What the ids of those that are started begin with."""
    arguments: Union[Arguments, Callable[[datetime], Any]]
    overlap: Overlap
    catch_up: CatchUp
    window_ms: int

    @property
    def address(self) -> str:
        """The key of its state."""
        return address_of(SCHEDULES, self.name)

    def id_at(self, due_ms: int) -> str:
        """The id of the one that is started for a time: the same whenever that is done."""
        return f"{self.prefix}-{format_time(due_ms).replace('.000Z', 'Z')}"

    def arguments_at(self, due_ms: int) -> bytes:
        """The arguments of the one that is started for a time, as JSON. Raises `UsageError`."""
        given = self.arguments
        if callable(given):
            given = given(datetime.fromtimestamp(due_ms / 1_000, self.timetable.zone))
        if isinstance(given, dict):
            return self.function.encode_arguments(**given)
        return self.function.encode_arguments(*(given if isinstance(given, (tuple, list)) else (given,)))


def declared(
    name: str,
    function: DurableFunction[Any],
    *,
    cron: Optional[str],
    every: Optional[Duration],
    offset: Duration,
    tz: str,
    id: Optional[str],  # noqa: A002 - what the id of a function is called everywhere
    args: Union[Arguments, Callable[[datetime], Any]],
    overlap: Overlap,
    catch_up: CatchUp,
    catch_up_window: Duration,
) -> Schedule:
    """A schedule of these options. Raises `ValueError` and `UsageError` for those that mean nothing."""
    if not isinstance(name, str) or not name or not name.isprintable() or "/" in name:
        msg = f'the name {name!r} must be text without "/", such as "nightly"'
        raise ValueError(msg)
    for option, value, kind in (("overlap", overlap, Overlap), ("catch_up", catch_up, CatchUp)):
        if value not in get_args(kind):
            msg = f"{option}={value!r} is unknown: give one of {', '.join(get_args(kind))}"
            raise ValueError(msg)
    if (cron is None) == (every is None):
        msg = 'give either cron="0 3 * * *" or every="1h"'
        raise ValueError(msg)
    prefix = name if id is None else id
    if not isinstance(prefix, str) or not prefix or "\0" in prefix:
        msg = f"id={prefix!r} must be text: the ids of what is started are it, a hyphen, and the time that was due"
        raise ValueError(msg)
    timetable: Timetable
    if cron is not None:
        timetable = Cron(cron, zone_of(tz))
        timetable.check()
    else:
        period_ms = duration_ms(every or 0, what="every")
        if period_ms < _PERIOD_LEAST_MS:
            msg = f"every={every!r} is too often: the least is {_PERIOD_LEAST_MS}ms"
            raise ValueError(msg)
        timetable = Every(period_ms, duration_ms(offset, what="offset"), zone_of(tz))
    window_ms = duration_ms(catch_up_window, what="catch_up_window")
    schedule = Schedule(name, function, timetable, prefix, args, overlap, catch_up, window_ms)
    if not callable(args):
        schedule.arguments_at(0)
    return schedule


def due_times(timetable: Timetable, first_ms: int, now_ms: int) -> tuple[list[int], Optional[int]]:
    """The times that are due from the first one on, at most `DUE_MOST`, and the one after them."""
    found: list[int] = []
    next_ms: Optional[int] = first_ms
    while next_ms is not None and next_ms <= now_ms and len(found) < DUE_MOST:
        found.append(next_ms)
        next_ms = timetable.next_after(next_ms)
    return found, next_ms


def to_be_started(schedule: Schedule, due: list[int], now_ms: int, *, is_last: bool) -> list[int]:
    """Those of the times that lead to a start; the others were missed. `is_last` says that no more are due by now.

    >>> from headway.durable.timetable import Every
    >>> from headway.functions.declared import durable_workflow
    >>> @durable_workflow
    ... async def report(context): ...
    >>> daily = Schedule("report", report, Every(86_400_000, 0), "report", (), "skip", "one", 7 * 86_400_000)
    >>> to_be_started(daily, [day * 86_400_000 for day in range(1, 6)], 5 * 86_400_000 + 7, is_last=True)
    [432000000]
    """
    if schedule.catch_up == "none":
        return [one for one in due if now_ms - one <= ON_TIME_MS]
    known = [one for one in due if now_ms - one <= max(ON_TIME_MS, schedule.window_ms)]
    return known if schedule.catch_up == "all" else known[-1:] if is_last else []
