"""What is kept of a state directory beside it, and the start of a life whose directory is lost.

A savepoint goes through an archive, so that nothing of the old directory can be part of the new one; a backup goes to a
store in a folder. Which of them was made last counts. What is written is cut back by the run that goes on, as it is
with `headway savepoint restore --outputs back`.

A life may be killed at any moment, and so in the middle of this. A directory is made beside the lost one and takes its
place by a renaming that the next life finishes; what is kept is made beside what was kept before.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from headway.backups.create import Backups
from headway.backups.restore import find_backup, known_backups, restore_backup
from headway.backups.store import open_store
from headway.runtime.directory import StateDirectory
from headway.savepoints.archive import export_savepoint, import_savepoint
from headway.savepoints.create import create_savepoint
from headway.savepoints.restore import restore_savepoint
from headway.savepoints.shelf import Shelf

__all__ = ["BACKUP", "KEEPS", "SAVEPOINT", "finish_losing", "keep", "lose"]

SAVEPOINT: Final = "savepoint"
BACKUP: Final = "backup"
KEEPS: Final = (SAVEPOINT, BACKUP)
"""How a directory is kept."""
_NAME: Final = "kept"


def keep(folder: Path, how: str) -> None:
    """Keep what the state directory in the folder of a trial is now; nothing where there is none yet."""
    directory = StateDirectory(folder / "state")
    if directory.manifest() is None:
        return
    kept = folder / "kept"
    kept.mkdir(exist_ok=True)
    if how == SAVEPOINT:
        shelf = Shelf(directory.path)
        if _NAME in shelf.names():
            shelf.delete(_NAME)
        create_savepoint(directory, _NAME)
        draft = kept / "draft.tar"
        draft.unlink(missing_ok=True)
        export_savepoint(shelf.path(_NAME), draft)
        shelf.delete(_NAME)
        draft.replace(kept / "savepoint.tar")
    else:
        Backups.claimed(open_store(_url(kept)), directory, take_over=True).create()
    note = kept / "note"
    note.write_text(how)
    note.replace(kept / "last")


def lose(folder: Path) -> str:
    """Let the state directory be gone, and another one be there that goes on from what was kept last.

    Returns how that was kept; empty, and does nothing, where nothing was.
    """
    kept = folder / "kept"
    last = kept / "last"
    if not last.exists():
        return ""
    how = last.read_text()
    place = folder / "restoring"
    shutil.rmtree(place, ignore_errors=True)
    directory = StateDirectory(place)
    if how == SAVEPOINT:
        import_savepoint(kept / "savepoint.tar", place)
        restore_savepoint(Shelf(place).path(_NAME), directory, outputs="back")
        Shelf(place).delete(_NAME)
    else:
        store = open_store(_url(kept))
        catalog = known_backups(store)
        restore_backup(store, catalog, find_backup(store, catalog), directory, outputs="back")
    place.rename(folder / "restored")
    finish_losing(folder)
    return how


def finish_losing(folder: Path) -> None:
    """Let a directory that is ready take the place of the lost one, where a life was killed before that."""
    ready = folder / "restored"
    if ready.exists():
        shutil.rmtree(folder / "state", ignore_errors=True)
        ready.rename(folder / "state")


def _url(kept: Path) -> str:
    return f"file:{kept / 'backups'}"
