"""Where the sources stood when a generation began: what their readers go on from until the engine's log knows more."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import msgspec

from headway.basics.crashpoints import reached
from headway.errors import CorruptStateError
from headway.state.files import RESTORE, state_files
from headway.state.private import read_private, write_private
from headway.state.seal import checksum

__all__ = ["Positions", "SourcePosition"]


class SourcePosition(msgspec.Struct, frozen=True, kw_only=True):
    """How far a source has been read."""

    id: int
    """The number of the source."""
    partitions: dict[str, tuple[Optional[dict[str, Any]], Optional[int]]] = {}
    """By partition: the connector's position, and the latest event time so far, in epoch milliseconds."""
    counts: tuple[int, int, int] = (0, 0, 0)
    """Records that were read, that were late, and that became dead letters."""
    first_letter: Any = None
    failures: dict[str, Any] = {}
    """How often code of the flow has failed on its events, and how at first."""
    redrive: dict[str, int] | None = None
    """How far its redriven dead letters have been read."""
    floor: int | msgspec.UnsetType = msgspec.UNSET
    """The event time, in epoch milliseconds, that a partition counts from which is found later; left out where any of
    its readers had no time yet."""


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """The positions of all sources, by name, those among them that the flow no longer has."""

    sources: dict[str, SourcePosition] = {}
    checksum: str = ""
    """In the file: of all the rest."""

    @classmethod
    def load(cls, directory: Path, generation: int) -> Positions:
        """Those with which a generation began; none for the first. Raises `CorruptStateError` for a damaged file."""
        path = _path(directory, generation)
        with state_files(path, "read"):
            try:
                data = read_private(path)
            except FileNotFoundError:
                return cls()
        try:
            found = msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            msg = f"{path} cannot be read ({error}): {RESTORE}"
            raise CorruptStateError(msg) from error
        bare = msgspec.structs.replace(found, checksum="")
        if found.checksum != bare._sum():
            msg = f"{path} is damaged: its checksum is {found.checksum!r}, expected {bare._sum()!r}; {RESTORE}"
            raise CorruptStateError(msg)
        return bare

    def store(self, directory: Path, generation: int) -> None:
        """Write them durably and atomically, in the place of what an interrupted change may have left."""
        path = _path(directory, generation)
        sealed = msgspec.structs.replace(self, checksum=self._sum())
        reached("positions.before")
        with state_files(path, "write"):
            write_private(path, msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n", sync=True)
        reached("positions.after")

    @staticmethod
    def remove_others(directory: Path, generation: int) -> None:
        """Remove those of all generations but one."""
        with state_files(directory, "write"):
            for path in directory.glob("positions-*.json"):
                if path != _path(directory, generation):
                    path.unlink(missing_ok=True)

    def _sum(self) -> str:
        return checksum(msgspec.json.encode(self))


def _path(directory: Path, generation: int) -> Path:
    return directory / f"positions-{generation}.json"
