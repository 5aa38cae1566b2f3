"""One key group on disk: one RocksDB that the stages of a flow share."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec, StageStore
from headway.state.waiting import InputCodec

__all__ = ["GroupStore"]


class GroupStore:
    """The open database of one key group; at most one per group in a process."""

    @classmethod
    def open(cls, directory: Path | str, group: int, options: StoreOptions | None = None) -> GroupStore:
        """Open (or create) `<directory>/groups/<NNN>/`."""
        raise NotImplementedError

    def stage(self, name: str, operators: Sequence[OperatorSpec], inputs: Sequence[InputCodec]) -> StageStore:
        """The store of stage `name`; asked for once per stage."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the database; what is not committed is gone. Closing again does nothing."""
        raise NotImplementedError
