"""Another number of key groups: every row, timer and waiting record is written into the group that is its own now.

The number of key groups is that of the shards of the key space, and so the most workers that a flow can have. It is
chosen once, before anyone knows how much there will be. Here it is changed while the flow is stopped.

All groups are made anew beside the old ones, under the next generation; the old ones stay whole. The switch is made by
the manifest (`Manifest.moves`): it says that the new groups count, and whoever finds it so finishes the renaming of the
two directories. A kill at any point leaves the one or the other.

What all keys of a group share, and the broadcasts that wait for it, is the same in all groups, but for how far each
has come. It is taken from the one that has come least far: what others have already heard waits there still, before
everything that the new groups have yet to handle.

A row with a timer costs some 6 µs. Memory does not grow with what is moved.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from headway.basics.crashpoints import reached
from headway.state.carried import CarriedTask, carry_output, key_of, waiting_records
from headway.state.database import CONTROL, ROWS, TIMERS, Database, Writer
from headway.state.delivery_moves import DeliveryMove
from headway.state.files import state_files
from headway.state.group import label
from headway.state.groups import group_of
from headway.state.keys import ID_BYTES, decode_timer, id_bytes, successor, task_prefix
from headway.state.logs import key_of_entry
from headway.state.manifest import Manifest, StageEntry
from headway.state.options import StoreOptions
from headway.state.positions import Positions
from headway.state.private import make_private
from headway.state.redo import Control, decode_meta
from headway.state.tasks import FIRST_OUTPUT, Generation, added_failures, count_stored

__all__ = ["Rescaling", "discard_move", "finish_move", "new_place", "rescaled"]

_MOVED: Final = ("groups", "dead-letters", "redrive", "histories")
"""What takes the place of the former, where it is there: all but the groups only where a savepoint is restored."""
_OPTIONS: Final = StoreOptions(write_buffer_bytes=256 << 20)


def rescaled(manifest: Manifest, positions: Positions, key_groups: int, slots: int | None) -> Manifest:
    """The manifest under other numbers of key groups and, with `slots`, of reader slots for each source.

    A source gets at most as many slots as it has partitions: one without any would hold time back.
    """
    sources = dict(manifest.sources)
    if slots is not None:
        for name, entry in sources.items():
            known = positions.sources.get(name)
            partitions = [*entry.partitions, *(known.partitions if known is not None else ())]
            sources[name] = entry.shared_out(partitions, slots)
    views = dict(manifest.views)
    if key_groups != manifest.key_groups:  # The new groups get the rows; an index is made of them afterwards.
        views = {name: msgspec.structs.replace(view, is_built=not view.index) for name, view in views.items()}
    return msgspec.structs.replace(
        manifest, key_groups=key_groups, sources=sources, views=views, generation=manifest.generation + 1
    )


class Rescaling:
    """Writes the groups of the manifest `new` beside those of `old`; with the lock held, and nothing else open.

    `versions` are the committed versions, by task and key group, as the engine's log knows them.
    """

    def __init__(
        self, directory: Path, old: Manifest, new: Manifest, versions: Mapping[tuple[int, int], int], *, sync: bool
    ) -> None:
        self._directory = directory
        self._before = Generation(directory, old, versions)
        self._old = old
        self._new = new
        self._sync = sync
        self._operators = {**old.retired.operators, **old.operators}
        self._controls: dict[tuple[int, int], Control] = {}
        """By task and old key group."""
        self._handled: dict[int, int] = {}
        """Of each stage, how far the group has come that has come least far."""
        self._least: dict[int, int] = {}
        """Which group that is."""

    def write(self) -> None:
        """Write all groups; what an interrupted try has left is removed first."""
        place = new_place(self._directory)
        with state_files(place, "write"):
            _remove(place)
            make_private(place)
        self._settle()
        with ExitStack() as held:
            groups = [_Group(place, group, self._new, held) for group in range(self._new.key_groups)]
            moves = self._delivery_moves(groups)
            with self._before.groups() as databases:
                for group, database in databases:
                    for move in moves:
                        move.take(database)
                    self._move_rows(database, group, groups)
                    self._move_timers(database, groups)
                    for task, stage in enumerate(self._old.stages):
                        self._move_waiting(database, group, task, stage, groups)
                    for task in self._before.outputs:
                        self._move_output(database, group, task, groups)
            for move in moves:
                move.finish()
            for one in groups:
                for task in self._handled:
                    self._finish_stage(one, task)
                one.writer.flush(sync=self._sync)

    def _delivery_moves(self, groups: list[_Group]) -> list[DeliveryMove]:
        outputs = {**self._old.retired.outputs, **self._old.outputs}
        moves = [DeliveryMove(entry.id, [one.writer for one in groups]) for entry in outputs.values()]
        with self._before.groups() as databases:
            for _, database in databases:
                for move in moves:
                    move.count(database)
        return moves

    def _settle(self) -> None:
        """Promote or discard what is pending, and learn how far each stage has come."""
        with self._before.groups() as databases:
            for group, database in databases:
                for task, control in self._before.settle(database, group).items():
                    self._controls[task, group] = control
        for task, stage in enumerate(self._old.stages):
            handled = {
                group: self._before.handled_ms(stage, self._meta(task, group))
                for group in range(self._old.key_groups)
                if (task, group) in self._controls
            }
            if handled:
                self._least[task] = min(handled, key=lambda group: (handled[group], group))
                self._handled[task] = min(handled.values())

    def _meta(self, task: int, group: int) -> dict[str, Any]:
        control = self._controls.get((task, group))
        return {} if control is None else decode_meta(control.meta) or {}

    def _move_rows(self, database: Database, group: int, groups: list[_Group]) -> None:
        count = len(groups)
        for name, entry in self._operators.items():
            prefix = id_bytes(entry.id)
            shared = entry.shared
            if shared and group != self._least.get(self._stage_of(name), 0):
                continue
            for key, value in database.scan(ROWS, prefix, successor(prefix)):
                if shared:
                    for one in groups:
                        one.writer.put(ROWS, key, value)
                else:
                    groups[group_of(key[ID_BYTES:].decode(), count)].writer.put(ROWS, key, value)
            for log in map(id_bytes, entry.log_numbers):
                for key, value in database.scan(ROWS, log, successor(log)):
                    groups[group_of(key_of_entry(key), count)].writer.put(ROWS, key, value)

    def _stage_of(self, name: str) -> int:
        return next((task for task, stage in enumerate(self._old.stages) if name in stage.operators), -1)

    def _move_timers(self, database: Database, groups: list[_Group]) -> None:
        count = len(groups)
        for entry in self._operators.values():
            prefix = id_bytes(entry.id)
            for key, value in database.scan(TIMERS, prefix, successor(prefix)):
                groups[group_of(decode_timer(key, ID_BYTES, 0)[1], count)].writer.put(TIMERS, key, value)

    def _move_waiting(self, database: Database, group: int, task: int, stage: StageEntry, groups: list[_Group]) -> None:
        for stored, record in waiting_records(database, self._before.prefix(task), stage):
            if not stage.edge(stored).broadcast:
                groups[group_of(key_of(record), len(groups))].stages[task].add(stored, record)
            elif group == self._least.get(task):
                for one in groups:
                    one.stages[task].add(stored, record)

    def _move_output(self, database: Database, group: int, task: int, groups: list[_Group]) -> None:
        """An output lives in one group, with what waits for it."""
        control = self._controls.get((task, group))
        if control is not None:
            receiver = groups[self._new.output_group(task - FIRST_OUTPUT)]
            now = task_prefix(self._new.generation, task)
            carry_output(database, self._before.prefix(task), now, control, receiver.writer)

    def _finish_stage(self, group: _Group, task: int) -> None:
        """Say where a stage stands in a new group, which has all its rows by now."""
        group.writer.flush()
        entries = [self._operators[name] for name in self._old.stages[task].operators]
        counts = count_stored(group.database, [entry.id for entry in entries if not entry.shared])
        floors = [control.timer_floor[0] for (number, _), control in self._controls.items() if number == task]
        group.stages[task].finish(self._new_meta(group.number, task), counts, min(floors))

    def _new_meta(self, group: int, task: int) -> dict[str, Any]:
        """What the engine keeps of a stage. Losses are counted in the first group; ordinals name their keys."""
        metas = [self._meta(task, old) for old in range(self._old.key_groups)]
        losses: dict[str, dict[str, int]] = {}
        ordinals: dict[str, list[Any]] = {}
        for meta in metas:
            for operator, counts in meta.get("losses", {}).items() if group == 0 else ():
                kept = losses.setdefault(operator, {})
                for side, count in counts.items():
                    kept[side] = kept.get(side, 0) + count
            for edge, counted in (meta.get("progress") or {}).get("ordinals", {}).items():
                ordinals.setdefault(edge, []).extend(counted)
        progress = {"watermark": self._handled[task], "ordinals": ordinals}
        made = {"claims": {}, "losses": losses, "progress": progress}
        failures = added_failures(meta.get("failures") for meta in metas)
        if group == 0 and failures:
            made["failures"] = failures
        return made


class _Group:
    """A new group that is being filled."""

    def __init__(self, place: Path, number: int, new: Manifest, held: ExitStack) -> None:
        self.number = number
        self.database = Database(place, number, _OPTIONS)
        held.callback(self.database.close)
        self.writer = Writer(self.database)
        self.writer.put(CONTROL, *label(number))
        prefixes = [task_prefix(new.generation, task) for task in range(len(new.stages))]
        self.stages = [CarriedTask(self.writer, prefix) for prefix in prefixes]


def discard_move(directory: Path) -> None:
    """Remove what was written of new groups, if anything was: the manifest says that the old ones count."""
    with state_files(directory, "write"):
        _remove(new_place(directory))


def finish_move(directory: Path) -> None:
    """Put the new groups in the place of the old ones, and what lies beside them; again does nothing.

    The manifest says that they count.
    """
    new = new_place(directory)
    with state_files(directory, "write"):
        for name in _MOVED:
            now, old = directory / name, directory / f"{name}.old"
            if (new / name).exists():
                if now.exists():
                    _remove(old)
                    now.rename(old)
                reached("move.before")
                (new / name).rename(now)
                reached("move.after")
        _remove(new)
        for name in _MOVED:
            _remove(directory / f"{name}.old")


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)


def new_place(directory: Path) -> Path:
    """Where groups are made that are to take the place of those in a state directory, and what comes with them."""
    return directory / "rescaled"
