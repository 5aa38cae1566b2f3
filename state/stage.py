"""The state of one stage in one key group, committed an epoch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headway.state.rows import Row, RowTable
from headway.state.timers import TimerEntry, TimerIndex
from headway.state.waiting import Waiting

__all__ = ["OperatorSpec", "StageStore"]


@dataclass(frozen=True)
class OperatorSpec:
    """An operator of a stage: its name (`[A-Za-z0-9_.-]+`) and the type of its state (a msgspec struct or `dict`)."""

    name: str
    state_type: type[Any]


class StageStore:
    """Rows, timers and waiting records of one stage in one key group. Call `resume` first.

    `version` is the last committed version, `meta` what was given with it. `tables` are in the order of the ranks.
    """

    name: str
    tables: list[RowTable]
    timers: TimerIndex
    waiting: Waiting
    version: int
    meta: Any

    def resume(self, token_version: int | None) -> Any:
        """Go to the version that is committed everywhere; returns its `meta` (None at version 0)."""
        raise NotImplementedError

    def commit(self, meta: Any) -> int:
        """Close the epoch with one synced write; returns the version to resume from. Writes nothing if nothing changed."""
        raise NotImplementedError

    def settle(self) -> None:
        """Move the pending delta into the main column families; only once its version is committed everywhere."""
        raise NotImplementedError

    def maybe_rotate(self) -> None:
        """Age the row caches that have outgrown their budget; call once per batch."""
        raise NotImplementedError

    def set_timer(self, row: Row, rank: int, name: str, due_ms: int) -> None:
        """Arm timer `name` of `row`, or move it, to `due_ms`. Marks the row."""
        raise NotImplementedError

    def cancel_timer(self, row: Row, rank: int, name: str) -> bool:
        """Disarm timer `name` of `row`; False when it was not armed. Marks the row if it was."""
        raise NotImplementedError

    def due_timer(self, entry: TimerEntry) -> Row | None:
        """What a popped entry means: the row whose timer is due now (disarmed by this), or None if it was put off."""
        raise NotImplementedError

    @property
    def row_count(self) -> int:
        """Rows stored as of the last commit."""
        raise NotImplementedError

    @property
    def timer_count(self) -> int:
        """Timers armed now."""
        raise NotImplementedError

    def max_due_ms(self) -> int | None:
        """The latest time of all armed timers and waiting records; reads all rows; for a settled store only."""
        raise NotImplementedError
