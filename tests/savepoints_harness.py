"""Flows of which savepoints are made while they run, in the process of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Optional

from tests.evolve_harness import Shape, flow_of, options

from headway.runtime.directory import StateDirectory
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag
from headway.savepoints.create import create_savepoint
from headway.state.savepoint import SavepointInfo


class AfterPolls(StopFlag):
    """Lets somebody begin when a run has been polled so often, and stops the run when that one is done."""

    def __init__(self, polls: int) -> None:
        super().__init__()
        self.begun = threading.Event()
        self._left = polls

    def __call__(self) -> bool:
        self._left -= 1
        if self._left < 0:
            self.begun.set()
        return super().__call__()


def run_and_save(directory: Path, shape: Shape, where: RunOptions, polls: int, name: str) -> SavepointInfo:
    """Run a flow that follows its input, make a savepoint when it was polled so often, and stop it then."""
    stop = AfterPolls(polls)
    made: list[SavepointInfo] = []
    failed: list[BaseException] = []

    def make() -> None:
        stop.begun.wait()
        try:
            made.append(create_savepoint(StateDirectory(where.state_dir), name, wait_s=60))
        except BaseException as error:
            failed.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=make)
    thread.start()
    try:
        run_flow(flow_of(shape, directory), replace(where, follow=True, drain=False), stop=stop)
    finally:
        stop.begun.set()
        thread.join()
    if failed:
        raise failed[0]
    return made[0]


def whereabouts(directory: Path, state: str, threads: int, epoch_ms: int, bound: int, groups: int = 2) -> RunOptions:
    return replace(
        options(directory, drain=True, groups=groups, threads=threads, bound=bound),
        state_dir=directory / state,
        epoch_ms=epoch_ms,
        key_groups=None if groups == 0 else groups,
    )


@contextmanager
def no_database() -> Iterator[None]:
    """Inside of this block to open a database fails the test."""
    from unittest import mock

    from headway.state.database import Database

    def refuse(self: Database, *args: object, **kwargs: object) -> None:
        raise AssertionError(f"a database was opened: {args}")

    with mock.patch.object(Database, "__init__", refuse):
        yield


def found_in(directory: Path) -> Optional[list[str]]:
    """What lies in a folder of savepoints."""
    folder = directory / "savepoints"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else None
