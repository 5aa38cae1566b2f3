"""Which state directory this is, and which backup it has last made or come from: `backup.json` in it.

By that a run knows whether the backups of a place are its own past. A directory that comes back after another one has
gone on from its last backup must not add to these: what it holds is behind them.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import msgspec

from headway.errors import CorruptStateError
from headway.state.files import state_files
from headway.state.private import make_private, read_private, write_private

__all__ = ["Identity"]

_NAME: Final = "backup.json"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What `backup.json` holds."""

    directory: str
    """What tells this directory from all others: random."""
    place: str = ""
    """That of the catalog in which `seen` is."""
    seen: int = 0
    """The version of the catalog with the last backup that the directory has made, or come from."""

    @classmethod
    def of(cls, directory: Path) -> Identity:
        """That of a state directory; a new one, which is not kept yet, where there is none."""
        path = directory / _NAME
        with state_files(path, "read"):
            try:
                return msgspec.json.decode(read_private(path), type=cls)
            except FileNotFoundError:
                return cls(directory=secrets.token_hex(8))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                msg = f"{path} cannot be read ({error}): remove it, and start the run with --backup-take-over"
                raise CorruptStateError(msg) from error

    def keep(self, directory: Path) -> None:
        """Write it, durably."""
        with state_files(directory, "write"):
            make_private(directory)
            write_private(directory / _NAME, msgspec.json.encode(self) + b"\n", sync=True)
