"""Dropping what is kept: of what the flow no longer has, and of operators that are to start empty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from headway.errors import UsageError
from headway.state.database import ROWS, TIMERS, Database, group_path
from headway.state.keys import id_bytes, successor
from headway.state.manifest import Manifest
from headway.state.names import SHARED
from headway.state.options import StoreOptions

__all__ = ["erase", "kept_under", "without"]

E = TypeVar("E")

_BATCH_KEYS: Final = 5_000


def kept_under(manifest: Manifest, name: str) -> list[str]:
    """The operators, with what their broadcasts keep, and outputs that `name` means, also of former flows.

    >>> kept_under(Manifest(flow="f", key_groups=1, sources={}, operators={}, outputs={}, stages=[]), "cart")
    []
    """
    names = (name, name + SHARED)
    groups: Iterable[Mapping[str, Any]] = (
        manifest.operators,
        manifest.outputs,
        manifest.retired.operators,
        manifest.retired.outputs,
        manifest.retired.sources,
    )
    return list(dict.fromkeys(one for one in names for group in groups if one in group))


def without(manifest: Manifest, name: str) -> Manifest:
    """The manifest once what is kept under a name is dropped. Pure: nothing stored is touched.

    An operator or output that the flow has gets a new number, and so starts empty, in a new generation. What the flow
    no longer has is forgotten altogether. The numbers of before go into `dropped`, for `erase`. Raises `UsageError`
    for a name that nothing is kept under, and for a source that the flow reads.
    """
    names = (name, name + SHARED)
    retired = manifest.retired
    gone = [
        entry.id
        for entries in (retired.sources, retired.operators, retired.outputs)
        for one, entry in entries.items()
        if one in names
    ]
    used = [one for entries in (manifest.operators, manifest.outputs) for one in entries if one in names]
    if name in manifest.sources and not gone and not used:
        msg = (
            f"the flow reads {name!r}: to read it from its start, give the source another name, run the flow, and drop "
            f"{name!r} then"
        )
        raise UsageError(msg)
    if not gone and not used:
        listed = ", ".join(_all_names(manifest)) or "nothing at all"
        msg = f"nothing is kept under {name!r}: expected one of {listed}"
        raise UsageError(msg)
    next_id = manifest.next_id
    entries: dict[str, dict[str, Any]] = {}
    dropped = [*manifest.dropped, *gone]
    for kind in ("operators", "outputs"):
        entries[kind] = dict(getattr(manifest, kind))
        for one in [one for one in entries[kind] if one in names]:
            entry = entries[kind][one]
            dropped.append(entry.id)
            # Nothing is stored of it any more, so that nothing is there to be compared with what the flow is to be.
            fresh = {"state": {}, "version": 1} if kind == "operators" else {}
            entries[kind][one] = msgspec.structs.replace(entry, id=next_id, **fresh)
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
        operators=entries["operators"],
        outputs=entries["outputs"],
        steps=_others(manifest.steps, names) if used else manifest.steps,
        retired=left,
        next_id=next_id,
        dropped=dropped,
    )


def _others(entries: Mapping[str, E], names: Iterable[str]) -> dict[str, E]:
    return {name: entry for name, entry in entries.items() if name not in names}


def _all_names(manifest: Manifest) -> list[str]:
    retired = manifest.retired
    groups = (manifest.operators, manifest.outputs, retired.operators, retired.outputs, retired.sources)
    return [name for group in groups for name in group if not name.endswith(SHARED)]


def erase(directory: Path, manifest: Manifest) -> Manifest:
    """Delete the rows and timers of all `dropped` numbers; returns the manifest without them, to be stored.

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
        for family in (ROWS, TIMERS):
            for key, _ in database.scan(family, prefix, successor(prefix)):
                batch.delete(family, key)
                count += 1
                if count % _BATCH_KEYS == 0:
                    database.write(batch, sync=False)
                    batch = database.batch()
    database.write(batch, sync=True)
