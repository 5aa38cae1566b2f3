"""Delivering what waits, and nothing else: for a flow whose books are closed, or that is not to read on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from headway.delivery.stats import DeliveryStats
from headway.errors import IncompatibleStateError
from headway.graph import Declared
from headway.plan.layout import lay_out
from headway.runtime.deliveries import delivered_numbers, make_dispatcher
from headway.runtime.directory import StateDirectory
from headway.runtime.job_options import JobOptions, wall_ms
from headway.runtime.opening import settled_manifest
from headway.runtime.run import compile_flow
from headway.state.changes import check_changes
from headway.state.database import Database, group_path
from headway.state.delivery_queue import DeliveryQueue
from headway.state.options import StoreOptions

__all__ = ["deliver_waiting"]

_POLL_S: Final = 0.05


def deliver_waiting(
    flow: Declared,
    directory: StateDirectory,
    *,
    until_none: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, DeliveryStats]:
    """Deliver what waits in a state directory as the flow says; returns how it stands with each output then.

    What has to be retried later is left, or with `until_none` waited for, until nothing waits or `stopping` says so.
    Reads no input, and a directory whose books are closed will do. What an epoch has made that is not known to be
    durable everywhere stays for the next run. Raises `IncompatibleStateError` where there is no state, or none of this
    flow, and `LockedStateError` while a run has it.
    """
    plan = compile_flow(flow, directory.path)
    with ExitStack() as held:
        held.enter_context(directory.locked())
        manifest = settled_manifest(directory)
        if manifest is None:
            msg = f"{directory} holds no state: run the flow first, or check the path"
            raise IncompatibleStateError(msg)
        expected = lay_out(plan, manifest.key_groups, manifest)
        check_changes(manifest, expected, directory.path)
        dispatcher = make_dispatcher(plan, expected, JobOptions(directory.path), wall_ms, lambda error: None, tell)
        if dispatcher is None:
            return {}
        outputs = sorted(delivered_numbers(plan, expected).values())
        databases: list[Database] = []
        for group in range(manifest.key_groups):
            if (group_path(directory.path, group) / "CURRENT").exists():
                databases.append(Database(directory.path, group, StoreOptions()))
                held.callback(databases[-1].close)
        held.callback(dispatcher.close)  # Before the databases.
        for database in databases:
            for output in outputs:
                dispatcher.register(output, DeliveryQueue(database, output))
        dispatcher.finish(stopping, lambda: None)
        while until_none and not stopping() and any(one.waiting for one in dispatcher.statistics().values()):
            time.sleep(_POLL_S)
            dispatcher.finish(stopping, lambda: None)
        stats = dispatcher.statistics()
        dispatcher.close()
        for database in databases:
            database.sync()
        return stats
