"""Opening a state directory for a flow: the same plan goes on, another one is led over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from headway.delivery.offline import carry_out_pending
from headway.errors import IncompatibleStateError, UsageError
from headway.plan.layout import lay_out
from headway.plan.stages import KeyedStage, Plan
from headway.runtime.batch import carried_codec, edge_codec
from headway.runtime.directory import StateDirectory
from headway.runtime.settle import Committed, committed
from headway.state.changes import Change, check_changes, compare
from headway.state.dropping import erase, without
from headway.state.evolve import Evolution
from headway.state.indexes import build_indexes
from headway.state.inputs import InputCodec
from headway.state.keys import FIRST_INPUT
from headway.state.manifest import Manifest, StageEntry
from headway.state.positions import Positions
from headway.state.rescale import Rescaling, discard_move, finish_move, rescaled

__all__ = [
    "DEFAULT_KEY_GROUPS",
    "changes_of",
    "drop_state",
    "open_manifest",
    "placed_generation",
    "rescale",
    "settled_manifest",
]

DEFAULT_KEY_GROUPS = 12

Tell = Callable[[Change], None]


def open_manifest(
    plan: Plan,
    directory: StateDirectory,
    *,
    key_groups: int | None,
    draining: bool,
    workers: int = 1,
    sync: bool = True,
    tell: Tell,
) -> Manifest:
    """What a state directory belongs to: made at the first start, and led to the plan where that is another one.

    A source whose partitions have become more gets more reader slots where so many `workers` can share them.
    `tell` hears each change of the flow. With the lock held. Raises `IncompatibleStateError` with all changes that
    the state cannot follow, `DrainedStateError` when the books of the directory are closed.
    """
    found = settled_manifest(directory)
    groups = key_groups or (found.key_groups if found else DEFAULT_KEY_GROUPS)
    expected = lay_out(plan, groups, found, workers=1 if found is not None and found.drain else workers)
    if found is None:
        directory.keep_manifest(expected)
        return expected
    changes = check_changes(found, expected, directory.path)
    found.check_undrained(directory.path, draining=draining)
    for change in changes:
        tell(change)
    if expected.generation != found.generation:
        stages = {stage.name: stage for stage in plan.stages}
        known = committed(directory, found)
        expected = _evolve(
            directory, known, found, expected, lambda entry: _codecs(stages[entry.name], entry), sync=sync
        )
    if expected != found:
        directory.keep_manifest(expected)
    directory.remove_other_generations(expected.generation)
    if expected.dropped:  # Whoever dropped it was interrupted.
        expected = erase(directory.path, expected)
        directory.keep_manifest(expected)
    if not all(view.is_built for view in expected.views.values()):
        expected = build_indexes(directory.path, expected)
        directory.keep_manifest(expected)
    return expected


def rescale(directory: StateDirectory, *, key_groups: int | None, slots: int | None, sync: bool = True) -> Manifest:
    """Give a stopped flow other numbers of key groups and reader slots; None leaves one as it is. With the lock held.

    Raises `IncompatibleStateError` where there is no state, `DrainedStateError` for books that are closed.
    """
    found = settled_manifest(directory)
    if found is None:
        msg = f"{directory} holds no state: run the flow first, or check the path"
        raise IncompatibleStateError(msg)
    found.check_undrained(directory.path, draining=False)
    known = committed(directory, found)
    positions = known.positions(found, directory.positions(found.generation))
    new = rescaled(found, positions, key_groups or found.key_groups, slots)
    if new.key_groups == found.key_groups:
        new = _evolve(directory, known, found, new, _any_codecs, sync=sync)
    else:
        Rescaling(directory.path, found, new, known.versions, sync=sync).write()
        new = msgspec.structs.replace(new, moves=True)
        directory.keep_positions(positions, new.generation)
    directory.keep_manifest(new)
    settled = settled_manifest(directory)
    assert settled is not None
    directory.remove_other_generations(settled.generation)
    return settled


def placed_generation(
    place: StateDirectory, known: Committed, kept: Manifest, positions: Positions, generation: int, *, sync: bool
) -> Manifest:
    """Write a generation of groups that stand at what is known, with nothing else changed; returns its manifest.

    `place` has the groups of `kept`, and `positions` are those of its sources. No engine's log is needed.
    """
    new = msgspec.structs.replace(kept, generation=generation)
    place.keep_positions(positions, kept.generation)
    return _evolve(place, known, kept, new, _any_codecs, sync=sync)


def settled_manifest(directory: StateDirectory) -> Manifest | None:
    """The manifest, once the directory is what it says, and what commands have asked of it is done. With the lock held.

    None where there is no state. Raises `IncompatibleStateError` for what is a part of a cluster's state.
    """
    directory.check_whole()
    found = directory.open_manifest()
    if found is None:
        return None
    if found.moves:
        finish_move(directory.path)
        found = msgspec.structs.replace(found, moves=False)
        directory.keep_manifest(found)
    else:
        discard_move(directory.path)
    carry_out_pending(directory.path, found)
    return found


def changes_of(plan: Plan, directory: StateDirectory) -> list[Change] | None:
    """What has changed since the last run, those changes that are refused among them; None where nothing is stored.

    Changes nothing and needs no lock. Raises `DrainedStateError` when the books of the directory are closed.
    """
    found = directory.manifest()
    if found is None:
        return None
    found.check_undrained(directory.path, draining=False)
    return compare(found, lay_out(plan, found.key_groups, found))


def drop_state(directory: StateDirectory, names: Sequence[str]) -> None:
    """Forget what operators, or what is not in the flow any more, have kept; an operator then starts empty.

    What waits for such an operator is forgotten as well. Reads the keys of what is forgotten: some ten seconds for a
    million rows. With the lock held. Raises `UsageError` for a name that nothing is kept under. A kill at any moment
    leaves either all, or nothing that the flow could find.
    """
    found = settled_manifest(directory)
    if found is None:
        msg = f"{directory} holds no state: there is nothing to drop, check the path"
        raise UsageError(msg)
    left = found
    for name in names:
        left = without(left, name)
    if left.generation != found.generation:
        left = msgspec.structs.replace(left, generation=found.generation + 1)
        left = _evolve(directory, committed(directory, found), found, left, _any_codecs, sync=True)
    directory.keep_manifest(left)
    directory.remove_other_generations(left.generation)
    directory.keep_manifest(erase(directory.path, left))


def _evolve(
    directory: StateDirectory,
    known: Committed,
    found: Manifest,
    expected: Manifest,
    codecs: Callable[[StageEntry], dict[int, InputCodec]],
    *,
    sync: bool,
) -> Manifest:
    """Write the generation of `expected` beside that of `found`; returns what is to be stored then.

    `codecs` tells how to read what waits at the inputs of a stage, by their stored numbers.
    """
    evolution = Evolution(directory.path, found, expected, known.versions, sync=sync)
    settled = evolution.settle()
    evolution.write({entry.name: codecs(entry) for entry in settled.stages})
    positions = known.positions(found, directory.positions(found.generation))
    by_id = {entry.id: name for name, entry in {**expected.retired.sources, **expected.sources}.items()}
    renamed = {by_id.get(position.id, name): position for name, position in positions.sources.items()}
    directory.keep_positions(Positions(sources=renamed), expected.generation)
    return settled


def _codecs(stage: KeyedStage, entry: StageEntry) -> dict[int, InputCodec]:
    """Those of a stage's inputs, by their stored numbers."""
    carried = [carried_codec(stage, edge) for edge in entry.carried]
    inputs = [edge_codec(edge) for edge in stage.inputs]
    return dict(enumerate([*carried, *inputs], FIRST_INPUT - len(carried)))


def _any_codecs(entry: StageEntry) -> dict[int, InputCodec]:
    """As `_codecs`, where no flow says what the values are: the same one goes on with them."""
    codecs = [
        InputCodec(from_stage=not edge.from_source, have_places=edge.has_places)
        for edge in [*entry.carried, *entry.inputs]
    ]
    return dict(enumerate(codecs, FIRST_INPUT - len(entry.carried)))
