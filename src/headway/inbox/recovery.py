"""Opening the log of an inbox after whatever has ended the process or the machine before; see `headway.inbox.log`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from headway.errors import CorruptStateError
from headway.inbox.cells import Cells
from headway.inbox.files import Files
from headway.inbox.frames import (
    SEGMENT_BYTES,
    Frame,
    frames_in,
    is_damaged,
    segment_start,
)
from headway.state.files import RESTORE
from headway.state.private import read_private

_SEGMENT_NAME: Final = re.compile(r"\d{20}\.log")

__all__ = ["Recovered", "Segment", "recover", "segments_in"]


class Segment(NamedTuple):
    """One file of the log."""

    first: int
    """The number of its first record."""
    path: Path
    received_ms: int
    """The receipt time of its last record; where it has none, that of the one before it."""


class Recovered(NamedTuple):
    """What a writer goes on with."""

    segments: list[Segment]
    next: int
    end: int
    """The byte of the last file at which it goes on."""
    received_ms: int
    is_whole: bool
    """Whether it may go on in the last file; else in a new one."""


def segments_in(directory: Path) -> list[tuple[int, Path]]:
    """The files of a log and the numbers of their first records, in order. Raises `OSError`."""
    names = sorted(name for name in os.listdir(directory) if name.endswith(".log"))
    return [(int(name[:-4]), directory / name) for name in names if _SEGMENT_NAME.fullmatch(name)]


def recover(directory: Path, cells: Cells, files: Files, on_frame: Callable[[Frame], None], since_ms: int) -> Recovered:
    """Find the end of a log, cut off what is behind it, and hand on the frames that were received since `since_ms`.

    Reads the last file, and those before it that have such frames. Raises `CorruptStateError` when something is missing
    that was acknowledged.
    """
    found = segments_in(directory)
    trusted = cells.next if cells.is_current else None
    if found and _is_headless(found[-1][1]):
        # The process ended between making a file and writing its head: nothing was in it.
        files.remove(found.pop()[1])
    least = cells.next
    if trusted is not None:
        # What was begun behind the published end is not trusted, be it whole files.
        while found and found[-1][0] > trusted:
            files.remove(found.pop()[1])
    if not found:
        if least > 0:
            raise _lost(directory, least, 0)
        return Recovered([], 0, 0, 0, is_whole=False)
    segments, recent = _walk_back(found, since_ms)
    last_first, last_path = found[-1]
    data = read_private(last_path)
    following, end, received_ms = last_first, SEGMENT_BYTES, segments[-1].received_ms
    kept: list[Frame] = []
    for frame in frames_in(data):
        if frame.first != following or (trusted is not None and frame.next > trusted):
            break
        kept.append(frame)
        following, end, received_ms = frame.next, frame.end, frame.received_ms
    if following < least:
        raise _lost(directory, least, following)
    if trusted is None and is_damaged(data, end):
        msg = f"{last_path} is damaged at byte {end}: acknowledged events behind it cannot be read; {RESTORE}"
        raise CorruptStateError(msg)
    for frame in (*recent, *kept):
        if frame.received_ms >= since_ms:
            on_frame(frame)
    segments[-1] = Segment(last_first, last_path, received_ms)
    is_whole = end == len(data) and trusted is not None and not cells.has_failed
    if not is_whole:
        _cut(last_path, end, files)
    return Recovered(segments, following, end, received_ms, is_whole)


def _walk_back(found: list[tuple[int, Path]], since_ms: int) -> tuple[list[Segment], list[Frame]]:
    """The files but for the times of the last one, and the frames of the window in those before it."""
    times: list[int] = []
    recent: list[list[Frame]] = []
    for (first, path), (following, _) in zip(reversed(found[:-1]), reversed(found)):
        frames = [frame for frame in frames_in(read_private(path)) if frame.next <= following]
        if (frames[-1].next if frames else first) != following:
            raise _lost(path, following, frames[-1].next if frames else first)
        times.append(frames[-1].received_ms if frames else 0)
        if not frames or frames[-1].received_ms < since_ms:
            # Older files are older still; their times are found when they are to be deleted.
            times += [times[-1]] * (len(found) - 1 - len(times))
            break
        recent.append(frames)
    times.reverse()
    last_ms = times[-1] if times else 0
    segments = [Segment(first, path, time_ms) for (first, path), time_ms in zip(found, [*times, last_ms])]
    return segments, [frame for frames in reversed(recent) for frame in frames]


def _is_headless(path: Path) -> bool:
    return segment_start(read_private(path), path) is None


def _cut(path: Path, end: int, files: Files) -> None:
    """Cut a file for readers' sake and for room; no harm is done if that does not reach the disk."""
    descriptor = files.open(path)
    try:
        files.truncate(descriptor, end)
    finally:
        os.close(descriptor)


def _lost(place: Path, expected: int, found: int) -> CorruptStateError:
    msg = (
        f"{place} lacks acknowledged events: expected all before record {expected}, found those before {found}; "
        f"{RESTORE}"
    )
    return CorruptStateError(msg)
