"""How the stores of one process use memory and disk."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StoreOptions"]


@dataclass(frozen=True)
class StoreOptions:
    """The settings of every group store that a process opens; stores with equal settings share their caches.

    `block_cache_bytes` and `write_buffer_bytes` are totals of the process. `cache_bytes` is the budget for the decoded
    rows of *one* row table (one operator in one key group): the caller divides the process's budget.

    >>> StoreOptions(cache_bytes=1 << 20).timer_window
    65536
    """

    block_cache_bytes: int = 64 << 20
    write_buffer_bytes: int = 64 << 20
    cache_bytes: int = 16 << 20
    timer_window: int = 65_536
    waiting_bound: int = 50_000
    sync: bool = True
