"""Readers of objects: one object as a partition, or all of them, one after the other, as one log.

An object is copied into a file, which is opened and removed at once: the open file is all that is needed of it. Lines
and columns are then read as those of files are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Optional

from headway.connectors.base import BadRecord, Chunk, Decoded, Extent, PartitionReader, Position
from headway.connectors.columns.reader import FileReader as ColumnsReader
from headway.connectors.filereader import FileReader as LinesReader
from headway.connectors.naming import in_order
from headway.connectors.parts import RecordPart
from headway.errors import InputError
from headway.formats.base import Decoder
from headway.formats.columns import COLUMNS

if TYPE_CHECKING:
    from headway.connectors.objects.session import Found, ObjectsSession

__all__ = ["ObjectLogReader", "ObjectReader"]


class _ObjectChunk(Chunk):
    """Records of one object, whose numbers go on from those of the objects before it."""

    def __init__(self, chunk: Chunk, before: int, partition: str, label: str) -> None:
        self._chunk = chunk
        self._before = before
        self._partition = partition
        self._label = label

    def decode(self, decoder: Decoder) -> Decoded:
        found = self._chunk.decode(decoder)
        before = self._before
        bad = [BadRecord(b.ordinal + before, f"{self._label}{b.position}", b.reason, b.raw) for b in found.bad]
        ordinals = [ordinal + before for ordinal in found.ordinals] if before else found.ordinals
        return Decoded(found.events, ordinals, bad)

    def record(self, ordinal: int) -> tuple[str, bytes]:
        place, raw = self._chunk.record(ordinal - self._before)
        return f"{self._label}{place}", raw

    def parts(self, part: RecordPart, ordinals: Sequence[int]) -> list[Any]:
        """The numbers of records, or their partition."""
        if part is RecordPart.OFFSET:
            return list(ordinals)
        if part is RecordPart.PARTITION:
            return [self._partition] * len(ordinals)
        return super().parts(part, ordinals)


class _Copy:
    """An object that is being copied, and then read. `at` is a position in it, with the ETag that it has to have."""

    def __init__(self, session: ObjectsSession, name: str, at: Optional[Position], etag: Optional[str]) -> None:
        self.name = name
        self.etag = etag
        self.is_over = False
        self._session = session
        self._at = at
        self._coming: Optional[Future[tuple[str, Found]]] = session.copy(name, etag)
        self._reader: Optional[PartitionReader] = None
        self._size = 0

    @property
    def has_more(self) -> bool:
        """Whether there is something to be read."""
        return self._reader is not None or (self._coming is not None and self._coming.done())

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next records; None while it is being copied, and when it is over."""
        if self._coming is not None:
            if not self._coming.done():
                return None
            path, found = self._coming.result()
            self._coming, self._size = None, found.size
            self.etag = found.etag
            self._session.begun(self.name, found.etag)
            self._open(path)
        if self._reader is None:
            return None
        chunk = self._reader.read(max_bytes)
        if chunk is None and self._reader.at_end:
            self._at = self._reader.position()
            self.is_over = True
            self.close()
        return chunk

    def _open(self, path: str) -> None:
        form = self._session.given.format
        try:
            if form is COLUMNS:
                self._reader = ColumnsReader(path, self.name, self._at)
            else:
                self._reader = LinesReader(path, self._at, follow=False, held=True, header=form.has_header)
        except InputError as error:
            msg = f"{self.name} of {self._session.given.describe()}: {error}"
            raise InputError(msg) from error
        finally:
            os.unlink(path)

    def position(self) -> Optional[Position]:
        """Where the next record is in the object."""
        return self._at if self._reader is None else self._reader.position()

    @property
    def extent(self) -> Extent:
        """Bytes of the object."""
        found = None if self._reader is None else self._reader.extent
        return found or Extent(self._size if self.is_over else 0, self._size)

    def close(self) -> None:
        """Close the copy."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


class ObjectReader(PartitionReader):
    """Reads one object, which is complete."""

    def __init__(self, session: ObjectsSession, name: str, position: Optional[Position]) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self._name = name
        self._session = session
        self._copy: Optional[_Copy] = None
        self._place: Position = position or {}
        if position and position.get("over"):
            session.begun(name, position["etag"])
            return
        etag, at = self._place.get("etag"), self._place.get("at")
        self._copy = _Copy(session, name, at, etag)

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next records; None while the object is being copied."""
        self._session.check()
        copy = self._copy
        if copy is None:
            return None
        chunk = copy.read(max_bytes)
        if copy.etag is not None and (at := copy.position()) is not None:
            self._place = {"etag": copy.etag, "at": at, "ordinal": at["ordinal"]}
        if copy.is_over:
            self._place["over"] = True
            self._copy = None
        return None if chunk is None else _ObjectChunk(chunk, 0, self._name, "")

    @property
    def at_end(self) -> bool:
        """Whether all of it has been read: an object does not grow."""
        return self._copy is None

    def has_more(self) -> bool:
        """Whether the object has been copied."""
        return self._copy is not None and self._copy.has_more

    def position(self) -> Position:
        """The place in the object, with its ETag."""
        return self._place

    @property
    def extent(self) -> Optional[Extent]:
        """Bytes of the object."""
        if self._copy is not None:
            return self._copy.extent
        found = self._session.objects.get(self._name)
        return None if found is None else Extent(found.size, found.size)

    def close(self) -> None:
        """Close the copy."""
        if self._copy is not None:
            self._copy.close()
        self.on_close()


class ObjectLogReader(PartitionReader):
    """Reads all objects, in the order of their names, as one log; the next one is copied meanwhile."""

    def __init__(self, session: ObjectsSession, name: str, position: Optional[Position], *, follow: bool) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self._session = session
        self._name = name
        self._follow = follow
        self._names = list(session.objects)
        self._last: Optional[str] = None
        """The object that was read last, or is being read."""
        self._before = 0
        """Records of the objects before it."""
        self._place: Position = position or {}
        self._copy: Optional[_Copy] = None
        self._next: Optional[_Copy] = None
        if position:
            self._go_to(position)

    def _go_to(self, position: Position) -> None:
        self._last, self._before = position["object"], position["before"]
        if self._last not in self._names:
            self._names = in_order([*self._names, self._last])
        now = self._names.index(self._last) + 1
        if now > position["count"]:  # Those that were read may have been deleted since.
            msg = (
                f"{position['count']} objects of {self._session.given.describe()} were there up to {self._last}, and "
                f"now {now} are: objects may only be added behind the last one"
            )
            raise InputError(msg)
        if position.get("over"):
            self._session.begun(self._last, position["etag"])
        else:
            self._copy = _Copy(self._session, self._last, position["at"], position["etag"])

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next records; None while an object is being copied."""
        self._session.check()
        while self._copy is not None or self._begin():
            copy = self._copy
            assert copy is not None
            chunk = copy.read(max_bytes)
            self._note(copy)
            if chunk is not None:
                return _ObjectChunk(chunk, self._before, self._name, f"{copy.name} ")
            if not copy.is_over:
                return None
            self._copy = None
        return None

    def _note(self, copy: _Copy) -> None:
        at = copy.position()
        if copy.etag is None or at is None:
            return
        count = self._names.index(copy.name) + 1
        place = {"object": copy.name, "etag": copy.etag, "at": at, "before": self._before, "count": count}
        self._place = {**place, "ordinal": self._before + at["ordinal"], **({"over": True} if copy.is_over else {})}
        if copy.is_over:
            self._before += at["ordinal"]
            self._place["before"] = self._before

    def _begin(self) -> bool:
        """Go on to the next object, and have the one behind it copied; False when there is none."""
        if self._follow:
            self._look()
        at = 0 if self._last is None else self._names.index(self._last) + 1
        if at >= len(self._names):
            return False
        name = self._names[at]
        coming, self._next = self._next, None
        self._copy = coming if coming is not None and coming.name == name else _Copy(self._session, name, None, None)
        self._last = name
        if at + 1 < len(self._names):
            self._next = _Copy(self._session, self._names[at + 1], None, None)
        return True

    def _look(self) -> None:
        """Take objects that have come behind the last one. Raises `InputError` for one that has come before it."""
        names = list(self._session.objects)
        if self._last is not None and self._last not in names:
            names = in_order([*names, self._last])
        if names == self._names:
            return
        known = [] if self._last is None else self._names[: self._names.index(self._last) + 1]
        read = set(known)
        last = None if self._last is None else names.index(self._last)
        early = next((name for name in names[:last] if name not in read), None) if last is not None else None
        if early is not None:
            msg = (
                f"the objects of {self._session.given.describe()} are read in the order of their names, up to "
                f"{self._last}, and {early} has come before it: objects may only be added behind the last one"
            )
            raise InputError(msg)
        self._names = known + (names if last is None else names[last + 1 :])

    @property
    def at_end(self) -> bool:
        """Whether all objects that there were have been read."""
        if self._follow or self._copy is not None:
            return False
        return not self._names or self._names[-1] == self._last

    def has_more(self) -> bool:
        """Whether an object has been copied."""
        return self._copy is not None and self._copy.has_more

    def position(self) -> Position:
        """The object, its ETag, and the place in it."""
        return self._place

    def close(self) -> None:
        """Close the copies."""
        for copy in (self._copy, self._next):
            if copy is not None:
                copy.close()
        self.on_close()
