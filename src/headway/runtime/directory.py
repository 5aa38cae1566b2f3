"""A state directory: the one place that knows what lies in it, under which name, and who may touch it."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Optional

from headway.basics.crashpoints import reached
from headway.errors import IncompatibleStateError, LockedStateError
from headway.runtime.engine_log import EngineLog
from headway.runtime.last_run import forget_stats, load_stats, save_stats
from headway.runtime.notices import add_notice, take_notices
from headway.runtime.stats import RunStats
from headway.state.files import CLUSTER_NAME, state_files
from headway.state.lock import LOCK_NAME, DirectoryLock, Premises
from headway.state.manifest import Drain, Manifest
from headway.state.positions import Positions

__all__ = ["StateDirectory"]

_WORKERS_END_S: Final = 10.0
"""How long a run waits for the workers of one that was killed."""

_OF_GENERATION: Final = re.compile(r"(?:engine|positions)-(\d+)(?:\.|$)")


class StateDirectory:
    """What a run keeps besides the rows of its key groups: lock, manifest, positions, the engine's log, what is told.

    Made from a path it opens nothing, and the directory need not be there. Methods that write ask for the lock, unless
    they say otherwise. Those that touch files raise `StateError` when the disk or the rights do not let them, and
    `CorruptStateError`, which is one, for what is damaged.

    `is_part` says that it is known to be one host's part of the state of a cluster.
    """

    def __init__(self, path: Path, *, is_part: bool = False) -> None:
        self.path = path
        self._is_part = is_part

    def __str__(self) -> str:
        return str(self.path)

    def check_whole(self) -> None:
        """Raise `IncompatibleStateError` for one host's part of a cluster's state, unless it is known to be one."""
        if not self._is_part and (self.path / CLUSTER_NAME).exists():
            msg = (
                f"{self.path} holds what one host of a cluster has, which is a part of its state: run the flow with "
                "--cluster, or restore the last backup into another directory (headway backup restore) to have all"
            )
            raise IncompatibleStateError(msg)

    @property
    def run_dir(self) -> Path:
        """Where the workers of a run leave what they have to say."""
        return self.path / "run"

    @contextmanager
    def locked(self) -> Iterator[DirectoryLock]:
        """Hold the lock, making the directory where there is none.

        Workers hold it together with their supervisor: when that is killed, they need a moment to notice. So a
        lock whose owner is dead is waited for. Raises `LockedStateError` when the owner lives.
        """
        until = time.monotonic() + _WORKERS_END_S
        while True:
            try:
                lock = DirectoryLock.acquire(self.path)
                break
            except LockedStateError:
                if self._owner_lives() or time.monotonic() > until:
                    raise
                time.sleep(0.01)
        with lock:
            yield lock

    def _owner_lives(self) -> bool:
        """Whether the process lives that wrote its number into the lock; one that cannot be told of counts as alive."""
        try:
            os.kill(int((self.path / LOCK_NAME).read_text()), 0)
        except ProcessLookupError:
            return False
        except (OSError, ValueError):
            return True
        return True

    def premises(self) -> Premises:
        """The directory and its lock as they are now, to notice when others are in their place."""
        return Premises(self.path)

    def manifest(self) -> Optional[Manifest]:
        """What the directory belongs to; None where it is not there, or empty. Needs no lock. See `Manifest.load`."""
        return Manifest.load(self.path)

    def open_manifest(self) -> Optional[Manifest]:
        """As `manifest`, and shut the directory to others, making it where there is none."""
        return Manifest.open(self.path)

    def keep_manifest(self, manifest: Manifest) -> None:
        """Put a manifest in the place of the one before, durably and atomically: it is what the directory is now."""
        manifest.create(self.path)

    def note_drain(self, drain: Drain) -> None:
        """Say in the manifest how far the books are closed; such a directory takes no new input any more."""
        Manifest.note_drain(self.path, drain)

    def positions(self, generation: int) -> Positions:
        """Where the sources stood when a generation began. Needs no lock."""
        return Positions.load(self.path, generation)

    def keep_positions(self, positions: Positions, generation: int) -> None:
        """Keep where the sources stand as a generation begins, durably."""
        positions.store(self.path, generation)

    def engine_log(self, generation: int) -> EngineLog:
        """The engine's log: each generation has its own, since the engine knows steps by their names."""
        return EngineLog(self.path / f"engine-{generation}")

    def latest_generation(self) -> int:
        """The last generation of which something may be left, whatever the manifest says; 0 for none."""
        with state_files(self.path, "read"):
            try:
                names = os.listdir(self.path)
            except FileNotFoundError:
                return 0
        return max((int(match[1]) for name in names if (match := _OF_GENERATION.match(name))), default=0)

    def remove_other_generations(self, generation: int) -> None:
        """Remove what only other generations need: their positions and engine's logs."""
        reached("cleaning.before")
        Positions.remove_others(self.path, generation)
        ours = self.engine_log(generation).path
        with state_files(self.path, "write"):
            for path in self.path.glob("engine-*"):
                if path.is_dir() and path != ours and path.with_suffix("") != ours:
                    shutil.rmtree(path)
                elif path.is_file() and path.with_suffix("") != ours:
                    path.unlink()
        reached("cleaning.after")

    def last_run(self) -> Optional[RunStats]:
        """The counts of the last run that ended; None where there was none, or they cannot be read. Needs no lock."""
        return load_stats(self.path)

    def keep_last_run(self, stats: RunStats) -> None:
        """Keep the counts of this run, for people."""
        save_stats(self.path, stats)

    def forget_last_run(self) -> None:
        """Forget these counts: they are those of a state that is no longer there."""
        forget_stats(self.path)

    def add_notice(self, text: str) -> None:
        """Keep what the end of a run, this one or another, is to tell. Each worker may, without a lock of its own."""
        add_notice(self.path, text)

    def take_notices(self) -> list[str]:
        """All notices that nobody has been told yet, each once, in their order; they are gone then."""
        return take_notices(self.path)
