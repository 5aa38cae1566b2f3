"""The rows of one operator in one key group: the state and the timers of each workflow instance."""

from __future__ import annotations

from typing import Any

__all__ = ["Row", "RowTable"]


class Row:
    """One workflow instance of one operator.

    `timers` maps the name of each armed timer to `[due_ms, indexed_ms]`; None when there is none. Change it with the
    store's `set_timer` and `cancel_timer` only. Whoever changes `state` or `touched_ms` marks the row.
    """

    __slots__ = ("dirty", "key", "state", "stored", "timers", "touched_ms")

    key: str
    state: Any
    timers: dict[str, list[int]] | None
    touched_ms: int
    dirty: bool
    stored: bool


class RowTable:
    """The rows of one operator, decoded when needed, cached within a budget.

    `row = table.young.get(key) or table.fetch(key)` finds a row; `if not row.dirty: table.mark(row)` says that it
    changed. `maybe_rotate` and `commit` may put another dict in the place of `young`: take it anew for each batch.
    """

    name: str
    rank: int
    young: dict[str, Row]

    def fetch(self, key: str) -> Row:
        """The row of `key`, from whatever layer holds it; a fresh one where there is none. Puts it into `young`."""
        raise NotImplementedError

    def mark(self, row: Row) -> None:
        """Count `row` among the changed rows of this epoch."""
        raise NotImplementedError

    def forget(self, row: Row) -> None:
        """End the workflow instance: cancel all timers of `row` and put a fresh state into it (same object)."""
        raise NotImplementedError

    def maybe_rotate(self) -> None:
        """Age the cache if it has outgrown its budget; call once per batch, O(1)."""
        raise NotImplementedError
