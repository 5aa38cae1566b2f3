"""One file of columns, Parquet or Arrow: its rows in blocks, read forward, with the next blocks read ahead.

Arrow decodes without Python's lock, and so a thread decodes rows while the engine's thread makes events of those
before. It decodes several blocks at once: between two of them it has to wait until the engine's thread gives the lock
away, which may take 5 ms. Blocks do not go over row groups: whoever goes on at a row decodes its row group from the
beginning, and passes over what is before the row.

A file is known by its size and its last KiB, which end the description of all its parts: files of columns are complete
when they are read, and are never changed.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from typing import Any, Final, Optional, Protocol

from headway.connectors.bytelog import reading
from headway.errors import InputError
from headway.formats.columns import ColumnsDecoder, Rows

__all__ = ["ColumnFile", "Part", "Schemas"]

_BLOCK_ROWS: Final = 8_192
_BLOCKS_AHEAD: Final = 8
_AHEAD_BYTES: Final = 8 << 20
"""How much is decoded at once, at most, where that is more than a block."""
_ROWS_TRIED: Final = 256
"""Of so many rows it is seen how large they are: what a file says of itself is how large they are when compressed."""
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


@contextmanager
def _closed_on_error(source: Any) -> Iterator[Any]:
    """A file of Arrow, which stays open unless what is done with it fails."""
    try:
        yield source
    except BaseException:
        source.close()
        raise


class _Parquet:
    def __init__(self, path: str) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self._row_bytes: Optional[int] = None
        with _closed_on_error(pa.OSFile(path)) as self._source:
            file = parquet.ParquetFile(self._source)
            metadata = file.metadata
            few = _columns_of_few_values(metadata)
            # With what is known of the file, it is not looked at again.
            self._file = parquet.ParquetFile(self._source, metadata=metadata, read_dictionary=few) if few else file
            self.schema = self._file.schema_arrow
            self.counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def batches(self, group: int, names: list[str]) -> Iterator[Any]:
        found: Iterator[Any] = self._file.iter_batches(
            self._rows_at_once(group, names), row_groups=[group], columns=names
        )
        return found

    def _rows_at_once(self, group: int, names: list[str]) -> int:
        if self.counts[group] <= _BLOCK_ROWS:
            return _BLOCK_ROWS
        if self._row_bytes is None:
            tried = next(self._file.iter_batches(_ROWS_TRIED, row_groups=[group], columns=names))
            self._row_bytes = max(1, tried.nbytes // max(1, tried.num_rows))
        return _BLOCK_ROWS * min(max(1, _AHEAD_BYTES // (_BLOCK_ROWS * self._row_bytes)), _BLOCKS_AHEAD)

    def close(self) -> None:
        self._source.close()


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

        self._names: Optional[list[str]] = None
        self._file: Any = None
        with _closed_on_error(pa.OSFile(path)) as self._source:
            self.schema = pa.ipc.open_file(self._source).schema
            counting = self._opened(self._narrowest())
            self.counts = [counting.get_batch(number).num_rows for number in range(counting.num_record_batches)]

    def _narrowest(self) -> list[int]:
        """The column that is enough to count rows; none where there is none."""
        return [min(range(len(self.schema)), key=self._width)] if len(self.schema) else []

    def _width(self, index: int) -> int:
        try:
            return int(self.schema.field(index).type.bit_width)
        except ValueError:
            return 1 << 30  # Its values have no one width.

    def _opened(self, indexes: list[int]) -> Any:
        """The file, of which only these columns are read; all of them where none is named."""
        import pyarrow as pa

        return pa.ipc.open_file(self._source, options=pa.ipc.IpcReadOptions(included_fields=indexes))

    def batches(self, group: int, names: list[str]) -> Iterator[Any]:
        if self._names != names:
            wanted = set(names)
            indexes = [index for index, name in enumerate(self.schema.names) if name in wanted]
            self._names, self._file = names, self._opened(indexes or self._narrowest())
        yield self._file.get_batch(group).select(names)

    def close(self) -> None:
        self._source.close()


class Schemas:
    """Files whose columns are to be compared with the type of the events before anything is read of them."""

    def __init__(self, paths: Sequence[str], known: Optional[Mapping[str, Any]] = None) -> None:
        self._paths = list(paths)
        self._known = known or {}
        """The schemas of files that are open."""

    def add(self, paths: Sequence[str]) -> None:
        """Files that have come since."""
        self._paths += paths

    def check(self, decoder: ColumnsDecoder) -> None:
        """Raise `InputError` for a file of whose columns no events can be made; each file is looked at once."""
        while self._paths:
            path = self._paths[0]
            schema = self._known[path] if path in self._known else _schema_of(path)
            try:
                decoder.check(schema)
            except InputError as error:
                msg = f"{path}: {error}"
                raise InputError(msg) from None
            del self._paths[0]


def _schema_of(path: str) -> Any:
    """The columns of a file, of which nothing else is read."""
    import pyarrow as pa
    from pyarrow import parquet

    with _decoding(path):
        if not _is_arrow(path):
            return parquet.read_schema(path)
        with pa.OSFile(path) as file:
            return pa.ipc.open_file(file).schema


def _is_arrow(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC


@cache
def _readers_ahead(process: int) -> ThreadPoolExecutor:
    """The threads of a process that read ahead, for all its files: a process that was forked has none of its parent."""
    return ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix=f"headway columns {process}")


class ColumnFile:
    """The rows of a file. Raises `InputError` for what is no complete file of columns."""

    def __init__(self, path: str) -> None:
        self.path = path
        with reading(path), open(path, "rb") as file:
            self.size: int = os.fstat(file.fileno()).st_size
            is_arrow = file.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC
            file.seek(max(0, self.size - _TAIL_BYTES))
            self.identity = f"{self.size}:{zlib.crc32(file.read()):08x}"
        with _decoding(path):
            groups: Any = (_Arrow if is_arrow else _Parquet)(path)
        self._groups: _Groups = groups
        self.schema = self._groups.schema
        self._starts: list[int] = list(accumulate(self._groups.counts, initial=0))
        self.rows: int = self._starts[-1]
        self._ahead = _readers_ahead(os.getpid())
        self._batches: Iterator[Any] = iter(())
        self._next: Optional[Future[Any]] = None
        self._decoded: deque[tuple[Any, bool]] = deque()
        """Blocks behind this one, and whether all text in them is UTF-8."""
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
        """Rows from a row group on, and whether all text in them is UTF-8; run by the thread that reads ahead."""
        for number in range(group, len(self._groups.counts)):
            for batch in self._groups.batches(number, names):
                try:
                    batch.validate(full=True)
                except ValueError:  # Arrow's errors are such.
                    yield batch, False
                else:
                    yield batch, True

    def _advance(self, decoder: ColumnsDecoder) -> None:
        while not self._decoded:
            self._decoded.extend(self._await_rows())
        batch, is_valid = self._decoded.popleft()
        self._first, self._end = self._end, self._end + batch.num_rows
        self._block = decoder.rows(batch, is_valid=is_valid)

    def _await_rows(self) -> list[tuple[Any, bool]]:
        """The blocks of rows that have been read ahead meanwhile."""
        assert self._next is not None
        with _decoding(self.path):
            found = self._next.result()
        if found is None:
            msg = f"{self.path} ends after {self._end} rows, and says that it has {self.rows}: it is damaged"
            raise InputError(msg)
        self._next = self._ahead.submit(next, self._batches, None)
        batch, is_valid = found
        starts = range(0, batch.num_rows, _BLOCK_ROWS)
        return [(batch.slice(start, _BLOCK_ROWS), is_valid) for start in starts]

    def _drop(self) -> None:
        """Wait for what is being read ahead, which nobody wants any more."""
        if self._next is not None:
            self._next.exception()
        self._next = self._block = None
        self._decoded.clear()

    def close(self) -> None:
        """Close the file."""
        self._drop()
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
