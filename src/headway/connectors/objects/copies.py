"""Copies of objects: made by a thread, then read, and removed when they have been read to their end."""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Optional

from headway.connectors.base import Chunk, Extent, PartitionReader, Position
from headway.connectors.columns.reader import FileReader as ColumnsReader
from headway.connectors.filereader import FileReader as LinesReader
from headway.errors import InputError
from headway.formats.columns import COLUMNS

if TYPE_CHECKING:
    from headway.connectors.objects.session import Found, ObjectsSession

__all__ = ["Copy", "OpenCopies", "open_most"]

_OPEN_MAX: Final = 2_000
_OPEN_LEAST: Final = 32
_SHARE: Final = 4
"""Of the files that a process may have open, one in so many may be a copy: the state needs the others."""


def open_most() -> int:
    """How many copies a process may have open at a time."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _OPEN_MAX if allowed == resource.RLIM_INFINITY else max(_OPEN_LEAST, min(_OPEN_MAX, allowed // _SHARE))


class OpenCopies:
    """The copies of a process that are open as files. Used by one thread.

    At most `most` are: the one that was not read for longest is put away before another is opened. When it is read
    again, a compressed one is read over from its beginning, which is slow. Rejected: to let objects wait until others
    have been read to their end. Time goes on with the slowest, so that all have to be begun.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: OrderedDict[Copy, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def use(self, copy: Copy) -> None:
        """A copy is read now, and open, or will be at once."""
        self._open[copy] = None
        self._open.move_to_end(copy)
        if len(self._open) > self._most:
            self._open.popitem(last=False)[0].put_away()

    def leave(self, copy: Copy) -> None:
        """A copy is not open any more."""
        self._open.pop(copy, None)


class Copy:
    """An object that is copied when it is first read, or before, with `begin`. Closed when it is over.

    `at` is a position in it, with the ETag that it has to have. A chunk is decoded before another copy is read.
    """

    def __init__(self, session: ObjectsSession, name: str, at: Optional[Position], etag: Optional[str]) -> None:
        self.name = name
        self.etag = etag
        self.is_over = False
        self._session = session
        self._at = at
        self._coming: Optional[Future[tuple[str, Found]]] = None
        self._path: Optional[str] = None
        """Where the copy is, until it is over."""
        self._reader: Optional[PartitionReader] = None
        self._size = 0

    def begin(self) -> None:
        """Have it copied, if nobody has done so."""
        if self._coming is None and self._path is None and not self.is_over:
            self._coming = self._session.copy(self.name, self.etag)

    @property
    def has_more(self) -> bool:
        """Whether there is something to be read."""
        return self._path is not None or (self._coming is not None and self._coming.done())

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next records; None while it is being copied, and when it is over."""
        self.begin()
        if self._coming is not None:
            if not self._coming.done():
                return None
            self._path, found = self._coming.result()
            self._coming, self._size = None, found.size
            self.etag = found.etag
            self._session.begun(self.name, found.etag)
        if self._path is None:
            return None
        self._session.open_copies.use(self)
        if self._reader is None:
            self._reader = self._opened(self._path)
        chunk = self._reader.read(max_bytes)
        if chunk is None and self._reader.at_end:
            self.is_over = True
            self.close()
        return chunk

    def _opened(self, path: str) -> PartitionReader:
        form = self._session.given.format
        try:
            if form is COLUMNS:
                return ColumnsReader(path, self.name, self._at)
            return LinesReader(path, self._at, follow=False, held=True, header=form.has_header)
        except InputError as error:
            msg = f"{self.name} of {self._session.given.describe()}: {error}"
            raise InputError(msg) from error

    def position(self) -> Optional[Position]:
        """Where the next record is in the object."""
        return self._at if self._reader is None else self._reader.position()

    @property
    def extent(self) -> Extent:
        """Bytes of the object."""
        reader = self._reader
        found = None if reader is None else reader.extent
        return found or Extent(self._size if self.is_over else 0, self._size)

    def put_away(self) -> None:
        """Close the file, which is kept."""
        reader = self._reader
        if reader is not None:
            self._at, self._reader = reader.position(), None
            reader.close()

    def close(self) -> None:
        """Remove the copy, or what is being copied."""
        self.put_away()
        self._session.open_copies.leave(self)
        coming, path = self._coming, self._path
        self._coming = self._path = None
        if coming is not None and not coming.cancel():
            coming.add_done_callback(_remove_what_came)
        if path is not None:
            _remove(path)


def _remove_what_came(coming: Future[tuple[str, Found]]) -> None:
    if not coming.cancelled() and coming.exception() is None:
        _remove(coming.result()[0])


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):  # The session may have removed its folder.
        os.unlink(path)
