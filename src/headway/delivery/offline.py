"""Carrying out what commands ask of deliveries while no run has the state directory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from headway.delivery.actions import carry_out
from headway.delivery.lanes import QueueWindow
from headway.delivery.loader import Loader
from headway.delivery.requests import Counts, Request, Requests
from headway.state.database import Database, group_path
from headway.state.delivery_queue import DeliveryQueue
from headway.state.manifest import Manifest
from headway.state.options import StoreOptions
from headway.targets.delivered import Delivering

__all__ = ["carry_out_all", "carry_out_pending"]


def carry_out_pending(directory: Path, manifest: Manifest) -> None:
    """Do what former runs have left undone, with the lock held. Without any it costs one `stat`.

    What comes meanwhile is left to the run that is about to begin.
    """
    requests = Requests(directory)
    if not requests.mark():
        return
    pending = list(requests.pending())
    if any(request.action != "look" for _, request in pending):
        carry_out_all(directory, manifest, [request for _, request in pending])
    for name, _ in pending:
        requests.remove(name)


def carry_out_all(directory: Path, manifest: Manifest, asked: Iterable[Request]) -> Counts:
    """Carry out requests in all groups, with the lock held and nothing open; returns what was done.

    Opens each group once: some milliseconds each. It is durable on return.
    """
    requests = list(asked)
    counts = Counts()
    for group in range(manifest.key_groups):
        if not (group_path(directory, group) / "CURRENT").exists():
            continue
        database = Database(directory, group, StoreOptions())
        try:
            for request in requests:
                for output in request.outputs:
                    below = request.below(output, group)
                    if below is not None:
                        counts = counts.plus(_carry_out(database, output, below, request))
            database.sync()
        finally:
            database.close()
    return counts


def _carry_out(database: Database, output: int, below: int, request: Request) -> Counts:
    window = QueueWindow(DeliveryQueue(database, output), in_order=False)
    counts = Counts()
    for step in carry_out(request, below, window, Loader(Delivering()), round(time.time() * 1_000)):
        counts = counts.plus(step)
    return counts
