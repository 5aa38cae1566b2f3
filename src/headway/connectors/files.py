"""The input `files`: JSON lines from files, finished or growing."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Optional, Union

from headway.basics.utf8 import is_utf8
from headway.connectors.base import Input, PartitionReader, Position, Tell, unheard
from headway.connectors.filereader import FileReader
from headway.connectors.listing import names_before_compression
from headway.connectors.ownfiles import OwnFiles
from headway.connectors.paths import FilePattern
from headway.connectors.rotated import RotatedReader
from headway.connectors.rotation import oldest_first
from headway.connectors.stripes import StripeReader
from headway.errors import UsageError
from headway.formats.base import Format
from headway.formats.named import JSON, FormatLike, format_of

__all__ = ["FilesInput", "files"]


def files(
    pattern: Union[str, os.PathLike[str]],
    *,
    split: int = 1,
    rotated: bool = False,
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
) -> Input:
    r"""Read lines from a file, from all files that match a glob pattern, or from a directory.

    Each file is one partition, in time order by itself, and named by its path below the pattern's fixed part.
    A directory means its files `*.jsonl`, `*.ndjson` and `*.json`, each also with `.gz` or `.zst`; for those
    in subdirectories write `**`. Files compressed with gzip or zstd are recognized by their first bytes.

    A line holds one record in the `format`, by default one JSON value, and ends with LF or CRLF; blank lines are
    skipped, but counted as lines. A directory is read as files of JSON; for others name them, as in `"trades/*.csv"`. A
    line that is not UTF-8, not valid, or longer than 64 MiB becomes a dead letter. A last line without a line
    end is read as a record when the files are read to their ends, and waited for while they are followed; if
    it was half-written at the end of a run and has been completed since, the next run reads the whole of it.

    Files may only be appended to. One that was replaced or truncated is refused with `InputError`, both when
    a run is resumed and while following. Resuming in a compressed file decompresses everything before the
    position once: seconds for each GB of content.

    Links are followed. A link to a file that is read already is passed over; two names of one file (hard links, or
    two links) are refused. What is passed over is told: links that lead nowhere, pipes and devices, and files that
    the flow writes itself.

    `split` reads each file as that many partitions side by side, in stripes of 4 MiB dealt in turn, so that
    several workers share a large file. Only plain files that are not followed can be split. `rotated` reads
    all files, from the oldest to the newest, as the one log that was rotated into them: `app.log.2`, `app.log.1`,
    `app.log`, or `app.log-20240430`, `app.log-20240501`, `app.log`, or names that count up. Where the names do not
    tell the order it raises `InputError`. Files may be renamed, compressed, or copied and cut, while they are read.

    Raises `UsageError` when the options contradict each other.

    >>> import tempfile, pathlib
    >>> from headway.types.decoding import LineCodec
    >>> from headway.types.schema import Json
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    >>> source = files(folder / "*.jsonl")
    >>> source.partitions()
    ['a.jsonl']
    >>> source.open("a.jsonl", None, follow=False).read(1024).decode(LineCodec(Json)).events
    [{'n': 1}, {'n': 2}]
    """
    text = os.fspath(pattern)
    if not isinstance(text, str) or not text:
        msg = f"files({pattern!r}): expected a path or a glob pattern as text, such as 'events/*.jsonl'"
        raise UsageError(msg)
    if not is_utf8(text):
        msg = f"files({text!r}): expected a path that is UTF-8 text; rename the directory or the file"
        raise UsageError(msg)
    if isinstance(split, bool) or not isinstance(split, int) or split < 1:
        msg = f"files({text!r}, split={split!r}): expected a whole number of readers for each file, 1 or more"
        raise UsageError(msg)
    if rotated and split > 1:
        msg = (
            f"files({text!r}, split={split}, rotated=True): a rotated log is read file after file "
            "as one partition; drop one of the two options"
        )
        raise UsageError(msg)
    form = format_of(format, f"files({text!r})")
    _check_format(text, form, rotated=rotated)
    return FilesInput(text, split, rotated, format=form)


def _check_format(text: str, form: Format, *, rotated: bool) -> None:
    if not form.has_lines:
        msg = (
            f"files({text!r}, format={form.name!r}): records of this format may have line ends in them, so that a file "
            "of lines cannot hold them"
        )
        raise UsageError(msg)
    if form.has_header and rotated:
        msg = (
            f"files({text!r}, format={form.name!r}, rotated=True): a file of a rotated log may be cut anywhere, also "
            "behind its first line; name the columns, as in headway.formats.Csv(columns=...)"
        )
        raise UsageError(msg)


@dataclass(frozen=True)
class FilesInput(Input):
    """What `files` returns."""

    pattern: str
    split: int
    rotated: bool
    format: Format = JSON
    own: Optional[OwnFiles] = field(default=None, compare=False, repr=False)
    """What is passed over, because the flow itself writes it."""

    def may_read(self, path: str) -> bool:
        """Whether the pattern matches the path, in the directory that it leads to."""
        return FilePattern(self.pattern).matches(path)

    def paths(self) -> list[str]:
        """What matches now."""
        pattern = FilePattern(self.pattern)
        return list(pattern.find().values()) if pattern.is_there else []

    def apart_from(self, own: OwnFiles) -> Input:
        """Pass over these files."""
        return replace(self, own=own)

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """One name for each file, `name#0` to `name#n-1` when split, or one for all of a rotated log.

        Empty when a glob or a directory matches nothing (yet). Raises `InputError` when a file or directory
        that is named outright does not exist.
        """
        names = list(FilePattern(self.pattern, self.own).find(tell))
        if self.rotated:
            oldest_first(names_before_compression(names))
            return [self._rotated_name()] if names else []
        if self.split > 1:
            return sorted(f"{name}#{index}" for name in names for index in range(self.split))
        return names

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """Open one file, one of its shares, or the rotated log."""
        pattern = FilePattern(self.pattern, self.own)
        if self.rotated:
            return RotatedReader(pattern.find, position, follow=follow)
        if self.split == 1:
            return FileReader(pattern.path_of(partition), position, follow=follow, header=self.format.has_header)
        if follow:
            msg = (
                f"{self.describe()}: split={self.split} cannot be followed, as a file's stripes are written "
                "one after the other; use split=1"
            )
            raise UsageError(msg)
        name, _, index = partition.rpartition("#")
        path, header = pattern.path_of(name), self.format.has_header
        return StripeReader(path, position, index=int(index), split=self.split, header=header)

    def describe(self) -> str:
        """The pattern and the options, such as `files events/*.jsonl`."""
        options = f" (split {self.split})" if self.split > 1 else " (rotated)" if self.rotated else ""
        return f"files {self.pattern}{options}"

    @property
    def reading(self) -> str:
        """Whether `rotated` or `split` was given."""
        if self.rotated:
            return "as one rotated log (rotated=True)"
        return f"in stripes (split={self.split})" if self.split > 1 else "file by file"

    def _rotated_name(self) -> str:
        name = os.path.relpath(self.pattern, FilePattern(self.pattern).base or os.curdir)
        return "*" if name == os.curdir else name.replace(os.sep, "/")
