"""Setting and deleting rows of a stopped flow, behind a savepoint of what was there before."""

from __future__ import annotations

from collections.abc import Sequence

from headway.errors import IncompatibleStateError
from headway.plan.layout import lay_out
from headway.plan.stages import Plan
from headway.runtime.directory import StateDirectory
from headway.runtime.opening import settled_manifest
from headway.runtime.settle import Committed, committed
from headway.savepoints.create import create_savepoint, held_alone
from headway.savepoints.shelf import BEFORE_EDIT, KEPT_BEFORE, Shelf
from headway.state.edits import Edit, Edited, edit_rows
from headway.state.manifest import Manifest

__all__ = ["check_same_state", "edit_state"]


def check_same_state(plan: Plan, directory: StateDirectory, operator: str) -> None:
    """Raise `IncompatibleStateError` unless an operator of the flow keeps its state as the last run did."""
    found = directory.manifest()
    if found is None:
        msg = f"{directory} holds no state: run the flow first, or check the path"
        raise IncompatibleStateError(msg)
    now = lay_out(plan, found.key_groups, found).operators.get(operator)
    kept = found.operators.get(operator)
    if kept is not None and (now is None or (now.state, now.version, now.id) != (kept.state, kept.version, kept.id)):
        msg = (
            f"operator {operator!r} of the flow does not keep the state that is stored in {directory}: run the flow as "
            "it is now, or give the flow that ran last"
        )
        raise IncompatibleStateError(msg)


def edit_state(directory: StateDirectory, operator: str, edits: Sequence[Edit], fresh: bytes) -> tuple[Edited, str]:
    """Carry out edits of the rows of a stopped flow; returns what was done, and the savepoint of what was before.

    `fresh` is the state of a key of which nothing is known, in MessagePack. Of the savepoints that are made here, the
    last `KEPT_BEFORE` stay.

    Raises `LockedStateError` while a run has the directory, and what `edit_rows` and `create_savepoint` raise.
    """
    with held_alone(directory):
        before = create_savepoint(directory, prefix=BEFORE_EDIT, is_held=True)
        manifest = settled_manifest(directory)
        assert manifest is not None
        known = _known(directory, manifest)
        positions = known.positions(manifest, directory.positions(manifest.generation))
        times = [time_ms for source in positions.sources.values() for _, time_ms in source.partitions.values()]
        touched_ms = max((time_ms for time_ms in times if time_ms is not None), default=0)
        done = edit_rows(directory.path, manifest, known.versions, operator, edits, touched_ms, fresh)
        Shelf(directory.path).prune(KEPT_BEFORE, BEFORE_EDIT)
    return done, before.name


def _known(directory: StateDirectory, manifest: Manifest) -> Committed:
    log = directory.engine_log(manifest.generation)
    if not log.is_prepared():
        return Committed()
    with log.summed():
        return committed(directory, manifest)
