"""One key group on disk: one RocksDB that the stages of a flow share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from headway.errors import IncompatibleStateError, InternalError, StateError
from headway.state.database import CONTROL, OUTBOX, PENDING, VERSION_BYTE, WAITING, Database
from headway.state.feed import FeedWriter
from headway.state.inputs import InputCodec
from headway.state.keys import task_prefix
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec, StageStore, feeding
from headway.state.syncs import Syncs

__all__ = ["GroupStore", "close_all", "label"]

_FORMAT_KEY: Final = b"\xff\xff\xff\xffformat"
_FORMAT: Final = 3
_OF_A_GENERATION: Final = (CONTROL, OUTBOX, PENDING, WAITING)


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

    def __init__(
        self,
        database: Database,
        options: StoreOptions,
        generation: int,
        feed: FeedWriter | None,
        syncs: Syncs | None,
    ) -> None:
        self._database = database
        self._feed = feed
        self._syncs = syncs
        self._options = options
        self._generation = generation
        self._tasks: dict[int, str] = {}

    @classmethod
    def open(
        cls,
        directory: Path | str,
        group: int,
        options: StoreOptions | None = None,
        *,
        generation: int = 1,
        run: int = 0,
        syncs: Syncs | None = None,
    ) -> GroupStore:
        """Open (or create) `<directory>/groups/<NNN>/`, in milliseconds however much it holds.

        What other generations than the given one left is removed. `run` is the number of the run, where what it
        changes is fed to readers. With `syncs` its stages do not wait for the disk themselves: whoever tells others of
        what they have committed waits for those first, and closes them before the group.

        Raises `LockedStateError` when it is open already, here or in another process, `IncompatibleStateError` when
        what lies there was written for another group or in another format, and `StateError` when RocksDB refuses.
        """
        chosen = options or StoreOptions()
        database = Database(Path(directory), group, chosen)
        try:
            _check_format(database)
            _remove_other_generations(database, generation)
        except BaseException:
            with suppress(StateError):  # The error under way is what matters, and may be the cause of this one.
                database.close()
            raise
        return cls(database, chosen, generation, FeedWriter(Path(directory), group, run) if run else None, syncs)

    def stage(
        self,
        name: str,
        operators: Sequence[OperatorSpec],
        inputs: Sequence[InputCodec],
        *,
        task: int = 0,
        carried: int = 0,
        shown: Collection[int] = (),
    ) -> StageStore:
        """The store of a task by its number, to be asked for once; `name` is for messages.

        The positions in the two lists are the ranks. The first `carried` inputs are not of today's plan. `shown` are
        the numbers of operators and indexes that views show.
        """
        if task in self._tasks:
            msg = (
                f"task {task} of key group {self._database.group} is open as {self._tasks[task]!r}; please report this"
            )
            raise InternalError(msg)
        self._tasks[task] = name
        prefix = task_prefix(self._generation, task)
        fed = None if self._feed is None else feeding(self._feed, task, operators, shown)
        return StageStore(name, prefix, operators, inputs, self._database, self._options, carried, fed, self._syncs)

    def checkpoint(self, path: Path) -> None:
        """See `Database.checkpoint`: all that is durable, and what is pending."""
        self._database.checkpoint(path)

    def close(self) -> None:
        """Close the database; what is not committed is gone. Closing again does nothing."""
        if self._feed is not None:
            self._feed.close()
        self._database.close()

    def __enter__(self) -> GroupStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def close_all(groups: Iterable[GroupStore]) -> None:
    """Close all of them; raises the first `StateError` once all are closed."""
    refused: list[StateError] = []
    for group in groups:
        try:
            group.close()
        except StateError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def label(group: int) -> tuple[bytes, bytes]:
    """The key and the value by which the database of a group says what it is."""
    return _FORMAT_KEY, VERSION_BYTE + msgspec.msgpack.encode([_FORMAT, group])


def _check_format(database: Database) -> None:
    """Make sure that the database is what its path says; a new one is given its label."""
    expected = [_FORMAT, database.group]
    payload = database.get(CONTROL, _FORMAT_KEY)
    if payload is None:
        batch = database.batch()
        batch.put(CONTROL, *label(database.group))
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


def _remove_other_generations(database: Database, generation: int) -> None:
    """Remove what belongs to plans of before, or to a change of plan that was interrupted."""
    this, following = task_prefix(generation, 0), task_prefix(generation + 1, 0)
    batch = database.batch()
    found = False
    for family in _OF_A_GENERATION:
        for start, end in ((task_prefix(0, 0), this), (following, _LAST)):
            for key, _ in database.scan(family, start, end):
                batch.delete(family, key)
                found = True
    if found:
        database.write(batch, sync=False)


_LAST: Final = b"\xff" * 4
