"""Dropping what is kept: of what the flow no longer has, and of operators that are to start empty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from headway.errors import UsageError
from headway.state.database import DELIVERIES, ROWS, TIMERS, Database, group_path
from headway.state.keys import id_bytes, successor
from headway.state.manifest import Manifest
from headway.state.names import SHARED
from headway.state.options import StoreOptions

__all__ = ["erase", "kept_under", "without"]

E = TypeVar("E")

_BATCH_KEYS: Final = 5_000


def kept_under(manifest: Manifest, name: str) -> list[str]:
    """The operators, with what their broadcasts keep, that `name` means, and what the flow no longer has of that name.

    >>> kept_under(Manifest(flow="f", key_groups=1, sources={}, operators={}, outputs={}, stages=[]), "cart")
    []
    """
    names = (name, name + SHARED)
    groups: Iterable[Mapping[str, Any]] = (
        manifest.operators,
        manifest.retired.operators,
        manifest.retired.outputs,
        manifest.retired.sources,
    )
    return list(dict.fromkeys(one for one in names for group in groups if one in group))


def without(manifest: Manifest, name: str) -> Manifest:
    """The manifest once what is kept under a name is dropped. Pure: nothing stored is touched.

    An operator that the flow has gets a new number, and so starts empty, in a new generation. What the flow no longer
    has is forgotten altogether. The numbers of before go into `dropped`, for `erase`. Raises `UsageError` for a name
    that nothing is kept under, for a source that the flow reads, and for an output that it writes: its file would be
    begun anew while what is in it is ours.
    """
    names = (name, name + SHARED)
    retired = manifest.retired
    gone = [
        entry.id
        for entries in (retired.sources, retired.operators, retired.outputs)
        for one, entry in entries.items()
        if one in names
    ]
    gone += [log for one, entry in retired.operators.items() if one in names for log in entry.log_numbers]
    used = [one for one in manifest.operators if one in names]
    if not gone and not used:
        if name in manifest.outputs and manifest.outputs[name].delivered:
            msg = f"the flow delivers {name!r}: to forget what waits, headway triggers drop FLOW --output {name}"
            raise UsageError(msg)
        if name in manifest.sources or name in manifest.outputs:
            what = "reads" if name in manifest.sources else "writes"
            msg = (
                f"the flow {what} {name!r}: to begin anew, take it out of the flow or give it another name, run the "
                f"flow, and drop {name!r} then"
            )
            raise UsageError(msg)
        listed = ", ".join(_all_names(manifest)) or "nothing at all"
        msg = f"nothing is kept under {name!r}: expected one of {listed}"
        raise UsageError(msg)
    next_id = manifest.next_id
    operators = dict(manifest.operators)
    dropped = [*manifest.dropped, *gone]
    for one in used:
        dropped += [operators[one].id, *operators[one].log_numbers]
        # Nothing is stored of it any more, so that nothing is there to be compared with what the flow is to be.
        bare = {"state": {}, "version": 1, "former": [], "former_logs": []}
        logs = {log: number for number, log in enumerate(operators[one].logs, next_id + 1)}
        operators[one] = msgspec.structs.replace(operators[one], id=next_id, logs=logs, **bare)
        next_id += 1 + len(logs)
    views = dict(manifest.views)
    for one, view in views.items():
        if view.operator in used:
            if view.index:
                dropped.append(view.index_id)
            views[one] = msgspec.structs.replace(
                view, operator_id=operators[view.operator].id, index_id=next_id if view.index else 0, is_built=True
            )
            next_id += 1
    left = msgspec.structs.replace(
        retired,
        sources=_others(retired.sources, names),
        operators=_others(retired.operators, names),
        outputs=_others(retired.outputs, names),
        steps=_others(retired.steps, names),
    )
    return msgspec.structs.replace(
        manifest,
        generation=manifest.generation + bool(used),
        operators=operators,
        views=views,
        steps=_others(manifest.steps, names) if used else manifest.steps,
        retired=left,
        next_id=next_id,
        dropped=dropped,
    )


def _others(entries: Mapping[str, E], names: Iterable[str]) -> dict[str, E]:
    return {name: entry for name, entry in entries.items() if name not in names}


def _all_names(manifest: Manifest) -> list[str]:
    retired = manifest.retired
    groups: tuple[Mapping[str, Any], ...] = (
        manifest.operators,
        retired.operators,
        retired.outputs,
        retired.sources,
    )
    return [name for group in groups for name in group if not name.endswith(SHARED)]


def erase(directory: Path, manifest: Manifest) -> Manifest:
    """Delete the rows, timers and triggers of all `dropped` numbers; returns the manifest without them, to be stored.

    With the lock held and no group open. May be repeated after a kill at any moment. Takes some microseconds a key.
    """
    if not manifest.dropped:
        return manifest
    for group in range(manifest.key_groups):
        if (group_path(directory, group) / "CURRENT").exists():
            database = Database(directory, group, StoreOptions())
            try:
                _erase(database, manifest.dropped)
            finally:
                database.close()
    return msgspec.structs.replace(manifest, dropped=[])


def _erase(database: Database, numbers: Iterable[int]) -> None:
    batch = database.batch()
    count = 0
    for number in numbers:
        prefix = id_bytes(number)
        for family in (ROWS, TIMERS, DELIVERIES):
            for key, _ in database.scan(family, prefix, successor(prefix)):
                batch.delete(family, key)
                count += 1
                if count % _BATCH_KEYS == 0:
                    database.write(batch, sync=False)
                    batch = database.batch()
    database.write(batch, sync=True)
