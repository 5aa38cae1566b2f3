"""Restoring a savepoint: a state directory goes on from it, whatever is in it now.

All of the savepoint is checked before anything is opened. Its groups are linked into a folder beside the present ones
and written anew as the next generation, as when a flow changes (`headway.state.evolve`): how far each task had come,
what waited, and where the readers stood, for an engine's log that is still empty. Then one rename of `flow.json` says
that they count, and they are moved into their place; whoever is killed before it leaves the state as it was, and
whoever is killed after it has restored. The savepoint stays, and may be restored again.

**What goes back and what does not.** State, timers, waiting events, positions of the inputs, dead letters, histories of
functions, and triggers that wait go back. The logs that the flow reads stay as they are and are read again from there;
what was posted, or redriven, since the savepoint is part of its log. What has left the flow cannot be taken back: a
trigger that was delivered since is made again, with the same id and the same bytes. A file of `to_jsonl` is cut back to
where the savepoint knows it when the next run opens it. So a file that another directory's run goes on writing must not
be left to that: a savepoint that is restored elsewhere asks which of the two is meant.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, Optional

import msgspec

from headway.basics.crashpoints import reached
from headway.errors import CorruptStateError, IncompatibleStateError, StateError, UsageError
from headway.plan.planner import DEAD_LETTER_SINK
from headway.runtime.directory import StateDirectory
from headway.runtime.opening import placed_generation, settled_manifest
from headway.runtime.settle import Committed
from headway.savepoints.create import held_alone
from headway.savepoints.inboxes import check_inboxes, put_back_inboxes
from headway.state.copies import copy_file, copy_group, copy_tree, sync_tree
from headway.state.database import group_path
from headway.state.files import state_files
from headway.state.manifest import MANIFEST_NAME, Manifest
from headway.state.private import make_private
from headway.state.rescale import new_place
from headway.state.restored import ready_groups
from headway.state.savepoint import SavepointInfo, check_savepoint

__all__ = ["Outputs", "check_outputs", "forget_cut_off", "restore_savepoint"]

Outputs = Literal["back", "new"]
"""Files that the flow has written: cut back to where they stood, or begun anew, the old ones being moved aside."""


def restore_savepoint(
    savepoint: Path,
    directory: StateDirectory,
    *,
    outputs: Optional[Outputs] = None,
    generation: Optional[int] = None,
    sync: bool = True,
    before: Callable[[], None] = lambda: None,
) -> SavepointInfo:
    """Let a state directory, which may be empty, go on from a savepoint; returns what that says of itself.

    `generation` is the number of the one that is written, which must be new; None for the next one. `before` is called
    once all of the savepoint is known to be good, and before the directory is touched, within a block of `held_alone`.

    Reads all of the savepoint once, and takes some 50 ms for each key group; rows are neither read nor copied, unless
    the two are on different file systems.

    Raises `CorruptStateError` that names the file for a damaged savepoint, `UsageError` where `outputs` must be given
    and is not, `IncompatibleStateError` for a directory of another flow, `LockedStateError` while a run has it.
    """
    info = check_savepoint(savepoint)
    kept = Manifest.load(savepoint)
    if kept is None:
        msg = f"{savepoint} holds no {MANIFEST_NAME}; take another savepoint"
        raise StateError(msg)
    check_outputs(info, directory.path, outputs)
    forget_cut_off(directory)
    _check_flow(info, directory)
    check_inboxes(savepoint, directory.path)
    with held_alone(directory):
        _check_flow(info, directory)
        check_inboxes(savepoint, directory.path)
        before()
        found = _found(directory)
        latest = max(info.generation, directory.latest_generation(), 0 if found is None else found.generation)
        generation = generation or latest + 1
        if generation <= latest:
            msg = f"{directory} has a generation {latest} already, and {generation} was to be written: restore it again"
            raise StateError(msg)
        place = new_place(directory.path)
        with state_files(place, "write"):
            if place.exists():
                shutil.rmtree(place)
            make_private(place)
            make_private(place / "groups")
            for group in range(info.key_groups):
                if group_path(savepoint, group).is_dir():
                    copy_group(group_path(savepoint, group), group_path(place, group))
        positions = StateDirectory(savepoint).positions(info.generation)
        known = Committed(versions=info.versions_by_task())
        new = placed_generation(StateDirectory(place), known, kept, positions, generation, sync=sync)
        written = [entry.id for name, entry in new.outputs.items() if name != DEAD_LETTER_SINK]
        ready_groups(place, new, written if outputs == "new" else [], sync=sync)
        _put_files(savepoint, directory.path, place)
        put_back_inboxes(savepoint, directory.path)
        if sync:
            with state_files(place, "write"):
                sync_tree(place)
        directory.keep_positions(StateDirectory(place).positions(generation), generation)
        reached("restoring.before")
        directory.keep_manifest(msgspec.structs.replace(new, moves=True))
        reached("restoring.after")
        settled_manifest(directory)
        directory.remove_other_generations(generation)
        directory.forget_last_run()
    return info


def forget_cut_off(directory: StateDirectory) -> None:
    """Remove what a restore has left that was killed in a directory without state: it is one without state again.

    Raises `LockedStateError` while that restore goes on.
    """
    place = new_place(directory.path)
    if not place.is_dir() or (directory.path / MANIFEST_NAME).exists():
        return
    with directory.locked(), state_files(place, "remove"):
        if not (directory.path / MANIFEST_NAME).exists():
            for path in directory.path.glob("positions-*.json*"):
                path.unlink()
            shutil.rmtree(place)


def check_outputs(info: SavepointInfo, directory: Path, outputs: Optional[Outputs]) -> None:
    """Raise `UsageError` where it is not said what becomes of files that another run may be writing."""
    is_same = os.path.realpath(directory) == os.path.realpath(info.origin)
    if outputs is None and info.written and not is_same:
        msg = (
            f"the savepoint was made in {info.origin}, and knows where files of the flow ended: "
            f"{', '.join(info.written)}; say what becomes of them: --outputs back cuts them back to that when the flow "
            "runs (they must be where the flow writes them, and nobody else may write them), --outputs new leaves them "
            "aside, and the flow begins new ones"
        )
        raise UsageError(msg)


def _check_flow(info: SavepointInfo, directory: StateDirectory) -> None:
    """Raise `IncompatibleStateError` for a directory of another flow, as far as that can be told."""
    with suppress(CorruptStateError):
        found = directory.manifest()
        if found is not None and found.flow != info.flow:
            msg = (
                f"{directory} belongs to the flow {found.flow!r}, and the savepoint to {info.flow!r}: give the "
                "directory of that flow, or an empty one"
            )
            raise IncompatibleStateError(msg)


def _found(directory: StateDirectory) -> Optional[Manifest]:
    """What the directory belongs to now; None where that cannot be told any more: then there is nothing to spare."""
    try:
        return settled_manifest(directory)
    except IncompatibleStateError:
        raise
    except StateError:
        return None


def _put_files(savepoint: Path, directory: Path, place: Path) -> None:
    """Lay the small files of the savepoint beside the new groups, to be moved with them."""
    with state_files(place, "write"):
        for name in ("dead-letters", "histories"):
            if (savepoint / name).is_dir():
                copy_tree(savepoint / name, place / name)
        if (savepoint / "redrive").is_dir():
            make_private(place / "redrive")
            for entry in os.scandir(savepoint / "redrive"):
                kept, now = Path(entry.path), directory / "redrive" / entry.name
                # What was put back in since is input as all that was posted since: it stays.
                goes_on = now.is_file() and now.read_bytes().startswith(kept.read_bytes())
                copy_file(now if goes_on else kept, place / "redrive" / entry.name)
