"""One file of columns, Parquet or Arrow: its rows in blocks, read forward, with the next block read ahead.

Arrow decodes without Python's lock, and so a thread decodes a block while the engine's thread makes events of the one
before. Blocks do not go over row groups: whoever goes on at a row decodes its row group from the beginning, and passes
over what is before the row.

A file is known by its size and its last KiB, which end the description of all its parts: files of columns are complete
when they are read, and are never changed.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import accumulate
from typing import Any, Final, Optional, Protocol

from headway.connectors.bytelog import reading
from headway.errors import InputError
from headway.formats.columns import ColumnsDecoder, Rows

__all__ = ["ColumnFile", "Part", "Schemas"]

_BLOCK_ROWS: Final = 8_192
_FEW_VALUES_BYTES: Final = 4_096
"""Text whose dictionary is smaller is read as numbers of few values, each of which is made once."""
_TAIL_BYTES: Final = 1_024
_ARROW_MAGIC: Final = b"ARROW1"

Part = tuple[Rows, int, int]
"""Some rows of a block: the block, the first row in it, and the one after the last."""


class _Groups(Protocol):
    """What is known of a file: its columns and how many rows its groups have."""

    schema: Any
    counts: Sequence[int]

    def batches(self, group: int, names: list[str]) -> Iterator[Any]:
        """The rows of a group, in record batches, of these columns."""

    def close(self) -> None:
        """Close the file."""


class _Parquet:
    def __init__(self, path: str) -> None:
        from pyarrow import parquet

        with closing(parquet.ParquetFile(path)) as plain:
            few = _columns_of_few_values(plain.metadata)
        self._file = parquet.ParquetFile(path, read_dictionary=few)
        self.schema = self._file.schema_arrow
        metadata = self._file.metadata
        self.counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def batches(self, group: int, names: list[str]) -> Iterator[Any]:
        found: Iterator[Any] = self._file.iter_batches(_BLOCK_ROWS, row_groups=[group], columns=names)
        return found

    def close(self) -> None:
        self._file.close()


def _columns_of_few_values(metadata: Any) -> list[str]:
    if not metadata.num_row_groups:
        return []
    group = metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    return [
        column.path_in_schema
        for column in columns
        if column.physical_type == "BYTE_ARRAY"
        and "." not in column.path_in_schema
        and column.has_dictionary_page
        and column.dictionary_page_offset
        and 0 < column.data_page_offset - column.dictionary_page_offset < _FEW_VALUES_BYTES
    ]


class _Arrow:
    def __init__(self, path: str) -> None:
        import pyarrow as pa

        self._source = pa.OSFile(path)
        self._file = pa.ipc.open_file(self._source)
        self.schema = self._file.schema
        options = pa.ipc.IpcReadOptions(included_fields=[0])  # One column is enough to count rows.
        counting = pa.ipc.open_file(self._source, options=options)
        self.counts = [counting.get_batch(number).num_rows for number in range(counting.num_record_batches)]

    def batches(self, group: int, names: list[str]) -> Iterator[Any]:
        batch = self._file.get_batch(group).select(names)
        for start in range(0, batch.num_rows, _BLOCK_ROWS):
            yield batch.slice(start, _BLOCK_ROWS)

    def close(self) -> None:
        self._source.close()


class Schemas:
    """Files whose columns are to be compared with the type of the events before anything is read of them."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)

    def add(self, paths: Sequence[str]) -> None:
        """Files that have come since."""
        self._paths += paths

    def check(self, decoder: ColumnsDecoder) -> None:
        """Raise `InputError` for a file of whose columns no events can be made; each file is looked at once."""
        while self._paths:
            with closing(ColumnFile(self._paths[0])) as file:
                try:
                    decoder.check(file.schema)
                except InputError as error:
                    msg = f"{file.path}: {error}"
                    raise InputError(msg) from None
            del self._paths[0]


class ColumnFile:
    """The rows of a file. Raises `InputError` for what is no complete file of columns."""

    def __init__(self, path: str) -> None:
        self.path = path
        with reading(path), open(path, "rb") as file:
            self.size: int = os.fstat(file.fileno()).st_size
            magic = file.read(len(_ARROW_MAGIC))
            file.seek(max(0, self.size - _TAIL_BYTES))
            self.identity = f"{self.size}:{zlib.crc32(file.read()):08x}"
        with _decoding(path):
            groups: Any = (_Arrow if magic == _ARROW_MAGIC else _Parquet)(path)
        self._groups: _Groups = groups
        self.schema = self._groups.schema
        self._starts: list[int] = list(accumulate(self._groups.counts, initial=0))
        self.rows: int = self._starts[-1]
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="headway columns")
        self._batches: Iterator[Any] = iter(())
        self._next: Optional[Future[Any]] = None
        self._block: Optional[Rows] = None
        self._first = self._end = 0
        """The rows of the block."""

    def rows_in_block(self, row: int) -> int:
        """How many rows follow that are in one block with this one, itself counted."""
        group = bisect_right(self._starts, row) - 1
        return min(self._starts[group + 1] - row, _BLOCK_ROWS - (row - self._starts[group]) % _BLOCK_ROWS)

    def parts(self, row: int, count: int, decoder: ColumnsDecoder) -> list[Part]:
        """So many rows from one on, which are those of one block, or of two where a file has others than were asked."""
        found: list[Part] = []
        while count > 0:
            block = self._block_of(row, decoder)
            taken = min(count, self._end - row)
            found.append((block, row - self._first, row - self._first + taken))
            row, count = row + taken, count - taken
        return found

    def _block_of(self, row: int, decoder: ColumnsDecoder) -> Rows:
        if self._block is None or not self._first <= row < self._end:
            if self._next is None or row != self._end:
                self._begin(row, decoder)
            while self._end <= row:
                self._advance(decoder)
        assert self._block is not None
        return self._block

    def _begin(self, row: int, decoder: ColumnsDecoder) -> None:
        self._drop()
        group = bisect_right(self._starts, row) - 1
        self._first = self._end = self._starts[group]
        names = decoder.wanted(self.schema.names)
        self._batches = self._read(group, names)
        self._next = self._ahead.submit(next, self._batches, None)

    def _read(self, group: int, names: list[str]) -> Iterator[tuple[Any, bool]]:
        """Blocks from a row group on, and whether all text in them is UTF-8; run by the thread that reads ahead."""
        for number in range(group, len(self._groups.counts)):
            for batch in self._groups.batches(number, names):
                try:
                    batch.validate(full=True)
                except ValueError:  # Arrow's errors are such.
                    yield batch, False
                else:
                    yield batch, True

    def _advance(self, decoder: ColumnsDecoder) -> None:
        assert self._next is not None
        with _decoding(self.path):
            found = self._next.result()
        if found is None:
            msg = f"{self.path} ends after {self._end} rows, and says that it has {self.rows}: it is damaged"
            raise InputError(msg)
        self._next = self._ahead.submit(next, self._batches, None)
        batch, is_valid = found
        self._first, self._end = self._end, self._end + batch.num_rows
        self._block = decoder.rows(batch, is_valid=is_valid)

    def _drop(self) -> None:
        """Wait for what is being read ahead, which nobody wants any more."""
        if self._next is not None:
            self._next.exception()
        self._next = self._block = None

    def close(self) -> None:
        """Close the file."""
        self._drop()
        self._ahead.shutdown()
        self._groups.close()


@contextmanager
def _decoding(path: str) -> Iterator[None]:
    """Turn what Arrow raises into `InputError`."""
    import pyarrow as pa

    with reading(path):
        try:
            yield
        except (pa.ArrowException, ValueError) as error:
            reason = " ".join(str(error).split())
            msg = (
                f"{path} is no file of Parquet or Arrow, or is damaged or not complete ({reason:.200}): a file that is "
                "being written needs another name until it is complete"
            )
            raise InputError(msg) from error
