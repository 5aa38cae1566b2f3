"""Readers of objects: one object as a partition, or all of them, one after the other, as one log.

An object is copied into a file, whose lines or columns are then read as those of files are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional

from headway.connectors.base import BadRecord, Chunk, Decoded, Extent, PartitionReader, Position
from headway.connectors.naming import in_order
from headway.connectors.objects.copies import Copy
from headway.connectors.parts import RecordPart
from headway.errors import InputError
from headway.formats.base import Decoder

if TYPE_CHECKING:
    from headway.connectors.objects.session import ObjectsSession

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


class ObjectReader(PartitionReader):
    """Reads one object, which is complete."""

    def __init__(self, session: ObjectsSession, name: str, position: Optional[Position]) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self._name = name
        self._session = session
        self._copy: Optional[Copy] = None
        self._place: Position = position or {}
        if position and position.get("over"):
            session.begun(name, position["etag"])
            return
        etag, at = self._place.get("etag"), self._place.get("at")
        self._copy = Copy(session, name, at, etag)

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
        self._listing = session.objects
        """The last one that was looked at."""
        self._names = list(session.objects)
        """What was read, and behind it what is there to be read."""
        self._count = 0
        """How many of the names are those of objects that were read, or are being read."""
        self._last: Optional[str] = None
        """The object that was read last, or is being read."""
        self._before = 0
        """Records of the objects before it."""
        self._place: Position = position or {}
        self._copy: Optional[Copy] = None
        self._next: Optional[Copy] = None
        if position:
            self._go_to(position)

    def _go_to(self, position: Position) -> None:
        self._last, self._before = position["object"], position["before"]
        if self._last not in self._names:
            self._names = in_order([*self._names, self._last])
        now = self._count = self._names.index(self._last) + 1
        if now > position["count"]:  # Those that were read may have been deleted since.
            msg = (
                f"{position['count']} objects of {self._session.given.describe()} were there up to {self._last}, and "
                f"now {now} are: objects may only be added behind the last one"
            )
            raise InputError(msg)
        if position.get("over"):
            self._session.begun(self._last, position["etag"])
        else:
            self._copy = Copy(self._session, self._last, position["at"], position["etag"])

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

    def _note(self, copy: Copy) -> None:
        at = copy.position()
        if copy.etag is None or at is None:
            return
        place = {"object": copy.name, "etag": copy.etag, "at": at, "before": self._before, "count": self._count}
        self._place = {**place, "ordinal": self._before + at["ordinal"], **({"over": True} if copy.is_over else {})}
        if copy.is_over:
            self._before += at["ordinal"]
            self._place["before"] = self._before

    def _begin(self) -> bool:
        """Go on to the next object, and have the one behind it copied; False when there is none."""
        if self._follow:
            self._look()
        if self._count >= len(self._names):
            return False
        name = self._names[self._count]
        coming, self._next = self._next, None
        if coming is not None and coming.name != name:  # Another has come before it.
            coming.close()
            coming = None
        self._copy = Copy(self._session, name, None, None) if coming is None else coming
        self._last = name
        self._count += 1
        if self._count < len(self._names):
            self._next = Copy(self._session, self._names[self._count], None, None)
            self._next.begin()
        return True

    def _look(self) -> None:
        """Take objects that have come behind the last one. Raises `InputError` for one that has come before it."""
        if self._session.objects is self._listing:
            return
        self._listing = self._session.objects
        names = list(self._listing)
        if self._last is not None and self._last not in names:
            names = in_order([*names, self._last])
        if names == self._names:
            return
        known = self._names[: self._count]
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
