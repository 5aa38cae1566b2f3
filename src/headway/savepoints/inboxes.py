"""The logs of inboxes in a savepoint: what was posted cannot be read again from anywhere else.

A log is append-only, and the state says by a number how far it has been read. So the log need not be as of the very
epoch of the savepoint: what was posted since is no mistake in it. It must have all from the first record on that the
state may ask for. Files that are finished are hard links; of the last one that is copied which is known to be durable.

**Put back.** In a directory that has the log already, it stays: it has what was posted since, which the restored state
reads again. Only files at its beginning that were deleted meanwhile come back. A log that is another one, or ends
sooner, is refused by name: to put the savepoint's in its place would lose what was acknowledged.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from headway.errors import IncompatibleStateError
from headway.inbox.cells import Cells
from headway.inbox.frames import SEGMENT_BYTES, frames_in
from headway.inbox.log import writing_alone
from headway.inbox.recovery import segments_in
from headway.state.copies import copy_file, link_file
from headway.state.files import INBOX_NAME, state_files
from headway.state.private import make_private, read_private, write_private

__all__ = ["check_inboxes", "keep_inboxes", "put_back_inboxes"]

_NUMBERS: Final = struct.Struct("<QQQQ")
_NUMBERS_NAME: Final = "numbers"


class _Numbers(NamedTuple):
    """What a log's cells say, as it is kept in a savepoint: those themselves change while they are copied."""

    next: int
    oldest: int
    needed: int
    claimed_ms: int


def keep_inboxes(directory: Path, draft: Path) -> None:
    """Copy all logs of a state directory into a draft; called again, what has come since.

    To be called before the epoch of the savepoint is chosen, so that nothing is deleted that it needs, and after it, so
    that all is there which it has read. Their writers may go on.
    """
    with state_files(directory / INBOX_NAME, "copy"):
        for name, log in _logs(directory / INBOX_NAME):
            kept = draft / INBOX_NAME / name
            make_private(kept)
            _keep(log, kept)


def _keep(log: Path, kept: Path) -> None:
    before = _read_numbers(kept)
    now = _cells_of(log)
    segments = segments_in(log)
    for number, (first, path) in enumerate(segments):
        target = kept / path.name
        is_last = number == len(segments) - 1
        try:
            if is_last:
                target.unlink(missing_ok=True)
                if first <= now.next:
                    _copy_durable(path, target, now.next)
            elif not target.exists() or os.stat(target).st_ino != os.stat(path).st_ino:
                target.unlink(missing_ok=True)  # It was the last one, and so a copy of what it had.
                link_file(path, target)
        except FileNotFoundError:
            continue  # Nobody needs what is deleted meanwhile, or it was there the first time.
    first_kept = min((first for first, _ in segments_in(kept)), default=now.next)
    numbers = _Numbers(now.next, first_kept, now.needed if before is None else before.needed, now.claimed_ms)
    write_private(kept / _NUMBERS_NAME, _NUMBERS.pack(*numbers))


def _copy_durable(path: Path, target: Path, following: int) -> None:
    """Copy the last file of a log up to a record that is the first one not known to be durable."""
    end = SEGMENT_BYTES
    for frame in frames_in(read_private(path)):
        if frame.next > following:
            break
        end = frame.end
    copy_file(path, target, end)


def check_inboxes(savepoint: Path, directory: Path) -> None:
    """Raise `IncompatibleStateError` where a directory has logs that do not go on from those of a savepoint."""
    with state_files(directory / INBOX_NAME, "read"):
        for name, kept in _logs(savepoint / INBOX_NAME):
            log = directory / INBOX_NAME / name
            if not (log / "tail").exists():
                continue
            numbers, now = _known(kept), _cells_of(log)
            is_other = any(
                (log / path.name).exists() and not _begins_with(log / path.name, path) for _, path in segments_in(kept)
            )
            if is_other or now.next < numbers.next or now.oldest > numbers.next:
                found = "it is another log"
                if not is_other:
                    found = f"it has those from {now.oldest:,} on, and ends before {now.next:,}"
                msg = (
                    f"the inbox {log} does not go on from the one in the savepoint, which has events before "
                    f"{numbers.next:,}: {found}; move it away if its events may be lost, or restore into another "
                    "directory"
                )
                raise IncompatibleStateError(msg)


def put_back_inboxes(savepoint: Path, directory: Path) -> None:
    """Let a directory have the logs of a savepoint; see the module's text. Again, it changes nothing.

    Nothing is lost for a state that is there still. Raises `LockedStateError` while somebody writes to one.
    """
    with state_files(directory / INBOX_NAME, "write"):
        for name, kept in _logs(savepoint / INBOX_NAME):
            log = directory / INBOX_NAME / name
            numbers = _known(kept)
            make_private(log)
            with writing_alone(log):
                was_there = (log / "tail").exists()
                for _, path in segments_in(kept):
                    if not (log / path.name).exists():
                        # A file of its own: the writer goes on in the last one, and the savepoint must not change.
                        copy_file(path, log / path.name)
                cells = Cells(log)
                try:
                    if not was_there:
                        cells.restore(numbers.next, numbers.claimed_ms)
                    cells.needed = min(numbers.needed, cells.needed) if was_there else numbers.needed
                    cells.oldest = min((first for first, _ in segments_in(log)), default=numbers.oldest)
                finally:
                    cells.close()


def _logs(folder: Path) -> Iterator[tuple[str, Path]]:
    """The logs of each inbox, by inbox and partition."""
    if not folder.is_dir():
        return
    for inbox in sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)):
        for entry in sorted(os.scandir(inbox), key=lambda one: one.name):
            if entry.is_dir(follow_symlinks=False):
                yield f"{Path(inbox).name}/{entry.name}", Path(entry.path)


def _cells_of(log: Path) -> _Numbers:
    cells = Cells(log)
    try:
        return _Numbers(cells.next, cells.oldest, cells.needed, cells.claimed_ms)
    finally:
        cells.close()


def _read_numbers(kept: Path) -> _Numbers | None:
    try:
        return _Numbers(*_NUMBERS.unpack(read_private(kept / _NUMBERS_NAME)))
    except FileNotFoundError:
        return None


def _known(kept: Path) -> _Numbers:
    """Those of a savepoint that was checked."""
    found = _read_numbers(kept)
    assert found is not None
    return found


def _begins_with(path: Path, kept: Path) -> bool:
    """Whether a file begins with all that another one holds."""
    expected = read_private(kept)
    with path.open("rb") as file:
        return file.read(len(expected)) == expected
