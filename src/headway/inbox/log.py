"""The durable append log of an inbox: one writer, many readers.

**What holds.** A batch is in the log whole or not at all. `append` returns when what it was given is durable, and a
number that it has returned stays that batch's for ever. Whatever ends the process or the machine at whatever moment,
the next start finds all batches that were acknowledged, in their order, and nothing behind them but whole batches that
were not: a client that got no answer asks again with the same idempotency key.

**Group commit.** `append` takes as many batches as there are, writes them with one call and syncs once. It does not
wait for more to come: while one sync is under way the next group gathers by itself, and is the larger the slower the
disk. A pause of some milliseconds, as other logs make it, would only add to the latency of whoever asks alone.

**Faults.** When there is no room, what was written of the group is cut off again, its batches fail, and the log goes
on. After a sync that failed nothing is known of what is on the disk, and to sync again would tell a lie (the kernel
takes pages that it could not write for clean; this is what PostgreSQL learnt in 2018). So the log is broken from then
on: all batches fail until the next start, which cuts off what was not published and begins a new file. The numbers of
the cut batches are given again, in the new file: where two files have the same record, the later one counts. So it
matters nothing whether the cut itself, or the damage, reaches the disk.

**Recovery.** Within one start of the machine the number that the writer has published says what is durable; all behind
it is cut. After a loss of power that number may be old, and the frames' checksums decide. A hole with something behind
it that knows of durable bytes at the hole is not a torn end but damage, and is refused.

**Deletion.** A file goes when the flow needs no record of it any more and the youngest is older than the retention,
which is at least the window of idempotency keys: they are read from the log's files at the start. Files are small, and
so nothing of a file is deleted before all of it can be.

Rejected: SQLite or RocksDB as the log (an acknowledged batch costs two syncs, or a log of a log, and readers in other
processes need their protocols); one file for each partition of a shared log with one sync for all (there is none); to
preallocate files (a reader of bytes could not tell the end, and recovery would take zeros for a hole).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Final, NamedTuple, Optional

from headway.basics.crashpoints import reached, synced
from headway.basics.histogram import Histogram
from headway.errors import LockedStateError, StateError
from headway.inbox.cells import Cells
from headway.inbox.files import Files
from headway.inbox.frames import SEGMENT_BYTES, Entry, Frame, pack_frame, segment_head, segment_name
from headway.inbox.recovery import Segment, recover
from headway.state.files import state_files
from headway.state.private import make_private, open_private

__all__ = ["Batch", "BrokenLogError", "InboxLog", "NoRoomError", "writing_alone"]

_LOCK_NAME: Final = "writer.lock"
_FULL: Final = (ENOSPC, EDQUOT, EFBIG)
ROOM_BYTES: Final = 64 << 20
"""What an inbox leaves free on its disk: the flow's state is on it, and a flow that cannot write cannot catch up."""


def machine_ms() -> int:
    """The wall clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class NoRoomError(StateError):
    """A batch was not appended, because the disk is full or nearly so; later ones may be."""


class BrokenLogError(StateError):
    """A batch was perhaps not made durable, and nothing is appended before the log has been opened anew."""


class Batch(NamedTuple):
    """Records to be appended together."""

    lines: bytes
    """Each a line of JSON with its end."""
    records: int
    entries: Sequence[Entry] = ()
    """Those that have an idempotency key."""


class InboxLog:
    """The writer of the log in a directory, which is made where there is none. Used by one thread.

    `retention_ms` is how long records stay at least; `segment_bytes` how large a file gets, about. `on_frame` is given,
    while the log is opened, each frame that was received within `window_ms`, in their order.

    Raises `LockedStateError` while another process writes, `CorruptStateError` for a damaged log, and `StateError` when
    the disk or the rights do not let it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        retention_ms: int = 0,
        window_ms: int = 0,
        segment_bytes: int = 64 << 20,
        room_bytes: int = ROOM_BYTES,
        on_frame: Callable[[Frame], None] = lambda frame: None,
        files: Optional[Files] = None,
        wall_ms: Callable[[], int] = machine_ms,
    ) -> None:
        self.directory = directory
        self._retention_ms = max(retention_ms, window_ms)
        self._segment_bytes = segment_bytes
        self._room_bytes = room_bytes
        self._files = files or Files()
        self.syncs = Histogram()
        """How long it took to make groups of batches durable."""
        self._wall_ms = wall_ms
        self._fd: Optional[int] = None
        self._broken: Optional[str] = None
        self._lock = _locked(directory)
        try:
            with state_files(directory):
                self._cells = Cells(directory)
                found = recover(directory, self._cells, self._files, on_frame, wall_ms() - window_ms)
                self._segments: list[Segment] = found.segments
                self._next = found.next
                self._received_ms = found.received_ms
                self._end = found.end
                if found.is_whole and self._segments:
                    self._fd = self._files.open(self._segments[-1].path)
                else:
                    self._roll()
                self._cells.has_failed = False
                self._cells.publish(self._next)
                self._delete()
        except BaseException:
            self.close()
            raise

    @property
    def next(self) -> int:
        """The number that the next record will get."""
        return self._next

    @property
    def received_ms(self) -> int:
        """The receipt time of the last records, in epoch milliseconds."""
        return self._received_ms

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be appended before it has been opened anew."""
        return self._broken is not None

    def append(self, batches: Sequence[Batch]) -> list[int]:
        """Make batches durable; returns the number of the first record of each. Costs one write and one sync.

        Raises `NoRoomError` or `BrokenLogError`: then none of them was appended.
        """
        self._check()
        with self._cells.appending():
            received_ms = max(self._wall_ms(), self._received_ms, self._cells.claimed_ms)
            numbers, frames, number = [], [], self._next
            for batch in batches:
                numbers.append(number)
                frames.append(pack_frame(number, batch.records, received_ms, self._end, batch.entries, batch.lines))
                number += batch.records
            data = b"".join(frames)
            reached("inbox.before")
            self._write(data)
            reached("inbox.after")
            self._sync()
            self._end += len(data)
            self._next = number
            self._received_ms = received_ms
            self._segments[-1] = self._segments[-1]._replace(received_ms=received_ms)
            self._cells.publish(number)
        if self._end >= self._segment_bytes:
            self._roll_later()
        return numbers

    def close(self) -> None:
        """Let go of the log; nothing remains to be done."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if hasattr(self, "_cells"):
            self._cells.close()
            del self._cells
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> InboxLog:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def _check(self) -> None:
        if self._broken is not None:
            msg = f"the inbox {self.directory} takes nothing until it is opened anew: {self._broken}"
            raise BrokenLogError(msg)
        with state_files(self.directory):
            free = self._files.free_bytes(self.directory)
        if free < self._room_bytes:
            msg = f"the disk of the inbox {self.directory} is nearly full: {free:,} bytes are free; free some space"
            raise NoRoomError(msg)

    def _write(self, data: bytes) -> None:
        assert self._fd is not None
        written = 0
        try:
            while written < len(data):
                written += self._files.write(self._fd, data[written:] if written else data, self._end + written)
        except OSError as error:
            if error.errno not in _FULL:
                raise self._break(error) from error
            try:
                self._files.truncate(self._fd, self._end)
            except OSError as failed:
                raise self._break(failed) from failed
            msg = f"the inbox {self.directory} cannot be written: {error.strerror}; free some space"
            raise NoRoomError(msg) from error

    def _sync(self) -> None:
        assert self._fd is not None
        began_s = time.perf_counter()
        reached("inbox-sync.before")
        try:
            self._files.sync(self._fd)
        except OSError as error:
            raise self._break(error) from error
        synced(self._segments[-1].path)
        reached("inbox-sync.after")
        self.syncs.observe(time.perf_counter() - began_s)

    def give_up(self, reason: str) -> None:
        """Take nothing any more: something is not as it should be."""
        self._broken = reason
        self._cells.has_failed = True

    def _break(self, error: OSError) -> BrokenLogError:
        self.give_up(f"a write failed: {error.strerror or error}")
        msg = (
            f"the inbox {self.directory} cannot be written: {error.strerror or error}; whether the last events are on "
            "the disk is not known: look at the disk, then start again"
        )
        return BrokenLogError(msg)

    def _roll_later(self) -> None:
        """Begin a new file, and delete old ones. What was appended is durable, whatever becomes of that."""
        try:
            self._roll()
            self._delete()
        except OSError as error:
            if error.errno not in _FULL or self._fd is None:
                self._break(error)

    def _roll(self) -> None:
        """Begin a new file; what is in the one before is durable."""
        path = self.directory / segment_name(self._next)
        with suppress(FileNotFoundError):  # One that is empty, or was cut off whole.
            self._files.remove(path)
        descriptor = self._files.create(path)
        try:
            head = segment_head(self._next)
            if self._files.write(descriptor, head, 0) != len(head):
                raise OSError(ENOSPC, os.strerror(ENOSPC), str(path))
            self._files.sync(descriptor)
            self._files.sync_directory(self.directory)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                self._files.remove(path)
            raise
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._end = descriptor, SEGMENT_BYTES
        self._segments = [segment for segment in self._segments if segment.first < self._next]
        self._segments.append(Segment(self._next, path, self._received_ms))

    def _delete(self) -> None:
        """Remove the files that nobody needs."""
        before_ms = self._wall_ms() - self._retention_ms
        while len(self._segments) > 1:
            oldest, follower = self._segments[0], self._segments[1]
            if follower.first > self._cells.needed or oldest.received_ms >= before_ms:
                break
            self._cells.oldest = follower.first  # First: a reader that finds no file looks here for the reason.
            self._files.remove(oldest.path)
            del self._segments[0]
        self._cells.oldest = self._segments[0].first


@contextmanager
def writing_alone(directory: Path) -> Iterator[None]:
    """Inside of this block nobody opens the log in a directory; raises `LockedStateError` when somebody has it open."""
    lock = _locked(directory)
    try:
        yield
    finally:
        os.close(lock)


def _locked(directory: Path) -> int:
    """The lock of a log's one writer. The file holds the number of its process."""
    with state_files(directory, "lock"):
        make_private(directory)
        descriptor = open_private(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            msg = f"the inbox {directory} is written by process {holder}: wait until it ends, or stop it"
            raise LockedStateError(msg) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
