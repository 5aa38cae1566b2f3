"""The input `parquet`: files of Parquet, or of Arrow, whose rows are events."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Optional, Union

from headway.basics.needed import needed
from headway.basics.utf8 import is_utf8
from headway.connectors.base import Input, PartitionReader, Position, Tell, unheard
from headway.connectors.ownfiles import OwnFiles
from headway.connectors.parts import RecordPart
from headway.connectors.paths import FilePattern
from headway.errors import UsageError
from headway.formats.base import Format
from headway.formats.columns import COLUMNS

__all__ = ["ParquetInput", "parquet"]


def parquet(pattern: Union[str, os.PathLike[str]], *, one_log: bool = False) -> Input:
    """Read rows from a file of Parquet, from all files that match a glob pattern, or from a directory.

    Each file is one partition, in time order by itself. With `one_log` all files are one partition, read one after the
    other in the order of their names, in which numbers count as numbers. A directory means its files `*.parquet`. Files
    of Arrow (IPC, Feather 2) are read as well, told by their first bytes.

    Each field of the event's class is filled from the column of its name; other columns are not read. A file whose
    columns cannot fit is refused before any of its rows is read: a column is missing that the event needs, or is of a
    type of which no value fits. Instants in any unit, and days, become epoch milliseconds in a field that is declared
    as `Time`; without a zone they count as UTC, and what is finer is cut off. Lists, records, maps, decimals and
    columns of a dictionary are what Python has for them. A null is None where the field takes it, else its default. A
    row with a null in another field, or with a value outside of the field's limits, becomes a dead letter, which holds
    the columns that were read, as JSON.

    A file is complete when it is found, and never changed: write it under another name first. While the input is
    followed, new files are read too; with `one_log` they must come behind the last one. A position is the number of
    rows before it; going on there decodes the row group again that it is in, tens of milliseconds for 100,000 rows.

    Steps with `where` behind the source see the columns themselves: an event that they leave out is never made, and
    costs 0.1 µs. Rows are decoded ahead of the flow by a thread, 8 MiB of them at once. Needs the extra `parquet`.
    Raises `UsageError` for what is no pattern.

    >>> parquet("history/*.parquet").describe()
    'parquet history/*.parquet'
    """
    text = os.fspath(pattern)
    if not isinstance(text, str) or not text:
        msg = f"parquet({pattern!r}): expected a path or a glob pattern as text, such as 'history/*.parquet'"
        raise UsageError(msg)
    if not is_utf8(text):
        msg = f"parquet({text!r}): expected a path that is UTF-8 text; rename the directory or the file"
        raise UsageError(msg)
    return ParquetInput(text, bool(one_log))


@dataclass(frozen=True)
class ParquetInput(Input):
    """What `parquet` returns."""

    pattern: str
    one_log: bool
    format: Format = COLUMNS
    own: Optional[OwnFiles] = field(default=None, compare=False, repr=False)
    """What is passed over, because the flow itself writes it."""

    record_parts = frozenset({RecordPart.OFFSET, RecordPart.PARTITION})

    def may_read(self, path: str) -> bool:
        """Whether the pattern matches the path, in the directory that it leads to."""
        return self._files.matches(path)

    def paths(self) -> list[str]:
        """What matches now."""
        return list(self._files.find().values()) if self._files.is_there else []

    def apart_from(self, own: OwnFiles) -> Input:
        """Pass over these files."""
        return replace(self, own=own)

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """One name for each file, or one for all as one log."""
        needed("pyarrow", "parquet", "hw.parquet(...)")
        names = list(self._files.find(tell))
        return [self._log_name] if self.one_log and names else names

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """Open one file, or the log of all."""
        from headway.connectors.columns.reader import FileReader, LogReader

        files = self._files
        if self.one_log:
            return LogReader(files.find, partition, position, follow=follow)
        return FileReader(files.path_of(partition), partition, position)

    def describe(self) -> str:
        """The pattern, such as `parquet history/*.parquet`."""
        return f"parquet {self.pattern}{' (one log)' if self.one_log else ''}"

    @property
    def reading(self) -> str:
        """Whether `one_log` was given."""
        return "as one log (one_log=True)" if self.one_log else "file by file"

    @property
    def _log_name(self) -> str:
        name = os.path.relpath(self._files.text, self._files.base or os.curdir)
        return name.replace(os.sep, "/")

    @property
    def _files(self) -> FilePattern:
        text = os.path.join(self.pattern, "*.parquet") if os.path.isdir(self.pattern) else self.pattern
        return FilePattern(text, self.own)
