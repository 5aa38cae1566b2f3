"""What an inbox is declared with."""

from __future__ import annotations

from dataclasses import dataclass

from headway.basics.times import Duration, duration_ms
from headway.errors import UsageError

__all__ = ["InboxSettings", "settings_of"]

PARTITIONS_MOST = 64
KEYS_MOST = 50_000_000


@dataclass(frozen=True)
class InboxSettings:
    """How long records and idempotency keys are kept. Times in milliseconds."""

    retention_ms: int = 0
    window_ms: int = 86_400_000
    window_keys: int = 500_000
    """The most keys that are remembered, in each partition."""


def settings_of(retention: Duration, window: Duration, window_keys: int, where: str) -> InboxSettings:
    """What was given, checked. Raises `UsageError` that says where it was given."""
    retention_ms, window_ms = duration_ms(retention, what="retention"), duration_ms(window, what="window")
    if type(window_keys) is not int or not 0 <= window_keys <= KEYS_MOST:
        msg = f"{where}: window_keys is {window_keys!r}, it must be a whole number from 0 to {KEYS_MOST:,}"
        raise UsageError(msg)
    return InboxSettings(retention_ms, window_ms, window_keys)
