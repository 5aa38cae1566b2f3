"""How one process runs a plan: its options, its clocks, and how errors end it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Optional

from headway.runtime.stage import SLICE

__all__ = ["Guard", "JobOptions", "monotonic_ms", "slot_names", "wall_ms"]


def slot_names(source: str, slots: int) -> list[str]:
    """The reader slots of a source."""
    return [f"{source}/{number:02d}" for number in range(slots)]


def wall_ms() -> int:
    """The wall clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """A clock that never goes back, in milliseconds."""
    return time.monotonic_ns() // 1_000_000


@dataclass(frozen=True)
class JobOptions:
    """How one process runs a plan."""

    state_dir: Path
    epoch_ms: int = 1_000
    follow: bool = False
    chunk_bytes: int = 1 << 20
    drain_to_ms: Optional[int] = None
    cache_bytes: int = 128 << 20
    """Budget for decoded rows of the whole process."""
    waiting_bound: int = 50_000
    timer_window: int = 65_536
    sync: bool = True
    lead_records: int = 50_000
    board_path: Optional[Path] = None
    workers: int = 1
    worker: int = 0
    """The number of this process."""
    slice_records: int = SLICE
    """How much a task does before others have their turn, in records."""
    traces: Optional[str] = None
    """Where spans of deliveries go; None for nowhere."""

    @property
    def sees_all(self) -> bool:
        """Whether this process sees what all do: on one machine they share memory, those of several machines do not."""
        return self.workers == 1 or self.board_path is not None


class Guard:
    """Errors inside of its block end the run, and are told as they are. Made once, as it is entered for each batch."""

    __slots__ = ("_failed",)

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is None or isinstance(error, StopIteration):
            return
        self._failed(error)
        if not isinstance(error, Exception):
            # The engine would print it, and with a `SystemExit` end the process: it gets to know that it must end.
            msg = "the run has failed"
            raise RuntimeError(msg) from None
