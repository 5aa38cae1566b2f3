"""The engine's recovery log of one generation: which token each task and each reader had when an epoch was durable."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Optional

from bytewax.recovery import init_db_dir

from headway.runtime.engine_errors import translated
from headway.runtime.logsum import open_log, summed_log
from headway.runtime.recovery_log import prepare_recovery_log
from headway.runtime.voice import engine_voice
from headway.state.files import state_files
from headway.state.private import make_private

__all__ = ["EngineLog"]


class EngineLog:
    """A log that the engine reads when it starts and writes at the end of each epoch; making one of these does nothing.

    It is a folder with one SQLite database, and beside it a checksum while no run uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def is_prepared(self) -> bool:
        """Whether it has been made; the last thing to be made when a generation begins."""
        return self.path.exists()

    def prepare(self) -> None:
        """Make it where there is none, else look it through, and remove what a killed run has left of its last epoch.

        Call it before each start of the engine.

        It holds one row per key group, so this takes some milliseconds whatever the size of the state. Call it with the
        lock held. Raises `CorruptStateError` for a log that is damaged or gone, `StateError` for one that cannot be
        used.
        """
        with state_files(self.path):
            open_log(self.path)
            if self.path.exists():
                prepare_recovery_log(self.path)
                return
            partial = self.path.with_suffix(".new")
            if partial.exists():
                for file in partial.iterdir():
                    file.unlink()
            make_private(partial)
            with engine_voice() as voice:
                failure: Optional[BaseException] = None
                try:
                    init_db_dir(partial, 1)
                except BaseException as error:
                    failure = error
            if failure is not None:  # Only now has the last word been heard.
                raise translated(failure, self.path, voice, clustered=False) from failure
            partial.rename(self.path)

    def summed(self) -> AbstractContextManager[None]:
        """At the end of this block, if that is a good one, a checksum is kept: nothing else may be running then."""
        return summed_log(self.path)
