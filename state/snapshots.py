"""Snapshots of a flow's committed state in another process: all key groups at one epoch, and kept for as long as asked.

To move on is to read the cut, and to let each key group go to the version that it names (`headway.state.followed` says
how). What has not changed is not touched, so a step costs what the epoch has changed: 0.3 µs for each row, and 2 µs for
a group where nothing happened. A snapshot holds a base and layers of each group, none of which ever changes. So it can
be read while the next one is being made, and kept while a client reads it page by page; it costs the files and the
memory that would otherwise have been let go of.

**What was measured**, on two cores, with a flow at full speed that is asked 2,000 questions a second (`python -m
benchmarks decisions`). When the databases themselves were followed, as secondaries, a step held the interpreter for
each key group of each epoch, mostly to replay a log or to open anew what had been flushed. By the feed the longest
step was some 2 ms once the server was up, and all of them together took a fiftieth of a core. On cores that nobody
else used, the answers came with p50 0.8 ms and p99 7.6 ms, and the flow kept 0.99 of its speed. Where others kept
more than a core busy, runs in turn gave p50 5 and 24 ms, p99 560 and 1,470 ms by the databases, and p50 1.2 ms, p99
130 and 360 ms by the feed; in such hours the flow kept 0.81 to 0.88. What is left then is waiting for a core: a
question takes 0.16 ms of the server's, and who asks takes another tenth of a core.

**Rejected.** *Waiting until all groups have promoted the same epoch*: under load there is hardly such a moment, and
after a crash there may be none before the next start. *Opening the databases anew for each epoch*: 10 ms for each.
*Reading single keys from the database itself*: it sees what it has caught up with, so that nothing could be answered
while groups are at different epochs; a look-up by an iterator takes no longer. *Following in a process of its own, and
answering in another*: what is read must then cross between the two, which costs what the feed costs, and following the
databases still takes its share of the flow's cores.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from heapq import merge
from pathlib import Path
from typing import Final, Optional

from headway.state.cut import Cut
from headway.state.database import Database
from headway.state.followed import FollowedGroup
from headway.state.groups import group_of
from headway.state.keys import id_bytes
from headway.state.logs import key_of_entry
from headway.state.manifest import Manifest
from headway.state.overlay import Part

__all__ = ["Follower", "Snapshot"]

_TRIES: Final = 8
_LAYERS_BYTES: Final = 64 << 20
_RENEWED_S: Final = 60.0


class Snapshot:
    """All key groups at one committed epoch. Reads are of one thread, and not interleaved with others of it."""

    def __init__(self, cut: Cut, parts: Sequence[Optional[Part]]) -> None:
        self.cut = cut
        self._parts = parts

    def get(self, number: int, key: str) -> Optional[bytes]:
        """The stored value of a row of the operator with this number; None where there is none. Some 5 µs.

        Raises `StateError`, `CorruptStateError` among them, for what cannot be read.
        """
        part = self._parts[group_of(key, len(self._parts))]
        return None if part is None else part.get(id_bytes(number) + key.encode())

    def database(self, key: str) -> Optional[Database]:
        """What holds the rows of a key, for messages; None while nothing does."""
        part = self._parts[group_of(key, len(self._parts))]
        return None if part is None else part.database

    def entries(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As `scan`, of the entries of a log of one key."""
        part = self._parts[group_of(key_of_entry(start), len(self._parts))]
        return iter(()) if part is None else part.scan(start, end)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Stored rows with `start <= key < end`, in order; read as they are asked for, some 2 µs each.

        Nothing else may be read from the snapshot between two of them. Raises as `get` does.
        """
        return merge(*(part.scan(start, end) for part in self._parts if part is not None))


class Follower:
    """Follows what a run commits, for one generation of a state directory. A context manager.

    `tasks` are those whose rows are asked for. What epochs have changed is held in memory up to `layers_bytes`, and
    beyond that for an epoch or two.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        tasks: Sequence[int],
        *,
        layers_bytes: int = _LAYERS_BYTES,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.newest: Optional[Snapshot] = None
        """The last snapshot; None before the first."""
        self._directory = directory
        self._manifest = manifest
        self._tasks = sorted(set(tasks))
        self._layers_bytes = layers_bytes
        self._clock_s = clock_s
        self._scratch = tempfile.TemporaryDirectory(prefix="headway-views-")
        self._groups = [
            FollowedGroup(directory, group, manifest.generation, self._tasks, Path(self._scratch.name))
            for group in range(manifest.key_groups)
        ]
        self._renewed_s = [clock_s()] * manifest.key_groups
        """When the layers of each group were last put aside."""

    def advance(self) -> Generator[None, None, Optional[Snapshot]]:
        """Make a snapshot of the newest epoch, or return the last one where there is no newer.

        Pauses between the groups, so that others have their turn. None where there is no cut of this generation, or
        none could be reached: a run commits faster than this process reads, or has written no cut since it started.
        Raises `StateError` for what cannot be read.
        """
        for _ in range(_TRIES):
            cut = Cut.load(self._directory)
            if cut is None or cut.generation != self._manifest.generation:
                return None
            if self.newest is not None and self.newest.cut.epoch == cut.epoch:
                self.newest.cut = cut  # It was touched.
                return self.newest
            if (yield from self._reach(cut)):
                self.newest = Snapshot(cut, [group.part() for group in self._groups])
                return self.newest
        return None

    def renew(self) -> Generator[None, None, None]:
        """Let go of memory and files that newer ones can stand for. Pauses between the groups; for after an `advance`.

        A group takes two such calls, with an epoch between them, and some 10 ms: those that are largest, as long as
        all together are too large, and else the one whose turn it is after a minute.
        """
        excess = sum(group.size for group in self._groups) - self._layers_bytes
        now_s = self._clock_s()
        oldest = min(range(len(self._groups)), key=self._renewed_s.__getitem__)
        for number, group in sorted(enumerate(self._groups), key=lambda item: -item[1].size):
            is_due = number == oldest and now_s - self._renewed_s[number] >= _RENEWED_S
            if excess > 0 or is_due or group.is_renewing:
                excess -= group.size
                if not group.is_renewing:
                    self._renewed_s[number] = now_s
                group.renew()
                yield

    def snapshot(self) -> Optional[Snapshot]:
        """As `advance` and `renew`, at once."""
        steps = self.advance()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Optional[Snapshot] = end.value
                break
        for _ in self.renew():
            pass
        return found

    def close(self) -> None:
        """Let everything go. Snapshots that somebody still holds stay as they are."""
        self.newest = None
        for group in self._groups:
            group.close()
        self._scratch.cleanup()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reach(self, cut: Cut) -> Generator[None, None, bool]:
        """Whether each group has the version that the cut names."""
        for number, group in enumerate(self._groups):
            wanted = {task: cut.versions[task][number] for task in self._tasks}
            if not (yield from group.reach(wanted, cut.run)):
                return False
            yield
        return True
