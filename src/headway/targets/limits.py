"""The options by which users bound what a target is given at once, as `Limits`: one place for all targets."""

from __future__ import annotations

from typing import Optional

from headway.basics.needed import length_ms_in, number_in, whole_in
from headway.basics.times import Duration
from headway.targets.base import Limits

__all__ = ["SPARE_S", "limits_of"]

SPARE_S = 5.0
"""`Limits.spare_s` of a target that keeps `timeout_s` itself."""


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

    >>> limits_of(concurrency=4, rate=None, timeout="20s").timeout_s
    20.0
    """
    return Limits(
        concurrency=whole_in("concurrency", concurrency, 1, concurrency_most),
        batch=whole_in("batch", batch, 1, batch_most),
        per_second=None if rate is None else number_in("rate", rate, 0.001, 10_000_000),
        timeout_s=length_ms_in("timeout", timeout, timeout_least_ms, timeout_most_ms) / 1_000,
        spare_s=spare_s,
    )
