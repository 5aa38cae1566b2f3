"""Which attempts workers have, noted in the state directory, so that a flow that is started again knows it.

Without it a step that takes hours would be begun anew, on another worker, whenever the flow's process is. The notes are
a help and no promise: they are not synced, and where they are lost, a step runs again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Optional

import msgspec

__all__ = ["LeaseBook", "LeaseNote"]

_COMPACT_AT: Final = 10_000
"""Notes that say nothing any more, after which the file is written anew."""


class LeaseNote(msgspec.Struct, array_like=True, frozen=True):
    """A lease of an attempt of a call. One without a lease says that the call has none any more."""

    key: str
    at_ms: int
    attempt: int = 0
    lease: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(LeaseNote).decode


class LeaseBook:
    """The notes of one process of a flow. It knows those of the other ones as they were when it was opened."""

    def __init__(self, directory: Path, worker: int) -> None:
        self._path = directory / f"leases-{worker:02d}.jsonl"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        known: dict[str, LeaseNote] = {}
        for path in sorted(directory.glob("leases-*.jsonl")):
            for note in _read(path):
                if note.key not in known or known[note.key].at_ms <= note.at_ms:
                    known[note.key] = note
        self._live = {key: note for key, note in known.items() if note.lease}
        self._former = dict(self._live)
        self._file: Optional[BinaryIO] = None
        self._write_anew()

    def former(self, key: str, attempt: int) -> str:
        """The lease that an attempt had when the flow was ended; once. Empty where it had none."""
        note = self._former.pop(key, None)
        return note.lease if note is not None and note.attempt == attempt else ""

    def note(self, key: str, attempt: int, lease: str, now_ms: int) -> None:
        """An attempt has a lease from now on. Some microseconds."""
        self._live[key] = LeaseNote(key, now_ms, attempt, lease)
        self._append(self._live[key])

    def drop(self, key: str, now_ms: int) -> None:
        """A call has no lease any more."""
        if self._live.pop(key, None) is not None:
            self._append(LeaseNote(key, now_ms))

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()

    def _append(self, note: LeaseNote) -> None:
        assert self._file is not None
        self._count += 1
        # What cannot be written, as on a full disk, costs at worst that a step runs again.
        with suppress(OSError):
            self._file.write(_encode(note) + b"\n")
            if self._count > len(self._live) + _COMPACT_AT:
                self._write_anew()

    def _write_anew(self) -> None:
        beside = self._path.with_suffix(".new")
        with open(beside, "wb", opener=_private) as file:
            file.write(b"".join(_encode(note) + b"\n" for note in self._live.values()))
        os.replace(beside, self._path)
        if self._file is not None:
            self._file.close()
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - it lives as long as the book
        self._count = len(self._live)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read(path: Path) -> list[LeaseNote]:
    """The notes of a file; the last line may be cut off."""
    found = []
    with suppress(OSError):
        for line in path.read_bytes().split(b"\n"):
            with suppress(msgspec.DecodeError):
                found.append(_decode(line))
    return found
