"""When a schedule is due: by a cron expression in a time zone, or every so often."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final, Optional, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from headway.basics.times import format_duration

__all__ = ["Cron", "Every", "Timetable", "zone_of"]

_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS: Final = timedelta(milliseconds=1)


class Timetable(Protocol):
    """Says when something is due. All times are epoch milliseconds."""

    @property
    def text(self) -> str:
        """What it says, for people, and to notice that it is another one."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which people think of it."""

    def next_after(self, time_ms: int) -> Optional[int]:
        """The first time after another one; None where there is none."""


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields, or six with seconds first, read on the clocks of a time zone.

    Where clocks are put forward, what is due at fixed times in the hour that is skipped is due right after it; where
    they are put back, what is due in the hour that comes twice is due in the first one. What is due every minute or
    every hour (`*`) goes by the time that really passes. These are the rules of cron in Debian.

    >>> at = Cron("30 2 * * *", ZoneInfo("Europe/Berlin")).next_after(1_711_800_000_000)  # 2024-03-30T12:00:00Z
    >>> datetime.fromtimestamp(at / 1_000, ZoneInfo("Europe/Berlin")).isoformat()
    '2024-03-31T03:00:00+02:00'
    """

    expression: str
    zone: ZoneInfo

    def check(self) -> None:
        """Raise `ValueError` for what is no cron expression, or one that is never due."""
        try:
            found = self.next_after(0)
        except CronSimError as error:
            msg = f'cron={self.expression!r}: {error}: write minute, hour, day, month, day of week: "0 3 * * MON-FRI"'
            raise ValueError(msg) from None
        if found is None:
            msg = f"cron={self.expression!r} names no day that there ever is"
            raise ValueError(msg)

    @property
    def text(self) -> str:
        """The expression and the zone."""
        return f"{self.expression} {self.zone.key}"

    def next_after(self, time_ms: int) -> Optional[int]:
        """The first time after another one."""
        begin = (_EPOCH + time_ms * _MS).astimezone(self.zone)
        for found in CronSim(_NAMED.get(self.expression, self.expression), begin):
            # It may give a time of an hour that comes twice as the first of the two, which is over.
            found_ms = (found - _EPOCH) // _MS
            if found_ms > time_ms:
                return found_ms
        return None


@dataclass(frozen=True)
class Every:
    """Every so often, counted from the beginning of 1970 in UTC and an offset.

    >>> Every(3_600_000, 60_000).next_after(7_200_000)
    7260000
    """

    period_ms: int
    offset_ms: int
    zone: ZoneInfo = ZoneInfo("UTC")  # noqa: RUF009 - it is frozen

    @property
    def text(self) -> str:
        """How often."""
        offset = f" and {format_duration(self.offset_ms)}" if self.offset_ms else ""
        return f"every {format_duration(self.period_ms)}{offset}"

    def next_after(self, time_ms: int) -> Optional[int]:
        """The first time after another one."""
        return (time_ms - self.offset_ms) // self.period_ms * self.period_ms + self.period_ms + self.offset_ms


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name. Raises `ValueError`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        msg = f'tz={name!r} is not a time zone of this machine: expected a name such as "Europe/Berlin" or "UTC"'
        raise ValueError(msg) from None
