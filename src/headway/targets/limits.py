"""The options by which users bound what a target is given at once, as `Limits`: one place for all targets."""

from __future__ import annotations

from typing import Optional

from headway.basics.needed import number_in
from headway.basics.times import Duration, duration_ms
from headway.targets.base import Limits

__all__ = ["SPARE_S", "limits_of"]

SPARE_S = 5.0
"""By how much the dispatcher waits longer for a target that keeps `timeout` itself: an answer of the target's own says
more than that time is over."""


def limits_of(
    *,
    concurrency: int,
    rate: Optional[float],
    timeout: Duration,
    batch: int = 1,
    concurrency_most: int = 10_000,
    batch_most: int = 10_000,
    timeout_least_ms: int = 1,
    timeout_most_ms: int = 3_600_000,
    spare_s: float = 0.0,
) -> Limits:
    """The limits that these options mean. Raises `UsageError` for one that is out of range.

    >>> limits_of(concurrency=4, rate=None, timeout="20s", spare_s=SPARE_S).timeout_s
    25.0
    """
    timeout_ms = number_in("timeout", duration_ms(timeout, what="timeout"), timeout_least_ms, timeout_most_ms)
    return Limits(
        concurrency=int(number_in("concurrency", concurrency, 1, concurrency_most)),
        batch=int(number_in("batch", batch, 1, batch_most)),
        per_second=None if rate is None else number_in("rate", rate, 0.001, 10_000_000),
        timeout_s=timeout_ms / 1_000 + spare_s,
    )
