"""How the stores of one process use memory and disk."""

from __future__ import annotations

from dataclasses import dataclass, fields

from headway.errors import UsageError

__all__ = ["StoreOptions"]


@dataclass(frozen=True)
class StoreOptions:
    """The settings of the group stores that a process opens; stores with equal totals share their caches.

    Sizes are in bytes. Raises `UsageError` for a number that cannot be used.

    >>> StoreOptions(cache_bytes=1 << 20).timer_window
    65536
    """

    block_cache_bytes: int = 64 << 20
    """RocksDB's cache of file blocks; a total of the process."""

    write_buffer_bytes: int = 64 << 20
    """RocksDB's memtables, beyond which they are flushed; a total of the process."""

    cache_bytes: int = 16 << 20
    """Budget of the decoded rows of *one* row table: one operator in one key group."""

    timer_window: int = 65_536
    """Entries of a stage's timer index to keep in memory; at most twice as many are held."""

    waiting_bound: int = 50_000
    """Waiting records that a stage holds in memory; what is later than those goes to RocksDB."""

    open_files: int = 128
    """Files that *one* key group keeps open to read from; others are opened, and closed again, as they are needed."""

    sync: bool = True
    """Whether a commit waits for the disk; if not, a crash of the machine (not of the process) loses epochs."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool) and value < 1:
                msg = f"store option {field.name}={value!r}: expected 1 or more"
                raise UsageError(msg)
