"""The dead letters of a state directory, from outside: reading the durable ones, and putting them back in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.basics.crashpoints import reached
from headway.basics.syncing import sync_directory
from headway.errors import CorruptStateError, UsageError
from headway.plan.planner import DEAD_LETTER_SINK
from headway.runtime.redrive import Redriven, decode_redriven, letter_id, redrive_path, why_not
from headway.state.files import state_files
from headway.state.private import make_private, open_private
from headway.state.reader import StateReader
from headway.types.letters import DeadLetter

__all__ = ["Done", "Letterbox"]

_BATCH: Final = 1_000
"""Letters that are appended at a time."""
_ONE_READ: Final = 1 << 16


class Done(NamedTuple):
    """What a call of `redrive` has done."""

    redriven: int
    before: int
    """Letters that had been redriven by an earlier call."""
    refused: dict[str, int]
    """Letters that cannot be, by the reason."""


class Letterbox:
    """The dead letters of a state directory, also while a run is using it.

    Seen are those of epochs that are durable: what a crash may still take back is not shown, and not redriven, since
    the record would come again by itself.
    """

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir
        with StateReader(state_dir) as reader:
            self._manifest = reader.manifest
            has_letters = DEAD_LETTER_SINK in reader.manifest.outputs
            position: Any = reader.output_position(DEAD_LETTER_SINK) if has_letters else None
        self._ends: dict[str, int] = {name: at["offset"] for name, at in sorted((position or {}).items())}
        self._redriven: Optional[set[str]] = None

    def letters(self) -> Iterator[DeadLetter]:
        """All of them: those of each partition in the order of its log, then those of operators by time."""
        for name, end in sorted(self._ends.items(), key=lambda item: ("/" not in item[0], item[0])):
            path = self._directory / "dead-letters" / name
            left = end
            with state_files(path, "read"), path.open("rb") as file:
                while left > 0:
                    line = file.readline(left)
                    if not line:
                        msg = f"{path} has {end - left} bytes, and {end} of it are durable: restore it from a backup"
                        raise CorruptStateError(msg)
                    left -= len(line)
                    yield _letter(line, f"{path}")

    def is_redriven(self, letter: DeadLetter) -> bool:
        """Whether a letter has been put back in."""
        return letter_id(letter) in self._known()

    def redrive(self, wanted: Callable[[DeadLetter], bool], mended: Optional[Path] = None) -> Done:
        """Put letters back in that are wanted, or those of a file that holds mended ones.

        Each goes in once, however often and by how many at a time this is called. Raises `UsageError` for a line of the
        file that is none of the letters, `DrainedStateError` where no run would read what is put in.
        """
        self._manifest.check_undrained(self._directory, draining=False)
        with self._locked():
            self._redriven = None
            known = self._known()
            todo: dict[str, list[Redriven]] = {}
            redriven = before = 0
            refused: dict[str, int] = {}
            for letter in self.letters() if mended is None else self._mended(mended):
                if not wanted(letter):
                    continue
                fault = why_not(letter) or (None if letter.raw.strip() else "it is blank")
                if fault is not None:
                    refused[fault] = refused.get(fault, 0) + 1
                    continue
                identity = letter_id(letter)
                if identity in known:
                    before += 1
                    continue
                known.add(identity)
                redriven += 1
                raw = letter.raw.replace("\n", " ")
                batch = todo.setdefault(letter.source, [])
                batch.append(Redriven(identity, raw, letter.into, letter.key, letter.time))
                if len(batch) == _BATCH:
                    self._append(letter.source, batch)
                    batch.clear()
            for source, batch in todo.items():
                self._append(source, batch)
        return Done(redriven, before, refused)

    def _mended(self, path: Path) -> Iterator[DeadLetter]:
        """The letters of a file, mended; none of them where one is not ours."""
        found: list[tuple[int, DeadLetter]] = []
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    found.append((number, msgspec.json.decode(line, type=DeadLetter)))
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    msg = f"{path}, line {number}: {error}; expected letters as `dead-letters show --json` writes them"
                    raise UsageError(msg) from None
        # Only the text and the key are taken from the file: another time or operator would be no redriven letter.
        asked = {letter_id(letter) for _, letter in found}
        ours = {identity: letter for letter in self.letters() if (identity := letter_id(letter)) in asked}
        for number, letter in found:
            if letter_id(letter) not in ours:
                msg = (
                    f"{path}, line {number}: {self._directory} has no dead letter at {letter.position!r} of "
                    f"{letter.partition!r} of the source {letter.source!r}; mend `raw` and `key`, and leave the "
                    "rest as it is"
                )
                raise UsageError(msg)
        for _, letter in found:
            own = ours[letter_id(letter)]
            key = own.key if own.key is None or letter.key is None else letter.key
            yield msgspec.structs.replace(own, raw=letter.raw, key=key)

    def _known(self) -> set[str]:
        if self._redriven is None:
            self._redriven = set()
            for source in self._manifest.sources:
                path = redrive_path(self._directory, source)
                with state_files(path, "read"):
                    if not path.exists():
                        continue
                    offset = 0
                    with path.open("rb") as file:
                        for line in file:
                            if line.endswith(b"\n"):
                                self._redriven.add(decode_redriven(line, path, offset).letter)
                                offset += len(line)
        return self._redriven

    def _append(self, source: str, batch: list[Redriven]) -> None:
        """Append lines, durably. Readers take whole lines only: what a killed call has left half is cut off."""
        if not batch:
            return
        path = redrive_path(self._directory, source)
        data = b"".join(msgspec.json.encode(redriven) + b"\n" for redriven in batch)
        with state_files(path, "write"):
            is_new = not path.exists()
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                end = _whole(file)
                os.ftruncate(file, end)
                reached("redrive.before")
                view = memoryview(data)
                while view:
                    written = os.pwrite(file, view, end)
                    view, end = view[written:], end + written
                os.fsync(file)
                reached("redrive.after")
            finally:
                os.close(file)
            if is_new:
                sync_directory(path.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One call at a time; a run needs no lock, since it only reads."""
        folder = self._directory / "redrive"
        with state_files(folder, "write"):
            make_private(folder)
            sync_directory(self._directory)
            lock = open_private(folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _letter(line: bytes, where: str) -> DeadLetter:
    try:
        return msgspec.json.decode(line, type=DeadLetter)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"{where} holds a line that is no dead letter ({error}): restore it from a backup"
        raise CorruptStateError(msg) from error


def _whole(file: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _ONE_READ)
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0
