"""Reads a log that was rotated into several files as one partition."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Optional, Union

from headway.connectors.base import BadRecord, Chunk, Decoded, Extent, PartitionReader, Position
from headway.connectors.bytelog import OtherLogError
from headway.connectors.filereader import FileReader
from headway.connectors.lines import BLANKS, LinesChunk, OversizeChunk
from headway.connectors.listing import Files, begins_alike, few, files_now, stood_in
from headway.connectors.rotation import is_stable, oldest_first
from headway.errors import InputError
from headway.formats.base import Decoder

__all__ = ["RotatedReader"]


class RotatedReader(PartitionReader):
    """Reads files from the oldest to the newest, each to its end, as one log.

    A file is finished once a newer one holds something: until then whoever writes may still have the former one open.
    What is appended to it later all the same comes out of order, and so as bad records; it is looked for until the
    log goes on to the next file but one. Files may be renamed, compressed and copied on the way: the one that is read
    is known by its inode and by what it holds. While following, an idle read costs a listing, and one `stat` for each
    file.

    `find` gives name and path of the files that exist now.
    """

    def __init__(self, find: Callable[[], dict[str, str]], position: Optional[Position], *, follow: bool) -> None:
        self._find = find
        self._follow = follow
        self._files: Files = files_now(find, {})
        self._name = ""
        """Of the current file, as it was when the files were listed."""
        self._older = 0
        """How many files are older than the current one."""
        self._copies: set[tuple[int, int]] = set()
        """Files that hold the same as the current one: it was compressed."""
        self._reader: Optional[FileReader] = None
        self._former: Optional[tuple[str, FileReader, int]] = None
        """The last file before of which something was read: its name, its reader, and how many files are older."""
        self._at_end = False
        if position is not None and position["file"] is not None:
            self._resume(position)

    @property
    def at_end(self) -> bool:
        """True once the last file has been read to its end; always False while following."""
        return self._at_end

    @property
    def extent(self) -> Optional[Extent]:
        """How far all files together have been read; None while they are followed."""
        if self._follow or self._reader is None or self._reader.extent is None:
            return None
        read, total = self._reader.extent
        for number, (name, file) in enumerate(self._files.items()):
            if name != self._name:
                total += file.size
                read += file.size if number < self._older else 0
        return Extent(read, total)

    def position(self) -> Position:
        """The file and the position in it, how many are older, and where the former file ended.

        A file of which nothing has been read is not stood in yet: nothing would tell it from others.
        """
        if self._reader is None or self._reader.untouched:
            return {"file": None} if self._former is None else self._end_of_former(*self._former)
        place = _place(self._name, self._reader, self._older)
        return place if self._former is None else {**place, "former": _place(*self._former)}

    def _end_of_former(self, name: str, former: FileReader, older: int) -> Position:
        """The position at the end of the former file, numbered as when it was the current one.

        To read what is appended to it, it was told which number comes next. A half line that was taken has its own.
        """
        place = _place(name, former, older)
        assert self._reader is not None
        ahead = former.next_ordinal - self._reader.next_ordinal
        return {**place, "ordinal": place["ordinal"] - ahead, "first": place["first"] - ahead}

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next lines, all from one file."""
        while not self._at_end:
            if self._reader is not None:
                chunk = self._read_on(self._reader, max_bytes) or self._read_late(self._reader, max_bytes)
                if chunk is not None:
                    return chunk
            following = self._following_file()
            if self._reader is not None and not self._reader.at_end:
                if following is None:
                    return None
                self._reader.finish()
            elif following is not None:
                self._turn_to(following)
            elif self._follow:
                return None
            else:
                self._at_end = True
        return None

    def close(self) -> None:
        """Close the files that are open."""
        if self._reader is not None:
            self._reader.close()
        self._drop_former()

    def _resume(self, position: Position) -> None:
        name = stood_in(self._files, position)
        if name is None:
            name = position["file"]
            if name not in self._files or not is_stable(self._files):
                raise self._gone(name, position["offset"])
        self._reader = self._open(name, position)  # Where the file was replaced, this says how.
        self._name = name
        self._older = position["before"]
        self._count_older(position)
        former = position.get("former")
        if former is not None:
            # It was read, and what has become of it since is nobody's concern.
            with suppress(InputError):
                found = stood_in(self._files, former)
                if found is not None:
                    self._former = found, self._open(found, former), former["before"]

    def _read_on(self, reader: FileReader, max_bytes: int) -> Optional[Chunk]:
        """The next lines of the current file; where it was copied and cut to begin anew, those of the copy."""
        try:
            return reader.read(max_bytes)
        except OtherLogError:
            place = _place(self._name, reader, self._older)
            files = files_now(self._find, self._files)
            others = {name: file for name, file in files.items() if file.identity != reader.identity}
            copy = None if is_stable(files) else stood_in(others, place)
            if copy is None:
                raise
        self._files, self._name, self._copies = files, copy, set()
        self._reader = self._open(copy, place)
        reader.close()
        self._count_older(place)
        return self._reader.read(max_bytes)

    def _read_late(self, reader: FileReader, max_bytes: int) -> Optional[Chunk]:
        """What was appended to the former file after the log had gone on in the current one."""
        if self._former is None:
            return None
        name, former, _ = self._former
        former.go_on(reader.next_ordinal)
        first = former.ordinal
        try:
            chunk = former.read(max_bytes)
        except InputError:
            # It was read, and what is done with it now is nobody's concern.
            self._drop_former()
            return None
        if not isinstance(chunk, (LinesChunk, OversizeChunk)):
            return None
        reader.skip_ordinals(former.ordinal - first)
        return _LateChunk(chunk, f"appended to {name} when the log had gone on in {self._name} already")

    def _drop_former(self) -> None:
        if self._former is not None:
            self._former[1].close()
            self._former = None

    def _following_file(self) -> Optional[str]:
        """The next file that holds something, if there is one already. Lists files only where it must."""
        known = self._known_following_file()
        if known is None and self._follow:
            self._list_again()
            known = self._known_following_file()
        return known

    def _known_following_file(self) -> Optional[str]:
        newer = list(self._files)
        if self._reader is not None:
            if self._name not in self._files:
                newer = oldest_first([*self._files, self._name])
            newer = newer[newer.index(self._name) + 1 :]
        return next((name for name in newer if self._files[name].size), None)

    def _list_again(self) -> None:
        files = files_now(self._find, self._files)
        reader = self._reader
        if reader is not None:
            place = _place(self._name, reader, self._older)
            known = {reader.identity, *self._copies}
            name = next((name for name, file in files.items() if file.identity in known), None)
            if name is None:
                name = self._found_again(files, place)
            self._files, self._name = files, name
            self._count_older(place)
        else:
            self._files = files

    def _found_again(self, files: Files, place: Position) -> str:
        """The name of the current file, which is no longer among the files as such."""
        name = stood_in(files, place)
        if name is not None:
            self._copies.add(files[name].identity)
            if files[name].path.endswith(name):
                # Not compressed, but put in its place: what is appended is appended there.
                assert self._reader is not None
                former, self._reader = self._reader, self._open(name, place, files)
                former.close()
            return name
        if not is_stable([*files, self._name]):
            raise self._gone(self._name, place["offset"], files)
        if self._name in files:
            self._open(self._name, place, files).close()  # It was replaced: this says how.
        return self._name

    def _count_older(self, place: Position) -> None:
        """Refuse files that are older than the current one and were not there before."""
        names = list(self._files)
        if self._name not in self._files:
            names = oldest_first([*names, self._name])
        older = [name for name in names[: names.index(self._name)] if name in self._files]
        if len(older) > self._older:
            older = [name for name in older if not begins_alike(self._files[name], place)]
        if len(older) > self._older:
            msg = (
                f"log files were added before {self._name}, up to which the log has been read: expected at most "
                f"{self._older} files before it, found {few(older)}; name rotated files so that their age can be "
                "told, or read them without rotated=True"
            )
            raise InputError(msg)
        self._older = len(older)

    def _turn_to(self, name: str) -> None:
        if name == next(reversed(self._files)):
            # The newest file may have been copied and cut since the files were listed: then its lines are elsewhere.
            listed = {known: file.identity for known, file in self._files.items()}
            self._list_again()
            if {known: file.identity for known, file in self._files.items()} != listed:
                return
        file = self._files[name]
        ordinal = 0 if self._reader is None else self._reader.next_ordinal
        try:
            reader = self._open(name, {"offset": 0, "ordinal": ordinal, "first": ordinal})
        except InputError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            self._list_again()
            return
        if reader.identity != file.identity:
            # It was renamed or compressed since the files were listed.
            reader.close()
            self._list_again()
            return
        if self._reader is not None:
            if self._reader.untouched:
                self._reader.close()
            else:
                self._drop_former()
                self._former = self._name, self._reader, self._older
        self._reader, self._name, self._copies = reader, name, set()
        self._older = list(self._files).index(name)

    def _open(self, name: str, position: Position, files: Optional[Files] = None) -> FileReader:
        path = (files or self._files)[name].path
        return FileReader(path, position, follow=self._follow, label=f"{name} ", held=True)

    def _gone(self, name: str, offset: int, files: Optional[Files] = None) -> InputError:
        msg = (
            f"the log file {name} is gone, in which the run stood at byte {offset}; expected it among "
            f"{few(list(self._files if files is None else files))}, under that name or as it was rotated: put it back, "
            "choose a pattern that matches rotated files too, or start with a new state directory"
        )
        return InputError(msg)


def _place(name: str, reader: FileReader, before: int) -> Position:
    mark = {"inode": reader.identity[1], "first": reader.first_ordinal}
    return {"file": name, "before": before, **mark, **reader.position()}


@dataclass(frozen=True)
class _LateChunk(Chunk):
    """Lines that came when the log had gone on: to read them in their place is too late."""

    chunk: Union[LinesChunk, OversizeChunk]
    reason: str

    def decode(self, decoder: Decoder) -> Decoded:
        """Return each line that is not blank as a bad record."""
        if isinstance(self.chunk, OversizeChunk):
            late = self.chunk.bad
            return Decoded([], range(0), [replace(late, reason=f"{self.reason}; {late.reason}")])
        bad: list[BadRecord] = []
        for ordinal, line in enumerate(self.chunk.lines, self.chunk.first_ordinal):
            if line.strip(BLANKS):
                position, raw = self.chunk.record(ordinal)
                bad.append(BadRecord(ordinal, position, self.reason, raw))
        return Decoded([], range(0), bad)

    def record(self, ordinal: int) -> tuple[str, bytes]:
        """As in the chunk itself."""
        return self.chunk.record(ordinal)
