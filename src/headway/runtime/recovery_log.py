"""The engine's recovery log, looked through before the engine does: it panics at what it cannot read or write.

**Tokens that never became durable.** At the end of an epoch the engine writes the token of each task that has worked in
it, and then that the epoch is over; it resumes from the last epoch that is over on all workers. A run that is killed in
between leaves tokens of an epoch that has not happened. The next run begins with the same epoch, and replaces those of
the tasks that work in it. One that does not, such as a key group that gets nothing so early, or that the run does not
even open, would get the left one back at the start after that: the engine takes the newest token below the epoch that
it resumes from, whoever wrote it. So they are removed before the engine is started.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from headway.errors import CorruptStateError, StateError
from headway.state.files import RESTORE, next_step, state_files

__all__ = ["prepare_recovery_log", "recovery_refusal", "sqlite_words"]

_APPLICATION_ID: Final = 0x48445759
_FIRST_EPOCH: Final = 1
_TABLES: Final = {"exs", "fronts", "commits", "parts", "snaps"}
_CORRUPT: Final = ("not a database", "malformed", "NotADatabase", "DatabaseCorrupt", "file is encrypted")


def prepare_recovery_log(directory: Path) -> None:
    """Make sure that a log of an earlier run can be read as a whole, and written; remove what never became durable.

    Nothing else may have the log open.

    Raises `CorruptStateError` for one that is damaged, or of which a file or a table is gone; `StateError` for one
    that the disk or the rights keep from being used.
    """
    with state_files(directory, "read"):
        parts = [directory / name for name in sorted(os.listdir(directory)) if name.endswith(".sqlite3")]
    if not parts:
        msg = f"the recovery log in {directory} is not whole: there is no part-0.sqlite3 in it; {RESTORE}"
        raise CorruptStateError(msg)
    for part in parts:
        try:
            _prepare(part)
        except sqlite3.Error as error:
            raise recovery_refusal(directory, " ".join(str(error).split())) from error


def _prepare(part: Path) -> None:
    with closing(sqlite3.connect(f"{part.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)) as database:
        [found] = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"malformed: {found}")  # noqa: EM102 - it is told by `recovery_refusal`
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables >= _TABLES:
            missing = ", ".join(sorted(_TABLES - tables))
            raise sqlite3.DatabaseError(f"malformed: it has no table {missing}")  # noqa: EM102 - as above
        # A write that means nothing to the engine, but needs room and rights as its own do.
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        epoch = _resume_epoch(database)
        [durable] = database.execute("SELECT MAX(commit_epoch) FROM commits").fetchone()
        if durable is None or durable <= epoch:  # Else rows are gone: the engine refuses the log, which stays as it is.
            database.execute("DELETE FROM snaps WHERE snap_epoch >= ?", [epoch])


def _resume_epoch(database: sqlite3.Connection) -> int:
    """The first epoch that is not over on all workers of the last execution; its first one where a worker says none."""
    last = database.execute(
        "SELECT ex_num, worker_count, resume_epoch FROM exs ORDER BY ex_num DESC LIMIT 1"
    ).fetchone()
    if last is None:
        return _FIRST_EPOCH
    execution, workers, first = map(int, last)
    found = database.execute(
        "SELECT worker_index, MAX(worker_frontier) FROM fronts WHERE ex_num = ? GROUP BY worker_index", [execution]
    )
    fronts: dict[int, int] = dict(found.fetchall())
    return min(max(first, fronts.get(worker, first)) for worker in range(workers))


def recovery_refusal(directory: Path, text: str) -> StateError:
    """The error for what SQLite says of the recovery log, here or in a panic of the engine."""
    if any(words in text for words in _CORRUPT):
        return CorruptStateError(f"the recovery log in {directory} is damaged ({text}): {RESTORE}")
    step = next_step(text, "check the disk's space and the rights, then run again: what was made durable is kept")
    return StateError(f"the recovery log in {directory} cannot be written ({text}): {step}")


def sqlite_words(said: str) -> str:
    """What SQLite itself said, out of a panic of the engine.

    >>> sqlite_words('SqliteFailure(Error { code: DiskFull, extended_code: 13 }, Some("database or disk is full"))')
    'DiskFull: database or disk is full'
    """
    found = re.search(r'code: (\w+), extended_code: \d+ \}, (?:Some\("(.*?)"\))?', said)
    return ": ".join(filter(None, found.groups())) if found else " ".join(said.split())[:300]
