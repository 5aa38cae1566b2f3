"""The dead letters that a flow does not read itself: one file of JSON lines for each partition they come from."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Optional
from zlib import crc32

from typing_extensions import override

from headway.basics.guarantees import Guarantee
from headway.connectors.base import Output, OutputWriter, Position
from headway.connectors.jsonl import JsonlOutput, writing

__all__ = ["FAILED_FILE", "OPEN_MAX", "LetterFiles", "dead_letters_of", "letter_file"]

OPEN_MAX: Final = 100
"""Files that are open at a time, however many partitions have dead letters in an epoch."""

FAILED_FILE: Final = "failed.jsonl"
"""Letters of keyed stages; a file for those of a source is in a folder of its own."""

_NAME_CHARACTERS_MAX: Final = 100
_NAME_END: Final = re.compile(r"-[0-9a-f]{8}\.jsonl")
"""What no name lacks that `letter_file` makes."""


class LetterFiles(Output):
    """Writes below `directory` what becomes a dead letter: `<source>/<partition>.jsonl`.

    Dead letters do not wait for time, since it may be that no record ever tells one. Those of one partition have one
    order, which is that of the log; those of several have none. So each partition has its own file, and every run over
    the same logs writes the same files. What handlers of keyed stages have failed on does wait, and is in one file, in
    the order of time.
    """

    by_partition = True
    guarantee = Guarantee.EXACT

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @override
    def open(self, position: Optional[Position], *, mark: Optional[str]) -> OutputWriter:
        """Cut all files back to where they stood, and remove those of later epochs."""
        return _LetterWriter(self.directory, position or {})

    @override
    def describe(self) -> str:
        """The directory."""
        return f"files in {self.directory}"


class _LetterWriter(OutputWriter):
    transactional = True

    def __init__(self, directory: Path, positions: Position) -> None:
        self._directory = directory
        self._positions: dict[str, Position] = dict(positions)
        self._open: dict[str, OutputWriter] = {}
        with writing(str(directory)):
            found = _letter_files(directory)
        for path in found:
            if str(path.relative_to(directory)) not in self._positions:
                with writing(str(path)):
                    path.unlink()
        for name in sorted(self._positions):
            self._writer(name)
            self._close_all()

    @override
    def write(self, records: Sequence[bytes]) -> None:
        """Write letters of keyed stages."""
        self._writer(FAILED_FILE).write(records)

    @override
    def write_of(self, source: str, partition: str, records: Sequence[bytes]) -> None:
        self._writer(letter_file(source, partition)).write(records)

    @override
    def position(self) -> Position:
        # Few partitions have dead letters in an epoch: only those that are written are open, and until its end.
        self._put_away()
        return dict(self._positions)

    @override
    def close(self) -> None:
        self._close_all()

    def _writer(self, name: str) -> OutputWriter:
        if name not in self._open:
            if len(self._open) >= OPEN_MAX:
                self._put_away()
            output = JsonlOutput(str(self._directory / name), private=True)
            self._open[name] = output.open(self._positions.get(name), mark=None)
        return self._open[name]

    def _put_away(self) -> None:
        """Close all files, and keep where each ends: it is opened again there."""
        for name, writer in self._open.items():
            self._positions[name] = writer.position()
        self._close_all()

    def _close_all(self) -> None:
        for writer in self._open.values():
            writer.close()
        self._open.clear()


def dead_letters_of(state_dir: Path) -> Output:
    """Where undecodable records go that the flow itself has no place for."""
    return LetterFiles(state_dir / "dead-letters")


def _letter_files(directory: Path) -> list[Path]:
    """The files that a run has made, by their names: others, and what links lead to, are not ours to touch."""
    if not directory.is_dir():
        return []
    folders = [Path(entry) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    files = [entry for folder in folders for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
    found = sorted(Path(entry) for entry in files if _NAME_END.fullmatch(entry.name[-len("-00000000.jsonl") :]))
    failed = directory / FAILED_FILE
    return [*found, failed] if failed.is_file() and not failed.is_symlink() else found


def letter_file(source: str, partition: str) -> str:
    """The path of a partition's dead letters: the end of its name for people, its checksum to tell it from others.

    >>> letter_file("shop", "events/shop-0.jsonl")
    'shop/shop-0.jsonl-90710800.jsonl'
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "_", partition.rpartition("/")[2])[-_NAME_CHARACTERS_MAX:].lstrip(".")
    return f"{source}/{name}-{crc32(partition.encode(errors='surrogateescape')):08x}.jsonl"
