"""How long to wait before the next attempt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Optional

from headway.targets.delivered import ASKED_LONGEST_MS, Delivering

__all__ = ["RETRY_AFTER_MAX_MS", "pause_ms"]

RETRY_AFTER_MAX_MS: Final = ASKED_LONGEST_MS
"""The longest pause that a receiver may ask for as a whole."""
_JITTER: Final = 0.2


def pause_ms(delivering: Delivering, attempts: int, retry_after_s: Optional[float], random: Callable[[], float]) -> int:
    """The pause behind a number of failed attempts, in milliseconds.

    It doubles up to the longest one, and is spread by a fifth in both directions, so that what failed together does not
    come again together. Where the receiver asks for a longer one, that is kept to, with up to a fifth more. `random`
    gives numbers from 0 to 1.

    >>> pause_ms(Delivering(), 3, None, lambda: 0.5), pause_ms(Delivering(), 60, None, lambda: 0.5)
    (4000, 600000)
    >>> pause_ms(Delivering(), 1, 30.0, lambda: 0.0), pause_ms(Delivering(), 1, -5.0, lambda: 0.5)
    (30000, 1000)
    """
    doubled = delivering.retry_first_ms * 2 ** min(attempts - 1, 40)
    own_ms = min(doubled, delivering.retry_longest_ms) * (1 + _JITTER * (2 * random() - 1))
    if retry_after_s is None or not retry_after_s > 0:
        return int(own_ms)
    asked_ms = min(retry_after_s * 1_000, delivering.asked_longest_ms)
    return int(max(own_ms, asked_ms * (1 + _JITTER * random())))
