"""Calendar windows: days, weeks and months of a time zone, whatever its clocks do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headway.errors import FlowError
from headway.operators.windows.windowers import Aligned

__all__ = ["Calendar", "daily", "monthly", "weekly"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Unit = Literal["day", "week", "month"]


@dataclass(frozen=True)
class Calendar(Aligned):
    """Windows of a day, a week or a month, from local midnight to local midnight; see `daily`.

    A window begins at the first instant that the zone's clocks show midnight, or where they skip it, at the instant
    they skip it; so none is empty, and none overlap.
    """

    unit: Unit
    zone: str
    starts_on: int = 0
    """The first day of a week: 0 is Monday."""
    _midnight: Callable[[date], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_midnight", lru_cache(maxsize=4096)(_midnights(_zone(self.zone))))

    def pane(self, time_ms: int) -> int:
        """The start of the window, which is its only pane."""
        return self._midnight(self._first_day(time_ms))

    def first_end(self, pane: int) -> int:
        """The end of the window."""
        return self._midnight(self._after(self._first_day(pane)))

    last_end = first_end

    def next_end(self, end: int) -> int:
        """The end of the window that starts there."""
        return self.first_end(end)

    def start(self, end: int) -> int:
        """The start of the window."""
        return self.pane(end - 1)

    def _first_day(self, time_ms: int) -> date:
        """The day that the window of a time begins with: the last whose midnight has come."""
        # The date in UTC is that of the zone, or next to it; midnights rise with dates.
        day = self._floor((_EPOCH + timedelta(milliseconds=time_ms)).date() + timedelta(days=2))
        while self._midnight(day) > time_ms:
            day = self._floor(day - timedelta(days=1))
        return day

    def _floor(self, day: date) -> date:
        if self.unit == "month":
            return day.replace(day=1)
        if self.unit == "week":
            return day - timedelta(days=(day.weekday() - self.starts_on) % 7)
        return day

    def _after(self, day: date) -> date:
        return self._floor(day + timedelta(days={"day": 1, "week": 7, "month": 31}[self.unit]))


def _midnights(zone: ZoneInfo) -> Callable[[date], int]:
    def instant(day: date, fold: int) -> int:
        return (datetime.combine(day, time(fold=fold), tzinfo=zone) - _EPOCH) // timedelta(seconds=1)

    def offset(instant_s: int) -> timedelta | None:
        return (_EPOCH + timedelta(seconds=instant_s)).astimezone(zone).utcoffset()

    def midnight(day: date) -> int:
        # Where midnight is skipped, the two readings are by the offsets before and after; where it comes twice, the
        # first is the earlier.
        first, second = instant(day, 0), instant(day, 1)
        if first <= second:
            return first * 1000
        skipped, later = second, first
        while later - skipped > 1:
            middle = (skipped + later) // 2
            skipped, later = (skipped, middle) if offset(middle) == offset(first) else (middle, later)
        return later * 1000

    return midnight


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        msg = f'{name!r} is not a time zone of this machine: expected a name such as "Europe/Berlin" or "UTC"'
        raise FlowError(msg) from None


def daily(zone: str) -> Calendar:
    """The days of a time zone, from midnight to midnight: 23 or 25 hours where the clocks change.

    >>> berlin = daily("Europe/Berlin")
    >>> start = berlin.pane(1_711_843_200_000)  # 2024-03-31T00:00:00Z, the day of the change to summer time
    >>> (berlin.first_end(start) - start) // 3_600_000
    23
    """
    return Calendar("day", zone)


def weekly(zone: str, *, starts_on: str = "monday") -> Calendar:
    """The weeks of a time zone, from midnight at the start of the day `starts_on`.

    >>> weekly("UTC", starts_on="sunday").pane(1_711_843_200_000)
    1711843200000
    """
    if not isinstance(starts_on, str) or starts_on.lower() not in _WEEKDAYS:
        msg = f"weekly({zone!r}, starts_on={starts_on!r}): expected one of {', '.join(_WEEKDAYS)}"
        raise FlowError(msg)
    return Calendar("week", zone, _WEEKDAYS.index(starts_on.lower()))


def monthly(zone: str) -> Calendar:
    """The months of a time zone, from midnight at the start of their first day.

    >>> monthly("UTC").pane(1_711_843_200_000)
    1709251200000
    """
    return Calendar("month", zone)
