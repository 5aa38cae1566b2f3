"""Numbers and times as people read them."""

from __future__ import annotations

from typing import Optional

from headway.basics.times import format_duration, format_time
from headway.runtime.stats import RunStats

__all__ = ["behind_text", "bytes_text", "count_text", "lag_text", "left_text", "seconds_text", "time_text"]


def count_text(count: int, one: str, many: Optional[str] = None) -> str:
    """A count with its word.

    >>> count_text(1, "key"), count_text(12345, "key")
    ('1 key', '12,345 keys')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def bytes_text(size: int) -> str:
    """A size in the unit that gives a short number.

    >>> bytes_text(999), bytes_text(268_435_456), bytes_text(5_000_000_000)
    ('999 B', '256 MiB', '4.7 GiB')
    """
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def seconds_text(seconds: float) -> str:
    """How long something took.

    >>> seconds_text(1.234), seconds_text(75.2), seconds_text(7325)
    ('1.2 s', '1m15s', '2h2m5s')
    """
    return f"{seconds:.1f} s" if seconds < 60 else format_duration(round(seconds) * 1000)


def left_text(share: float, left_s: Optional[float]) -> str:
    """How much of the input has been read, and how long the rest will take, where that is known.

    >>> left_text(0.426, 130.4), left_text(0.999, 0.2), left_text(0.0, None)
    ('42 % read, 2m10s left', '99 % read, 1s left', '0 % read')
    """
    left = "" if left_s is None or share >= 1 else f", {format_duration(max(1, round(left_s)) * 1000)} left"
    return f"{int(share * 100)} % read{left}"


def time_text(time_ms: Optional[int]) -> str:
    """A point in time, or that it is not known."""
    return "not known yet" if time_ms is None else format_time(time_ms)


def behind_text(stats: RunStats) -> str:
    """How many records of brokers are yet to be read, and in which partition the most; empty where nobody knows.

    >>> from headway.runtime.stats import SourceStats, total
    >>> import msgspec
    >>> behind_text(msgspec.structs.replace(total([]), sources={"orders": SourceStats(lags={"o/0": 5}, behind=6)}))
    '6 records to read, most of them in o/0 (5)'
    """
    known = [source.behind for source in stats.sources.values() if source.behind is not None]
    if not known:
        return ""
    count = sum(known)
    if not count:
        return "all records read"
    lags = [lag for source in stats.sources.values() for lag in source.lags.items()]
    name, most = max(lags, key=lambda lag: lag[1])
    where = f", most of them in {name} ({most:,})" if most < count or len(lags) > 1 else ""
    return f"{count_text(count, 'record')} to read{where}"


def lag_text(stats: RunStats) -> str:
    """How far the watermark is behind the newest event; empty when that is not known."""
    if stats.watermark is None or stats.newest is None:
        return ""
    lag_ms = max(0, stats.newest - stats.watermark)
    lag = format_duration(lag_ms) if lag_ms < 1_000 else seconds_text(lag_ms / 1_000)
    return f"{lag} behind the newest event"
