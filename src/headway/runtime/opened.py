"""The key groups that one process has open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from headway.runtime.job_options import JobOptions
from headway.state.database import group_path
from headway.state.group import GroupStore, close_all
from headway.state.groups import worker_of
from headway.state.manifest import Manifest
from headway.state.options import StoreOptions
from headway.state.syncs import Syncs

__all__ = ["OpenGroups"]


class OpenGroups:
    """Opens each key group when it is first asked for. `run` is the number under which changes are fed to readers.

    What the groups commit is durable once `syncs` have been waited for.
    """

    def __init__(
        self, directory: Path, manifest: Manifest, options: JobOptions, store_options: StoreOptions, run: int
    ) -> None:
        self.syncs = Syncs()
        self._directory = directory
        self._manifest = manifest
        self._options = options
        self._store_options = store_options
        self._run = run
        self._lock = Lock()
        self._open: dict[int, GroupStore] = {}

    def group(self, number: int) -> GroupStore:
        """The store of a key group."""
        with self._lock:
            if number not in self._open:
                generation = self._manifest.generation
                self._open[number] = GroupStore.open(
                    self._directory,
                    number,
                    self._store_options,
                    generation=generation,
                    run=self._run,
                    syncs=self.syncs,
                )
            return self._open[number]

    def stored(self, *, with_idle: bool) -> Iterator[tuple[int, GroupStore]]:
        """All groups of this process of which there is anything, also those that have heard of nothing in this run.

        The engine gives a group to the worker that its name says, so nobody else can have opened those. Groups in which
        the plan has no task are nobody's: one process takes them, the one that asks `with_idle`.
        """
        tasks = self._manifest.task_groups
        for number in range(self._manifest.key_groups):
            is_placed = worker_of(number, self._options.workers) == self._options.worker
            is_own = is_placed if number in tasks else with_idle
            if number in self._open or (is_own and (group_path(self._directory, number) / "CURRENT").exists()):
                yield number, self.group(number)

    def close(self) -> None:
        """Close all of them; raises the first `StateError` once all are closed."""
        self.syncs.close()
        opened, self._open = self._open, {}
        close_all(opened.values())
