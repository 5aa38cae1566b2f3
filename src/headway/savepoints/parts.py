"""One host's part of a savepoint of a cluster: its key groups, at the epoch with which all workers have ended."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Final, Optional

import msgspec

from headway.plan.planner import DEAD_LETTER_SINK
from headway.runtime.directory import StateDirectory
from headway.runtime.opening import settled_manifest
from headway.runtime.settle import Committed, committed
from headway.savepoints.create import copy_folders, copy_manifest, finish, settle
from headway.savepoints.shelf import Shelf
from headway.state.database import Database, group_path
from headway.state.groups import worker_of
from headway.state.private import make_private
from headway.state.savepoint import SavepointInfo

__all__ = ["create_part", "merged", "part_of"]

_WAIT_S: Final = 60.0
_GROUPS: Final = "groups/"


def create_part(
    directory: StateDirectory,
    name: str,
    made_ms: int,
    known: Optional[Committed],
    *,
    workers: int,
    own: Collection[int],
) -> tuple[SavepointInfo, Committed]:
    """Link what a host has into a savepoint of that name; with the lock held, and all workers ended well.

    `known` is what is committed; None for the host that has the engine's log, which then adds what all hosts have in
    common. `own` are the numbers of the host's workers, of `workers`. Returns what the part says of itself, and what is
    committed. Raises as `create_savepoint`.
    """
    manifest = settled_manifest(directory)
    assert manifest is not None
    has_log = known is None
    if known is None:
        with directory.engine_log(manifest.generation).summed():
            known = committed(directory, manifest)
    letters = manifest.outputs.get(DEAD_LETTER_SINK)
    has_letters = letters is not None and worker_of(manifest.output_group(letters.id), workers) in own
    shelf = Shelf(directory.path)
    with shelf.held(time.monotonic() + _WAIT_S), shelf.draft() as draft:
        make_private(draft / "groups")

        def link(database: Database, group: int) -> None:
            database.checkpoint(group_path(draft, group))

        about = settle(directory.path, manifest, known, link)
        about |= {"name": name, "made_ms": made_ms, "automatic": True}
        positions = None
        if has_log:
            positions = known.positions(manifest, directory.positions(manifest.generation))
            copy_manifest(directory.path, draft)
        if has_letters:
            copy_folders(directory.path, draft)
        return finish(shelf, draft, directory, manifest, about, positions, shelf.known_files), known


def merged(parts: Sequence[SavepointInfo]) -> SavepointInfo:
    """The savepoint that the parts of all hosts make; the first is that of the host with the engine's log."""
    return msgspec.structs.replace(
        parts[0],
        versions=[version for part in parts for version in part.versions],
        rows=sum(part.rows for part in parts),
        timers=sum(part.timers for part in parts),
        waiting=sum(part.waiting for part in parts),
        written=sorted({name for part in parts for name in part.written}),
        files={name: entry for part in parts for name, entry in part.files.items()},
    )


def part_of(info: SavepointInfo, groups: Collection[int]) -> SavepointInfo:
    """What a savepoint says of these key groups, and of all that is of none."""
    return msgspec.structs.replace(
        info,
        versions=[version for version in info.versions if version[1] in groups],
        files={name: entry for name, entry in info.files.items() if _group_of(name) in {None, *groups}},
    )


def _group_of(name: str) -> Optional[int]:
    return int(name.split("/")[1]) if name.startswith(_GROUPS) else None
