"""One key group on disk: one RocksDB that the stages of a flow share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from headway.errors import IncompatibleStateError, InternalError, StateError
from headway.state.database import CONTROL, VERSION_BYTE, Database
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec, StageStore
from headway.state.waiting import InputCodec

__all__ = ["GroupStore"]

_FORMAT_KEY: Final = b"format"
_FORMAT: Final = 2


class GroupStore:
    """The open database of one key group; at most one per group at a time. A context manager.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory, GroupStore.open(directory, 0) as group:
    ...     stage = group.stage("count", [OperatorSpec("count", dict)], [InputCodec()])
    ...     stage.resume(None)
    ...     row = stage.tables[0].fetch("key")
    ...     row.state["seen"] = 1
    ...     stage.tables[0].mark(row)
    ...     stage.commit({"position": 17}), stage.row_count
    (1, 1)
    """

    def __init__(self, database: Database, options: StoreOptions) -> None:
        self._database = database
        self._options = options
        self._stages: set[str] = set()

    @classmethod
    def open(cls, directory: Path | str, group: int, options: StoreOptions | None = None) -> GroupStore:
        """Open (or create) `<directory>/groups/<NNN>/`, in milliseconds however much it holds.

        Raises `LockedStateError` when it is open already, here or in another process, `IncompatibleStateError` when
        what lies there was written for another group or in another format, and `StateError` when RocksDB refuses.
        """
        chosen = options or StoreOptions()
        database = Database(Path(directory), group, chosen)
        try:
            _check_format(database)
        except BaseException:
            with suppress(StateError):  # The error under way is what matters, and may be the cause of this one.
                database.close()
            raise
        return cls(database, chosen)

    def stage(self, name: str, operators: Sequence[OperatorSpec], inputs: Sequence[InputCodec]) -> StageStore:
        """The store of stage `name`, to be asked for once; the positions in the two lists are the ranks."""
        if not name or "\0" in name or name in self._stages:
            msg = f"stage name {name!r}: expected one without NUL that is not taken ({sorted(self._stages)})"
            raise InternalError(msg)
        self._stages.add(name)
        return StageStore(name, operators, inputs, self._database, self._options)

    def close(self) -> None:
        """Close the database; what is not committed is gone. Closing again does nothing."""
        self._database.close()

    def __enter__(self) -> GroupStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_format(database: Database) -> None:
    """Make sure that the database is what its path says; a new one is given its label."""
    expected = [_FORMAT, database.group]
    payload = database.get(CONTROL, _FORMAT_KEY)
    if payload is None:
        batch = database.batch()
        batch.put(CONTROL, _FORMAT_KEY, VERSION_BYTE + msgspec.msgpack.encode(expected))
        database.write(batch, sync=False)
        return
    try:
        found = msgspec.msgpack.decode(payload, type=list[int])
    except msgspec.DecodeError as error:
        raise database.corrupt(CONTROL, _FORMAT_KEY, f"not a label ({error})") from error
    if found != expected:
        msg = (
            f"{database.path} holds [format, key group] {found}, expected {expected}: "
            "use the version of Headway that wrote it, and leave the directories of the key groups where they were"
        )
        raise IncompatibleStateError(msg)
