"""The tasks of a settled generation: what is stored of each, outside of any run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar

from headway.basics.times import MIN_TIME_MS
from headway.state.database import ROWS, TIMERS, Database, group_path
from headway.state.keys import id_bytes, successor, task_prefix
from headway.state.manifest import Manifest, StageEntry
from headway.state.options import StoreOptions
from headway.state.redo import NO_STATE, Control
from headway.state.redolog import RedoLog

__all__ = ["FIRST_OUTPUT", "Generation", "added_failures", "count_stored", "output_task"]

T = TypeVar("T")

_AT_A_TIME: Final = 4
"""How many key groups are open at once, where that saves time."""
FIRST_OUTPUT: Final = 1 << 15
"""The number of an output's task is that of the output and this one; those of stages are below."""


def output_task(number: int) -> int:
    """The number of an output's task; those of stages, their places in the plan, are below."""
    return FIRST_OUTPUT + number


class Generation:
    """A generation that no run uses, of which `versions` are committed: by task and key group, as the engine knows."""

    def __init__(self, directory: Path, manifest: Manifest, versions: Mapping[tuple[int, int], int]) -> None:
        self.manifest = manifest
        outputs = {**manifest.retired.outputs, **manifest.outputs}
        self.outputs = {output_task(entry.id): name for name, entry in outputs.items()}
        """The names of the outputs, those among them too that the flow no longer has, by the number of the task."""
        self._directory = directory
        self._versions = versions

    @contextmanager
    def groups(self) -> Iterator[Iterator[tuple[int, Database]]]:
        """Each key group that there is, open while it is the caller's turn."""
        with closing(_opened_groups(self._directory, self.manifest.key_groups)) as found:
            yield found

    def of_each_group(self, work: Callable[[int, Database], T]) -> list[T]:
        """What `work` makes of each key group that there is, which is open meanwhile.

        Several are open at a time, in threads: most of it is waiting for the disk. Raises the first error of any of
        them, once all have ended.
        """

        def opened(group: int) -> T:
            database = Database(self._directory, group, StoreOptions(), compacts=False)
            try:
                return work(group, database)
            finally:
                database.close()

        with ThreadPoolExecutor(_AT_A_TIME) as threads:
            return list(threads.map(opened, _groups_in(self._directory, self.manifest.key_groups)))

    def settle(self, database: Database, group: int) -> dict[int, Control]:
        """Promote or discard what is pending in a group; returns where each task stands that stands anywhere there."""
        names = {number: stage.name for number, stage in enumerate(self.manifest.stages)} | self.outputs
        controls = {}
        for number, name in names.items():
            redo = RedoLog(database, name, self.prefix(number))
            control = redo.resume(self._versions.get((number, group)))
            if control is not NO_STATE:
                controls[number] = control
        return controls

    def prefix(self, task: int) -> bytes:
        """What the keys of a task begin with."""
        return task_prefix(self.manifest.generation, task)

    def handled_ms(self, stage: StageEntry, meta: Mapping[str, Any]) -> int:
        """Up to which time a stage has handled everything, by what it noted with its last commit."""
        progress = meta.get("progress")
        if progress:
            watermark: int = progress["watermark"]
            return watermark
        channels = sum(
            self.manifest.sources[edge.producer[0]].slots if edge.from_source else self.manifest.key_groups
            for edge in stage.inputs
        )
        claims = [claim for by_channel in meta.get("claims", {}).values() for claim in by_channel.values()]
        return min(claims) if claims and len(claims) == channels else MIN_TIME_MS


def added_failures(noted: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Failures of several slots or stages as those of one: see `headway.runtime.failures`."""
    found = [one for one in noted if one]
    first = [text for one in found for text in one["first"]]
    return {"count": sum(one["count"] for one in found), "first": first} if found else {}


def _opened_groups(directory: Path, key_groups: int) -> Generator[tuple[int, Database], None, None]:
    """The generator of `groups`: unless it is closed, an error leaves a group open."""
    for group in _groups_in(directory, key_groups):
        database = Database(directory, group, StoreOptions(), compacts=False)
        try:
            yield group, database
        finally:
            database.close()


def _groups_in(directory: Path, key_groups: int) -> list[int]:
    return [group for group in range(key_groups) if (group_path(directory, group) / "CURRENT").exists()]


def count_stored(database: Database, operators: Sequence[int]) -> tuple[int, int, int]:
    """Rows, keys and timers of operators, by their numbers: reads the keys of all of them."""
    scans = [_keys(database, ROWS, number) for number in operators]
    rows = keys = 0
    for _, same in groupby(merge(*scans)):
        rows += sum(1 for _ in same)
        keys += 1
    return rows, keys, sum(1 for number in operators for _ in _keys(database, TIMERS, number))


def _keys(database: Database, family: str, operator: int) -> Iterator[bytes]:
    prefix = id_bytes(operator)
    for key, _ in database.scan(family, prefix, successor(prefix)):
        yield key[len(prefix) :]
