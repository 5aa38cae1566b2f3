"""What the processes around an inbox's log tell each other: some numbers in a small file that all of them map.

There is one writer and there may be many readers, in other processes. A reader must see nothing that is not durable:
after a loss of power its position would lie behind the end of the log. So it does not look at the size of the file but
at `next`, which the writer raises after each sync. To look costs a fifth of a microsecond, and so a reader can be asked
a thousand times a second whether there is anything.

Each cell is eight bytes, aligned, and stored and loaded whole. After a crash of the machine the file may hold older
numbers, never newer ones: what was stored was durable by then. `boot` tells such a case: `next` counts only when it was
written since the machine started.

**Receipt times.** An event with ingestion time happens when the log took it. A reader that has read everything must
let time go on all the same, and then no event may come that happened before. Therefore `claimed_ms`: a reader raises it
to the present while no append is under way, and each append takes a time not below it. The lock `clock` keeps the two
apart. A reader that does not get it at once tries again later.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from headway.state.private import make_private, open_private

__all__ = ["Cells", "boot_number"]

_SIZE: Final = 4096
_NEXT, _BOOT, _OLDEST, _NEEDED, _CLAIMED, _FAILED = range(6)


@cache
def boot_number() -> int:
    """A number that tells this start of the machine from others; 1 where the system does not say."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return 1
    return int.from_bytes(blake2b(text, digest_size=7).digest(), "little") | 1


class Cells:
    """The numbers of one log; made where there are none. Raises `OSError`."""

    def __init__(self, directory: Path) -> None:
        make_private(directory)
        descriptor = open_private(directory / "tail", os.O_RDWR | os.O_CREAT)
        try:
            if os.fstat(descriptor).st_size < _SIZE:
                os.ftruncate(descriptor, _SIZE)
            self._memory = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        self._cells = memoryview(self._memory).cast("Q")
        self._clock = open_private(directory / "clock", os.O_RDWR | os.O_CREAT)

    def close(self) -> None:
        """Let go of the files."""
        self._cells.release()
        self._memory.close()
        os.close(self._clock)

    @property
    def is_current(self) -> bool:
        """Whether `next` was written since the machine started, and so is what is durable."""
        return self._cells[_BOOT] == boot_number()

    @property
    def next(self) -> int:
        """The number of the next record: all before it are durable."""
        return self._cells[_NEXT]

    def publish(self, number: int) -> None:
        """Say that all records before a number are durable."""
        self._cells[_NEXT] = number
        self._cells[_BOOT] = boot_number()

    def restore(self, number: int, claimed_ms: int) -> None:
        """Say what a copy of the log holds; what is on the disk is looked through when it is opened."""
        self._cells[_NEXT] = number
        self._cells[_BOOT] = 0
        self._cells[_CLAIMED] = claimed_ms

    @property
    def oldest(self) -> int:
        """The number of the first record that is still there."""
        return self._cells[_OLDEST]

    @oldest.setter
    def oldest(self, number: int) -> None:
        self._cells[_OLDEST] = number

    @property
    def needed(self) -> int:
        """The number of the first record that the flow may still ask for."""
        return self._cells[_NEEDED]

    @needed.setter
    def needed(self, number: int) -> None:
        self._cells[_NEEDED] = number

    @property
    def claimed_ms(self) -> int:
        """No record will get an earlier receipt time, in epoch milliseconds."""
        return self._cells[_CLAIMED]

    @property
    def has_failed(self) -> bool:
        """Whether a sync has failed: what is behind `next` must not be trusted, whatever can be read."""
        return bool(self._cells[_FAILED])

    @has_failed.setter
    def has_failed(self, value: bool) -> None:
        self._cells[_FAILED] = value

    @contextmanager
    def appending(self) -> Iterator[None]:
        """Inside of this block nobody raises `claimed_ms`."""
        fcntl.flock(self._clock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._clock, fcntl.LOCK_UN)

    def claim(self, wall_ms: int, following: int) -> int:
        """The time before which no further record happens, for a reader that has read up to the record `following`.

        It is raised to the present, unless an append is under way or records wait to be read; 0 when nothing is known.
        """
        try:
            fcntl.flock(self._clock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        try:
            if self.next != following:
                return 0
            self._cells[_CLAIMED] = max(self._cells[_CLAIMED], wall_ms)
            return self._cells[_CLAIMED]
        finally:
            fcntl.flock(self._clock, fcntl.LOCK_UN)
