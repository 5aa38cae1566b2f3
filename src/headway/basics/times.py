"""Points in time and durations: what users write, and the integer milliseconds that the engine works with.

There is one range of times for the whole product, and it is checked once, at the door:

* the time of an event is in the years 1000 to 8999 (`EARLIEST_MS` to `LATEST_MS`);
* a duration is 300 years long at most (`LONGEST_MS`);
* a timer is due by the end of the year 9999 (`LAST_TIMER_MS`).

So there is room around each event for the windows that it is in and for the delays that are added to its time, three
of them one after the other, and everything that an operator can come to has a date in the calendar. A time outside of
the range is nearly always one in another unit.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, Optional, Union

import msgspec

from headway.errors import UsageError

__all__ = [
    "DRAIN_STEPS",
    "EARLIEST_MS",
    "LAST_TIMER_MS",
    "LATEST_MS",
    "LONGEST_MS",
    "MAX_TIME_MS",
    "MIN_TIME_MS",
    "Duration",
    "duration_ms",
    "format_duration",
    "format_time",
    "known_duration_ms",
    "milliseconds_of",
    "other_unit",
    "parse_time",
]

Duration = Union[str, int, timedelta]
"""A length of time: text such as `"90s"`, `"1h30m"`, `"7d"`; integer milliseconds; or a `timedelta`."""

MIN_TIME_MS: Final = -(2**63)
"""A watermark before all times: nothing is known yet."""

MAX_TIME_MS: Final = 2**63 - 1
"""A watermark after all times: nothing more will come."""

EARLIEST_MS: Final = -30_610_224_000_000
"""1000-01-01T00:00:00Z: the earliest time of an event."""

LATEST_MS: Final = 221_845_391_999_999
"""8999-12-31T23:59:59.999Z: the latest time of an event."""

LAST_TIMER_MS: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z: the latest time at which a timer is due."""

LONGEST_MS: Final = 300 * 365_2425 * 8_640
"""The longest duration: 300 years of the calendar, which are 109,572 days and 18 hours."""

DRAIN_STEPS: Final = 100
"""How often closing the books lets time go on to the latest timer that is armed by then. What is armed after that
arms itself for ever."""

_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_FINER: Final = re.compile(r"(\.\d{6})\d+")
"""A fraction of a second finer than microseconds, which would be rounded up, even into the next year: it is cut."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC by construction, and cheaper to format


def duration_ms(value: Duration, *, what: str = "duration") -> int:
    """The length of `value` in milliseconds, at most `LONGEST_MS`.

    Raises `UsageError` when it is negative or longer, or cannot be read; `what` names it in the message.

    >>> duration_ms("1h30m"), duration_ms("250ms"), duration_ms(timedelta(days=7)), duration_ms(5)
    (5400000, 250, 604800000, 5)
    """
    if isinstance(value, timedelta):
        length_ms = value // timedelta(milliseconds=1)
    elif isinstance(value, bool):
        length_ms = -1
    elif isinstance(value, int):
        length_ms = value
    elif isinstance(value, str):
        length_ms = _parse_duration_ms(value)
    else:
        length_ms = -1
    if length_ms < 0:
        msg = (
            f"{what} {value!r} is not a length of time: write a number with a unit, "
            'such as "30m", "1h30m", "7d" or "250ms" (units: ms, s, m, h, d, w)'
        )
        raise UsageError(msg)
    if length_ms > LONGEST_MS:
        msg = f'{what} {value!r} is longer than 300 years, which is the most: give a shorter one, such as "36500d"'
        raise UsageError(msg)
    return length_ms


_KNOWN_MAX: Final = 1_024
_known: dict[str, int] = {}


def known_duration_ms(value: Duration) -> int:
    """`duration_ms` for the path of each event: a text that was seen before is not parsed again. Some 30 ns.

    Remembers at most 1,024 texts, so that those made of events do not fill the memory. Raises `ValueError`: the caller
    knows which event it came from.

    >>> known_duration_ms("30m"), known_duration_ms(5)
    (1800000, 5)
    """
    if type(value) is int and value >= 0:
        return value
    length_ms = _known.get(value) if type(value) is str else None
    if length_ms is not None:
        return length_ms
    try:
        length_ms = duration_ms(value)
    except UsageError as error:
        raise ValueError(str(error)) from None
    if isinstance(value, str):
        if len(_known) >= _KNOWN_MAX:
            _known.clear()
        _known[value] = length_ms
    return length_ms


def _parse_duration_ms(text: str) -> int:
    total_ms = 0.0
    position = 0
    stripped = text.strip()
    if stripped == "0":
        return 0
    while position < len(stripped):
        part = _PART.match(stripped, position)
        if part is None:
            return -1
        total_ms += float(part[1]) * _UNIT_MS[part[2]]
        position = part.end()
    return round(min(total_ms, LONGEST_MS + 1.0)) if stripped else -1


def format_duration(length_ms: int) -> str:
    """A duration as people write it, in its largest whole units.

    >>> format_duration(5_400_000), format_duration(1_250), format_duration(0)
    ('1h30m', '1s250ms', '0ms')
    """
    parts = []
    rest = length_ms
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, _UNIT_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0ms"


def format_time(time_ms: int) -> str:
    """Epoch milliseconds as RFC 3339 text in UTC, with milliseconds.

    Raises `ValueError` outside of the years 1 to 9999, where the text has no form: no event and no timer is there.

    >>> format_time(1_317_422_324_546)
    '2011-09-30T22:38:44.546Z'
    """
    minutes, rest_ms = divmod(time_ms, 60_000)
    seconds, rest_ms = divmod(rest_ms, 1_000)
    return _format_minute(minutes) + _SECONDS[seconds] + _MILLISECONDS[rest_ms]


# Each trigger has a time; formatting its numbers takes three times as long as looking them up.
_SECONDS: Final = [f"{second:02d}." for second in range(60)]
_MILLISECONDS: Final = [f"{millisecond:03d}Z" for millisecond in range(1_000)]


@lru_cache(maxsize=1_024)
def _format_minute(minutes: int) -> str:
    """What all times of one minute begin with."""
    try:
        return (_NAIVE_EPOCH + timedelta(minutes=minutes)).isoformat()[:-2]
    except OverflowError:
        time_ms = minutes * 60_000
        msg = f"{time_ms} has no date in the years 1 to 9999, expected epoch milliseconds{other_unit(time_ms)}"
        raise ValueError(msg) from None


def parse_time(value: object) -> int:
    """Epoch milliseconds of `value`: an integer is taken as it is, text is read as RFC 3339, a `datetime` needs a zone.

    What is finer than a millisecond is cut off: time is floored, never rounded.

    Raises `ValueError` for anything else, and outside of the times that an event may have (`EARLIEST_MS` to
    `LATEST_MS`): the caller knows which event it came from.

    >>> parse_time("2011-09-30T22:38:44.546Z"), parse_time(17)
    (1317422324546, 17)
    """
    time_ms = milliseconds_of(value)
    if not EARLIEST_MS <= time_ms <= LATEST_MS:
        raise ValueError(_not_an_event_time(time_ms, value))
    return time_ms


def milliseconds_of(value: object) -> int:
    """As `parse_time`, for a time that need not be that of an event: it may be any that a `datetime` can be."""
    if isinstance(value, bool) or value is None:
        msg = f"{value!r} is not a time: expected epoch milliseconds or RFC 3339 text"
        raise ValueError(msg)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not value.is_integer():
            hint = other_unit(value, "seconds")
            msg = f"time {value!r} is not a whole number of milliseconds{hint}"
            raise ValueError(msg)
        return int(value)
    moment = value
    if isinstance(value, str):
        moment = msgspec.convert(_FINER.sub(r"\1", value), datetime)
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        msg = f"{value!r} is not a time with a zone: expected epoch milliseconds, or text as 2011-09-30T22:38:44.546Z"
        raise ValueError(msg)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _not_an_event_time(time_ms: int, value: Optional[object] = None) -> str:
    """Why a time cannot be that of an event: it is out of range, perhaps because it is in another unit.

    `value` is what stands in the event, where it is not the number itself.

    >>> _not_an_event_time(1_767_225_600_000_000)  # doctest: +ELLIPSIS
    '1767225600000000 is not in the years 1000 to 8999; in microseconds it would be 2026-01-01T00:00:00.000Z: ...'
    """
    shown = repr(time_ms if value is None else value)
    return f"{shown:.100} is not in the years 1000 to 8999{other_unit(time_ms)}"


def other_unit(time: float, *units: str) -> str:
    """What to add to a message about a time that cannot be: which unit it might be in, or nothing.

    Only units that make it a time of these decades are named, those of `units` or microseconds and nanoseconds.

    >>> other_unit(1_767_225_600.5, "seconds")
    '; in seconds it would be 2026-01-01T00:00:00.500Z: give milliseconds'
    """
    for unit in units or ("microseconds", "nanoseconds"):
        factor, divisor = _OTHER_UNITS[unit]
        # Not divided: that would fail for a number that no float holds.
        if _THESE_DECADES[0] * divisor <= time * factor < _THESE_DECADES[1] * divisor:
            return f"; in {unit} it would be {format_time(int(time * factor // divisor))}: give milliseconds"
    return ""


_OTHER_UNITS: Final = {"seconds": (1_000, 1), "microseconds": (1, 1_000), "nanoseconds": (1, 1_000_000)}
_THESE_DECADES: Final = (parse_time("1980-01-01T00:00:00Z"), parse_time("2100-01-01T00:00:00Z"))
