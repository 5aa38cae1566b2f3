"""The tasks of a settled generation: what is stored of each, outside of any run."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from headway.state.database import ROWS, TIMERS, Database, group_path
from headway.state.inputs import FIRST_INPUT
from headway.state.keys import id_bytes, successor, task_prefix
from headway.state.manifest import EdgeEntry, Manifest
from headway.state.options import StoreOptions
from headway.state.redo import Control
from headway.state.redolog import RedoLog
from headway.times import MIN_TIME_MS

__all__ = [
    "FIRST_OUTPUT",
    "Task",
    "added_failures",
    "count_stored",
    "opened_groups",
    "output_task",
    "output_tasks",
    "stage_tasks",
]

FIRST_OUTPUT: Final = 1 << 15
"""The number of an output's task is that of the output and this one; those of stages are below."""


def output_task(number: int) -> int:
    """The number of an output's task; those of stages, their places in the plan, are below."""
    return FIRST_OUTPUT + number


@dataclass(frozen=True)
class Task:
    """A keyed stage or an output in one generation."""

    number: int
    name: str
    operators: list[str] = field(default_factory=list)
    inputs: list[EdgeEntry] = field(default_factory=list)
    carried: list[EdgeEntry] = field(default_factory=list)

    def edge(self, stored: int) -> EdgeEntry:
        """The input under a stored number."""
        index = stored - FIRST_INPUT
        return self.inputs[index] if index >= 0 else self.carried[index]

    def settle(self, database: Database, generation: int, version: int | None) -> Control:
        """Promote or discard what is pending in a group; returns where the task stands, `NO_STATE` for nowhere."""
        return RedoLog(database, self.name, task_prefix(generation, self.number)).resume(version)

    def handled_ms(self, manifest: Manifest, meta: Mapping[str, Any]) -> int:
        """Up to which time a stage has handled everything, by what it noted with its last commit."""
        progress = meta.get("progress")
        if progress:
            watermark: int = progress["watermark"]
            return watermark
        channels = sum(
            manifest.sources[edge.producer[0]].slots if edge.from_source else manifest.key_groups
            for edge in self.inputs
        )
        claims = [claim for by_channel in meta.get("claims", {}).values() for claim in by_channel.values()]
        return min(claims) if claims and len(claims) == channels else MIN_TIME_MS


def stage_tasks(manifest: Manifest) -> list[Task]:
    """The keyed stages."""
    return [
        Task(number, stage.name, stage.operators, stage.inputs, stage.carried)
        for number, stage in enumerate(manifest.stages)
    ]


def output_tasks(manifest: Manifest) -> list[Task]:
    """The outputs, those among them that the flow no longer has."""
    outputs = {**manifest.retired.outputs, **manifest.outputs}
    return [Task(output_task(entry.id), name) for name, entry in outputs.items()]


def added_failures(noted: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Failures of several slots or stages as those of one: see `headway.runtime.failures`."""
    found = [one for one in noted if one]
    first = [text for one in found for text in one["first"]]
    return {"count": sum(one["count"] for one in found), "first": first} if found else {}


def opened_groups(directory: Path, key_groups: int) -> Generator[tuple[int, Database], None, None]:
    """Each key group that there is, open while it is the caller's turn. Close the generator, or one stays open."""
    for group in range(key_groups):
        if (group_path(directory, group) / "CURRENT").exists():
            database = Database(directory, group, StoreOptions())
            try:
                yield group, database
            finally:
                database.close()


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
