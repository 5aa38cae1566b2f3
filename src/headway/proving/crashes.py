"""Ending processes at named points, and playing a loss of power: see `headway.basics.crashpoints`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple, Optional

from headway.basics.crashpoints import COUNT, POINTS, VARIABLE
from headway.errors import UsageError

__all__ = ["Crashes", "Cut", "Kill"]


@dataclass(frozen=True)
class Kill:
    """Where a process is to end: when a point is reached for the `nth` time, counted over all processes of a run.

    With `whole_run` the first process of the run ends first, which all others follow; else only the one that is there.
    Raises `UsageError` for a point that there is not.
    """

    point: str
    nth: int = 1
    whole_run: bool = False

    def __post_init__(self) -> None:
        if self.point not in POINTS or self.nth < 1:
            msg = f"there is no {self.nth}. time at {self.point!r}; the points are {', '.join(POINTS)}"
            raise UsageError(msg)

    def __str__(self) -> str:
        return f"{self.point} #{self.nth}{' (all)' if self.whole_run else ''}"


class Cut(NamedTuple):
    """A file that a loss of power has cut back."""

    path: Path
    before: int
    after: int


class Crashes:
    """The folder by which the processes of a run are watched; it is made where there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that is to be watched."""
        return {**os.environ, VARIABLE: str(self.folder)}

    def arm(self, kill: Optional[Kill]) -> None:
        """Count from the beginning, and end the next process that comes to this point, or none."""
        (self.folder / "counts").unlink(missing_ok=True)
        (self.folder / "run").unlink(missing_ok=True)
        (self.folder / "kill").unlink(missing_ok=True)
        if kill is not None:
            text = f"{kill.point} {kill.nth} {'run' if kill.whole_run else 'self'}"
            (self.folder / "kill").write_text(text)

    def began(self, pid: int) -> None:
        """Tell which process is the first one of the run."""
        (self.folder / "run").write_text(str(pid))

    def counts(self) -> dict[str, int]:
        """How often each point was reached since `arm`; what no process has reached is not listed."""
        path = self.folder / "counts"
        data = path.read_bytes() if path.exists() else b""
        found = {point: COUNT.unpack_from(data, number * COUNT.size)[0] for number, point in enumerate(POINTS) if data}
        return {point: count for point, count in found.items() if count}

    def lose_power(self, rng: Random) -> list[Cut]:
        """Cut files somewhere behind their last synced length, so that a write may be torn. All processes must be gone.

        Of a file the operating system may have written any part of what nobody has waited for; half of the time it has
        written none. Files that nobody has ever synced are left alone.
        """
        cuts = []
        for (inode, path), least in sorted(self._synced().items(), key=str):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            if found.st_ino != inode or found.st_size <= least:
                continue
            length = least if rng.random() < 0.5 else rng.randrange(least, found.st_size)
            os.truncate(path, length)
            cuts.append(Cut(path, found.st_size, length))
        return cuts

    def _synced(self) -> dict[tuple[int, Path], int]:
        path = self.folder / "synced"
        lengths = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            inode, length, name = line.split(" ", 2)
            lengths[int(inode), Path(name)] = int(length)
        return lengths
