"""Readers of files of columns: one file as a partition, or all files, one after the other, as one log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Optional

from headway.connectors.apart import bad_reason
from headway.connectors.base import BadRecord, Chunk, Decoded, Extent, PartitionReader, Position
from headway.connectors.columns.file import ColumnFile, Part, Schemas
from headway.connectors.naming import in_order
from headway.connectors.parts import RecordPart
from headway.errors import InputError
from headway.formats.columns import ColumnsDecoder

__all__ = ["ColumnsChunk", "FileReader", "LogReader"]

_CHUNK_ROWS: Final = 4_096
_LOOK_EVERY_S: Final = 1.0


class ColumnsChunk(Chunk):
    """Consecutive rows of one file."""

    def __init__(
        self, file: ColumnFile, row: int, count: int, ordinal: int, partition: str, label: str, schemas: Schemas
    ) -> None:
        self._file = file
        self._schemas = schemas
        self._row = row
        self._count = count
        self._ordinal = ordinal
        self._partition = partition
        self._label = label
        self._parts: Optional[list[Part]] = None

    def decode(self, decoder: Any) -> Decoded:
        """The events of the rows; the file is read now, the columns of which the events are made.

        Raises `InputError` for a file that cannot be read, and for one whose columns are not those of the type.
        """
        assert isinstance(decoder, ColumnsDecoder)
        if self._parts is None:
            self._schemas.check(decoder)
            self._parts = self._file.parts(self._row, self._count, decoder)
        found = [rows.decode(start, stop) for rows, start, stop in self._parts]
        if len(found) == 1 and not found[0].bad:
            return Decoded(found[0].events, range(self._ordinal, self._ordinal + self._count), [])
        events: list[Any] = []
        ordinals: list[int] = []
        bad: list[BadRecord] = []
        first = self._ordinal
        for (_, start, stop), decoded in zip(self._parts, found):
            events += decoded.events
            ordinals += [first + index - start for index in decoded.indexes]
            bad += [self._bad(first + index - start, error) for index, error in decoded.bad]
            first += stop - start
        return Decoded(events, ordinals, bad)

    def _bad(self, ordinal: int, error: Exception) -> BadRecord:
        return BadRecord(ordinal, *self.record(ordinal)[:1], bad_reason(error), self.record(ordinal)[1])

    def record(self, ordinal: int) -> tuple[str, bytes]:
        """The number of a row in its file, from 1, and the row as JSON."""
        assert self._parts is not None, "a chunk is decoded before its records are asked for"
        number = ordinal - self._ordinal
        place = f"{self._label}row {self._row + number + 1}"
        for rows, start, stop in self._parts:
            if number < stop - start:
                return place, rows.raw(start + number)
            number -= stop - start
        raise IndexError(ordinal)

    def parts(self, part: RecordPart, ordinals: Sequence[int]) -> list[Any]:
        """The numbers of records, or their partition."""
        if part is RecordPart.OFFSET:
            return list(ordinals)
        if part is RecordPart.PARTITION:
            return [self._partition] * len(ordinals)
        return super().parts(part, ordinals)


class FileReader(PartitionReader):
    """Reads the rows of one file, which is complete."""

    def __init__(self, path: str, partition: str, position: Optional[Position]) -> None:
        self._file = opened(path, position)
        self._schemas = Schemas([path], {path: self._file.schema})
        self._partition = partition
        self._row: int = 0 if position is None else position["ordinal"]

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next rows: those that are some `max_bytes` in the file."""
        if self.at_end:
            return None
        count = rows_to_read(self._file, self._row, max_bytes)
        chunk = ColumnsChunk(self._file, self._row, count, self._row, self._partition, "", self._schemas)
        self._row += count
        return chunk

    @property
    def at_end(self) -> bool:
        """Whether all rows have been read: a file does not grow."""
        return self._row >= self._file.rows

    def position(self) -> Position:
        """The number of the next row, and what tells the file."""
        return {"ordinal": self._row, "id": self._file.identity}

    @property
    def extent(self) -> Optional[Extent]:
        """Bytes of the file, by its rows."""
        return _extent(self._file, self._row)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class LogReader(PartitionReader):
    """Reads all files, in the order of their names, as one log.

    `find` gives the paths of the files that there are, by their names. While following it is asked once a second for
    files behind the last one.
    """

    def __init__(
        self,
        find: Callable[[], dict[str, str]],
        partition: str,
        position: Optional[Position],
        *,
        follow: bool,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._partition = partition
        self._follow = follow
        self._clock_s = clock_s
        self._paths = find()
        self._names = in_order(list(self._paths))
        self._looked_s = clock_s()
        self._ordinal: int = 0
        self._row: int = 0
        self._at = 0
        self._schemas = Schemas([self._paths[name] for name in self._names])
        self._file: Optional[ColumnFile] = None
        if position:
            self._go_to(position)

    def _go_to(self, position: Position) -> None:
        name = position["file"]
        if name not in self._paths:
            msg = (
                f"the file {name} of {self._partition} is gone, at row {position['row']} of which the run stood: put "
                "it back, or start with a new state directory"
            )
            raise InputError(msg)
        self._at = self._names.index(name)
        if self._at != position["before"]:
            msg = (
                f"{position['before']} files of {self._partition} were read before {name}, and now {self._at} are "
                "there: files may only be added behind the last one; put them back as they were, or start with a new "
                "state directory"
            )
            raise InputError(msg)
        self._file = opened(self._paths[name], position)
        self._row, self._ordinal = position["row"], position["ordinal"]

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next rows."""
        while self._file is None or self._row >= self._file.rows:
            if not self._next_file():
                return None
        count = rows_to_read(self._file, self._row, max_bytes)
        label = f"{self._names[self._at]} "
        chunk = ColumnsChunk(self._file, self._row, count, self._ordinal, self._partition, label, self._schemas)
        self._row += count
        self._ordinal += count
        return chunk

    def _next_file(self) -> bool:
        at = self._at if self._file is None else self._at + 1
        if at >= len(self._names) and not self._look():
            return False
        if self._file is not None:
            self._file.close()
        self._file, self._at, self._row = opened(self._paths[self._names[at]], None), at, 0
        return True

    def _look(self) -> bool:
        """While following, look now and then for files behind the last one; whether there are some."""
        if not self._follow or self._clock_s() - self._looked_s < _LOOK_EVERY_S:
            return False
        self._looked_s = self._clock_s()
        paths = self._find()
        names = in_order(list(paths))
        if names[: len(self._names)] != self._names:
            other = next((name for name in names if name not in self._paths), "")
            what = f"{other} has come before it" if other else "one that was read is gone"
            msg = (
                f"the files of {self._partition} are read in the order of their names, up to {self._names[-1]}, and "
                f"{what}: files may only be added behind the last one"
            )
            raise InputError(msg)
        added = names[len(self._names) :]
        self._schemas.add([paths[name] for name in added])
        self._paths, self._names = paths, names
        return bool(added)

    @property
    def at_end(self) -> bool:
        """Whether all files that there were have been read."""
        if self._follow:
            return False
        is_last = self._at >= len(self._names) - 1
        return not self._names or (is_last and self._file is not None and self._row >= self._file.rows)

    def position(self) -> Position:
        """The file with the row in it, how many files are before it, and the number of the row in the log."""
        if self._file is None:
            return {}
        return {
            "file": self._names[self._at],
            "before": self._at,
            "row": self._row,
            "ordinal": self._ordinal,
            "id": self._file.identity,
        }

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()


def opened(path: str, position: Optional[Position]) -> ColumnFile:
    """A file. Raises `InputError` when it is not the one of the position."""
    file = ColumnFile(path)
    if position and file.identity != position["id"]:
        file.close()
        msg = (
            f"{path} is not the file that was read before: expected {position['id']} (its size, and a checksum of its "
            f"last bytes), found {file.identity}; files of columns must not be changed: put the former file back, or "
            "start with a new state directory"
        )
        raise InputError(msg)
    return file


def rows_to_read(file: ColumnFile, row: int, max_bytes: int) -> int:
    """How many of the next rows are about as many bytes: one at least."""
    wanted = max_bytes * file.rows // max(1, file.size)
    return max(1, min(wanted, _CHUNK_ROWS, file.rows_in_block(row)))


def _extent(file: ColumnFile, row: int) -> Extent:
    return Extent(file.size * row // file.rows if file.rows else file.size, file.size)
