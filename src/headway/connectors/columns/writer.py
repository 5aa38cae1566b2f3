"""The writer of `to_parquet`: rows of open spans as lines in files that can be cut back, and complete files of Parquet.

A file of Parquet ends with the description of its parts, and so it cannot be cut back and written on. A span that is
open is therefore a file of JSON lines, the *spool*, which can. When time has passed the span, the spool is *sealed*:
nothing is added to it. Once the epoch is durable that says so, a thread makes the file of Parquet from it, and renames
it into its place. What it makes is a function of the spool, so that a start which does it again makes the same file.

A spool whose file is in its place is renamed too, and so tells the next start that nothing is left to do: the file may
have been taken away by then by whoever reads it. The renamed spool is removed when an epoch is durable that no longer
speaks of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Optional

from headway.basics.crashpoints import reached, synced
from headway.basics.times import milliseconds_of
from headway.connectors.base import OutputWriter, Position
from headway.connectors.columns.naming import Place, Spans, folder_of
from headway.connectors.jsonl import JsonlOutput, sync_name, writing
from headway.errors import OutputError
from headway.formats.tables import TableRows

if TYPE_CHECKING:
    from headway.connectors.columns.output import ParquetOutput

__all__ = ["OPEN_MAX", "ParquetWriter"]

OPEN_MAX: Final = 100
"""Spools that are open as files at a time."""
SPANS_MAX: Final = 10_000
"""Spools that there may be: each is an entry in every position."""
GROUP_ROWS: Final = 32_768
"""Rows of a row group, which is what is in memory while a file is made."""
_FOLDER: Final = "_open"
_DONE: Final = ".done"


class ParquetWriter(OutputWriter):
    """Writes one output of `to_parquet`."""

    transactional = True

    def __init__(
        self, output: ParquetOutput, table: TableRows, position: Optional[Position], mark: Optional[str]
    ) -> None:
        self._directory = output.directory
        self._folder = os.path.join(output.directory, _FOLDER)
        self._table = table
        self._time = output.time
        self._by = output.by
        self._spans = Spans(output.every_ms, output.wait_ms)
        is_known, position = position is not None, position or {"open": {}, "sealed": {}}
        self._closes: dict[str, int] = {name: entry["closes"] for name, entry in position["open"].items()}
        """When each open span is closed."""
        self._positions: dict[str, Position] = {name: entry["at"] for name, entry in position["open"].items()}
        self._sealed: dict[str, Position] = dict(position["sealed"])
        self._spools: dict[str, OutputWriter] = {}
        self._made: dict[str, Future[None]] = {}
        """Files that are being made, or are in their place, and that the last position still speaks of."""
        self._removable: list[str] = []
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="headway parquet")
        self.mark = self._claim_directory(mark, is_known=is_known)
        self._remove_unknown()
        for name in sorted(self._positions):
            self._spool(name)
            self._close_spools()
        self.committed()

    def _claim_directory(self, mark: Optional[str], *, is_known: bool) -> str:
        """Make the directory, or make sure that it is ours; returns its mark."""
        path = self._directory
        with writing(path):
            os.makedirs(self._folder, exist_ok=True)
            status = os.stat(path)
            ours = f"{status.st_dev}:{status.st_ino}"
            foreign = None if ours == mark or is_known else _first_of_others(path)
        if foreign is not None:
            msg = (
                f"{path} has files that this flow did not write, such as {foreign}: expected a directory without files "
                "of Parquet; move them away, or give the output another directory"
            )
            raise OutputError(msg)
        return ours

    def _remove_unknown(self) -> None:
        """Remove what was written in epochs that were not durable."""
        known = {_spool_name(name) for name in (*self._positions, *self._sealed)}
        known |= {_spool_name(name) + _DONE for name in self._sealed}
        with writing(self._folder):
            for entry in os.listdir(self._folder):
                if entry not in known:
                    os.unlink(os.path.join(self._folder, entry))

    def write(self, records: Sequence[bytes]) -> None:
        """Not used: rows are divided by time."""
        raise NotImplementedError

    def write_at(self, times_ms: Sequence[int], records: Sequence[bytes]) -> None:
        """Add rows to the spools of their spans."""
        rows: dict[str, list[bytes]] = {}
        for time_ms, record in zip(times_ms, records):
            place = self._place_of(time_ms, record)
            if place.name not in rows:
                rows[place.name] = []
                self._closes.setdefault(place.name, place.closes_ms)
            rows[place.name].append(record)
        if len(self._closes) > SPANS_MAX:
            msg = (
                f"{self._directory}: {len(self._closes):,} spans and folders are open, of at most {SPANS_MAX:,}: give "
                "by= a field of fewer values, or every= a longer time"
            )
            raise OutputError(msg)
        for name, lines in rows.items():
            self._spool(name).write(lines)

    def _place_of(self, time_ms: int, record: bytes) -> Place:
        try:
            row = self._table.row(record)
            value = self._table.value_of(row) if self._time or self._by else {}
            about = value.get(self._time) if self._time else None
            about_ms = time_ms if about is None else milliseconds_of(about)
            return self._spans.place(folder_of([value.get(name) for name in self._by]), about_ms, time_ms)
        except ValueError as error:  # That of a decoder is one.
            msg = (
                f"{self._directory}: a row has a value that its column does not take ({error}): {record[:300]!r}; "
                "declare the field as what it holds, such as float or str"
            )
            raise OutputError(msg) from error

    def pass_time(self, time_ms: int) -> bool:
        """Seal the spools of spans that are over; whether there were some."""
        over = sorted(name for name, closes_ms in self._closes.items() if closes_ms <= time_ms)
        for name in over:
            spool = self._spool(name)
            self._sealed[name] = spool.position()
            spool.close()
            del self._spools[name], self._closes[name]
            self._positions.pop(name, None)
        return bool(over)

    @property
    def open_until_ms(self) -> Optional[int]:
        """When the last of the open spans is over."""
        return max(self._closes.values(), default=None)

    def position(self) -> Position:
        """Make all rows durable; tells of each spool where it ends."""
        self._put_away()
        for name, made in list(self._made.items()):
            if made.done():
                made.result()
                del self._made[name], self._sealed[name]
                self._removable.append(name)
        opened = {name: {"closes": closes_ms, "at": self._positions[name]} for name, closes_ms in self._closes.items()}
        return {"open": opened, "sealed": dict(self._sealed)}

    def committed(self) -> None:
        """Have the files made of what is sealed, and remove the spools of those that are no longer spoken of."""
        for name, position in self._sealed.items():
            if name not in self._made:
                self._made[name] = self._maker.submit(self._make, name, position)
        with writing(self._folder):
            for name in self._removable:
                os.unlink(self._path_of(name) + _DONE)
        self._removable.clear()

    def close(self) -> None:
        """Wait for the files that are being made."""
        self._close_spools()
        self._maker.shutdown()
        for made in self._made.values():
            made.result()

    def _spool(self, name: str) -> OutputWriter:
        if name not in self._spools:
            if len(self._spools) >= OPEN_MAX:
                self._put_away()
            spool = JsonlOutput(self._path_of(name))
            self._spools[name] = spool.open(self._positions.get(name), mark=None)
        return self._spools[name]

    def _put_away(self) -> None:
        for name, spool in self._spools.items():
            self._positions[name] = spool.position()
        self._close_spools()

    def _close_spools(self) -> None:
        for spool in self._spools.values():
            spool.close()
        self._spools.clear()

    def _path_of(self, name: str) -> str:
        return os.path.join(self._folder, _spool_name(name))

    def _make(self, name: str, position: Position) -> None:
        """Make the file of a spool and put it into its place; run by the thread beside the flow."""
        spool, path = self._path_of(name), os.path.join(self._directory, f"{name}.parquet")
        if os.path.exists(spool + _DONE):
            return
        JsonlOutput(spool).open(position, mark=None).close()  # Raises where it is not what was written.
        made = f"{spool}.parquet"
        with writing(path):
            self._write_table(spool, made)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            reached("columns.before")
            os.replace(made, path)
            sync_name(path)
            if os.path.dirname(path) != self._directory:
                sync_name(os.path.dirname(path))
            os.rename(spool, spool + _DONE)
            reached("columns.after")

    def _write_table(self, spool: str, made: str) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        with open(made, "wb") as file:
            with parquet.ParquetWriter(file, self._table.schema) as writer:
                for lines in _groups_of_lines(spool):
                    try:
                        writer.write_batch(self._table.batch(lines), row_group_size=GROUP_ROWS)
                    except (pa.ArrowException, OverflowError) as error:
                        msg = f"the rows in {spool} cannot be written as columns: {error}; declare the field otherwise"
                        raise OutputError(msg) from error
            file.flush()
            os.fsync(file.fileno())
        synced(made)


def _groups_of_lines(path: str) -> Iterator[list[bytes]]:
    with open(path, "rb") as file:
        lines: list[bytes] = []
        for line in file:
            lines.append(line)
            if len(lines) == GROUP_ROWS:
                yield lines
                lines = []
        if lines:
            yield lines


def _spool_name(name: str) -> str:
    """The name of a spool: the last part of the file's for people, a hash of all of it to tell it from others."""
    return f"{name.rpartition('/')[2]}-{blake2b(name.encode(), digest_size=8).hexdigest()}.jsonl"


def _first_of_others(directory: str) -> Optional[str]:
    """A file in a directory that could be taken for one of ours."""
    for folder, folders, files in os.walk(directory):
        folders.sort()
        for file in sorted(files):
            if file.endswith(".parquet") or os.path.basename(folder) == _FOLDER:
                return os.path.relpath(os.path.join(folder, file), directory)
    return None
