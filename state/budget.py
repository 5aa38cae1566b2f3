"""How many decoded rows of one operator in one key group fit into its part of the cache."""

from __future__ import annotations

from typing import Final

__all__ = ["RowBudget"]

_ROW_OVERHEAD_BYTES: Final = 500
_DECODED_PER_ENCODED: Final = 5
_FIRST_GUESS_BYTES: Final = 200
_SAMPLE_ROWS_MAX: Final = 1_000_000


class RowBudget:
    """Tells by the sizes of the rows that are encoded how many decoded ones take the bytes that there are.

    `row_bytes` is what a row takes besides what it holds.

    >>> budget = RowBudget(0)
    >>> budget.set(1 << 20)
    >>> budget.rows_max
    699
    >>> budget.learn(rows=1_000, size_bytes=40_000)
    >>> budget.rows_max
    1497
    """

    def __init__(self, row_bytes: int) -> None:
        self.rows_max = 0
        self._row_bytes = _ROW_OVERHEAD_BYTES + row_bytes
        self._sample_rows, self._sample_bytes = 1, _FIRST_GUESS_BYTES
        self._cache_bytes = 0

    def set(self, cache_bytes: int) -> None:
        """Let the decoded rows take about `cache_bytes`."""
        self._cache_bytes = cache_bytes
        row_bytes = self._row_bytes + _DECODED_PER_ENCODED * self._sample_bytes // self._sample_rows
        self.rows_max = cache_bytes // row_bytes

    def learn(self, rows: int, size_bytes: int) -> None:
        """So many rows were encoded, together so many bytes."""
        self._sample_rows += rows
        self._sample_bytes += size_bytes
        if self._sample_rows > _SAMPLE_ROWS_MAX:
            self._sample_rows //= 2
            self._sample_bytes //= 2
        self.set(self._cache_bytes)
