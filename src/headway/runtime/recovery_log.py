"""The engine's recovery log, looked through before the engine does: it panics at what it cannot read or write."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from headway.errors import CorruptStateError, StateError
from headway.state.files import RESTORE, next_step, state_files

__all__ = ["check_recovery_log", "recovery_refusal", "sqlite_words"]

_APPLICATION_ID: Final = 0x48445759
_TABLES: Final = {"exs", "fronts", "commits", "parts", "snaps"}
_CORRUPT: Final = ("not a database", "malformed", "NotADatabase", "DatabaseCorrupt", "file is encrypted")


def check_recovery_log(directory: Path) -> None:
    """Make sure that a log of an earlier run can be read as a whole, and written.

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
            _check(part)
        except sqlite3.Error as error:
            raise recovery_refusal(directory, " ".join(str(error).split())) from error


def _check(part: Path) -> None:
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
