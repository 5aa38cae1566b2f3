"""From one generation of a state directory to the next: how a flow changes and keeps its state.

**What stays where it is.** Rows and timers go by the numbers of their operators, which do not change. So a change of
plan moves none of them, whatever their number: what it writes anew is how far each task has come and what waits at its
inputs, which is little.

**The settled form.** A start under the same plan resumes from the engine's log: for each task the version that is
committed everywhere, and with it perhaps a pending delta that is still to be promoted or discarded. A start under
another plan cannot: the log knows the tasks of the old plan only. So the old generation is *settled* first. The
committed versions are taken from the log, every pending delta is promoted or discarded, and what the log alone knew,
the positions in each input, is written beside. Nothing of the log is needed then.

**Two generations side by side.** Control records, pending deltas and waiting records have the number of their
generation at the beginning of their keys. The new generation is written beside the old one, which stays whole. The
switch is one atomic rename of the manifest. Whoever is killed before it leaves the old form: the old flow goes on with
it, and the new one begins again with the same result. Whoever is killed after it leaves the new form. What is left of
the other generation is removed when a group is next opened.

**What waits** at an input when the plan changes was made by the old steps, for the operators that it led to then.
Where the new plan has that input too, perhaps with new operators behind it, it waits there, and the new operators see
it as well. Else, when a stage is split or two become one, it is *carried*: the new stage of such an operator gets an
input more, at which these records wait and to which nothing is added; of the records of one instant they come first.
So nothing is lost or handled twice.

**How far time has come** is what the tasks had handled. The claims of the channels are not carried: they come with the
first message of each channel. A task that a new source feeds, directly or through others, forgets how far it was: its
time goes back to what the source brings.

**Rejected.** Keys that hold the names of stages, or places in them: two lines swapped lose the state. Rewriting rows
under the new plan: minutes at ten million keys, and a kill in between needs a plan of its own. Letting waiting records
run through the new steps: they have gone through the old ones already.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from headway.state.carried import CarriedRecord, check_records, inputs_with_records, records_at, write_records
from headway.state.database import CONTROL, OUTBOX, VERSION_BYTE, WAITING, Database
from headway.state.inputs import FIRST_INPUT, InputCodec
from headway.state.keys import successor, task_prefix
from headway.state.manifest import EdgeEntry, Manifest, StageEntry
from headway.state.outbox import Outbox
from headway.state.redo import END_ENTRY, NO_STATE, Control, decode_meta, encode_meta
from headway.state.stage import MARK
from headway.state.tasks import Task, added_failures, count_stored, opened_groups, output_tasks, stage_tasks
from headway.times import MIN_TIME_MS

__all__ = ["Evolution"]

_BATCH_RECORDS: Final = 5_000


class Evolution:
    """Leads a state directory from the manifest `old` to `new`; with the lock held, and nothing else open.

    `versions` are the committed versions, by task and key group, as the engine's log knows them. First `settle`, which
    gives the new manifest with the inputs that are carried; then `write`. Both may be repeated after a kill at any
    point, as long as the old manifest is there. The caller then stores the new one. Takes some milliseconds for each
    key group, and some microseconds for each waiting record.
    """

    def __init__(
        self, directory: Path, old: Manifest, new: Manifest, versions: Mapping[tuple[int, int], int], *, sync: bool
    ) -> None:
        self._directory = directory
        self._old = old
        self._new = new
        self._versions = versions
        self._sync = sync
        self._names = {entry.id: name for name, entry in new.operators.items()}
        self._tasks = stage_tasks(old)
        self._outputs = output_tasks(old)
        self._old_edges, self._new_edges = _edge_keys(old), _edge_keys(new)
        self._old_ids, self._new_ids = _producer_ids(old), _producer_ids(new)
        self._stale = _fed_by_new_sources(old, new)
        self._places: dict[tuple[int, int], list[tuple[int, int]]] = {}
        """Where the records of an old input go: by task and stored number, new tasks and stored numbers."""

    def settle(self) -> Manifest:
        """Promote or discard what is pending in each group; returns the new manifest with its carried inputs."""
        waiting: dict[tuple[int, int], EdgeEntry] = {}
        with closing(self._databases()) as databases:
            for group, database in databases:
                for task in (*self._tasks, *self._outputs):
                    self._resumed(database, task, group)
                for task in self._tasks:
                    for stored in inputs_with_records(database, task_prefix(self._old.generation, task.number)):
                        waiting[task.number, stored] = task.edge(stored)
        carried: list[list[tuple[EdgeEntry, tuple[int, int]]]] = [[] for _ in self._new.stages]
        taken: set[tuple[int, int]] = set()
        # Inputs of the old plan first: one that was carried before does not take their place.
        for place, edge in sorted(waiting.items(), key=lambda item: (item[0][1] < FIRST_INPUT, item[0])):
            for number, stage in enumerate(self._new.stages):
                entries = self._entries_in(edge, stage)
                rank = self._same_input(edge, entries, stage)
                if rank is not None and (number, rank) not in taken:
                    taken.add((number, rank))
                    self._places.setdefault(place, []).append((number, FIRST_INPUT + rank))
                elif entries:
                    carried[number].append((msgspec.structs.replace(edge, entries=entries), place))
        for number, edges in enumerate(carried):
            for index, (_, place) in enumerate(edges):
                self._places.setdefault(place, []).append((number, FIRST_INPUT - len(edges) + index))
        stages = [
            msgspec.structs.replace(stage, carried=[edge for edge, _ in edges])
            for stage, edges in zip(self._new.stages, carried)
        ]
        self._new = msgspec.structs.replace(self._new, stages=stages)
        return self._new

    def write(self, codecs: Mapping[str, Mapping[int, InputCodec]]) -> None:
        """Write the new generation beside the old one.

        `codecs` are those of each stage, by the stored number of the input.

        Raises `IncompatibleStateError` when what waits does not fit the type of an operator's input any more.
        """
        with closing(self._databases()) as databases:
            for group, database in databases:
                _clear(database, self._new.generation)
                controls = {
                    task.number: self._resumed(database, task, group) for task in (*self._tasks, *self._outputs)
                }
                for number, stage in enumerate(self._new.stages):
                    self._write_stage(database, number, stage, controls, codecs)
                for task in self._outputs:
                    if controls[task.number] is not NO_STATE:
                        self._copy_output(database, task.number, controls[task.number])
                # What has been written before is in the same log: one sync is for all.
                database.write(database.batch(), sync=self._sync)

    def _databases(self) -> Generator[tuple[int, Database], None, None]:
        return opened_groups(self._directory, self._old.key_groups)

    def _resumed(self, database: Database, task: Task, group: int) -> Control:
        return task.settle(database, self._old.generation, self._versions.get((task.number, group)))

    def _entries_in(self, edge: EdgeEntry, stage: StageEntry) -> list[tuple[str, str]]:
        """Which of the operators that an old input led to are in a new stage, by their new names."""
        found = []
        for operator, name in edge.entries:
            entry = self._old.operators.get(operator)
            now = None if entry is None else self._names.get(entry.id)
            if now is not None and now in stage.operators:
                found.append((now, name))
        return found

    def _same_input(self, edge: EdgeEntry, entries: list[tuple[str, str]], stage: StageEntry) -> int | None:
        """Which input of a new stage is an old one: it leads to the same operators, and perhaps to new ones."""
        if not entries:
            return None
        before = {entry.id for entry in self._old.operators.values()}
        for rank, other in enumerate(stage.inputs):
            known = [entry for entry in other.entries if self._new.operators[entry[0]].id in before]
            if self._old_ids.get(edge.producer[0]) != self._new_ids.get(other.producer[0]):
                continue
            same = (edge.producer[1], edge.from_source, edge.broadcast, edge.has_places)
            now = (other.producer[1], other.from_source, other.broadcast, other.has_places)
            if same == now and sorted(known) == sorted(entries):
                return rank
        return None

    def _write_stage(
        self,
        database: Database,
        number: int,
        stage: StageEntry,
        controls: Mapping[int, Control],
        codecs: Mapping[str, Mapping[int, InputCodec]],
    ) -> None:
        """The control record of a new stage, and what is carried to it."""
        kept = {self._new.operators[name].id for name in stage.operators}
        tasks = [task for task in self._tasks if kept & self._ids_of(task) and controls[task.number] is not NO_STATE]
        back = [self._new.operators[name].id for name in stage.operators if self._is_back(name)]
        if not tasks and not back:
            return
        prefix = task_prefix(self._new.generation, number)
        records = {
            stored: [record for old in places for record in self._waiting(database, *old)]
            for stored, places in self._places_of(number).items()
        }
        check_records(records, stage, codecs[stage.name], database)
        floor, spilled = write_records(database, prefix, records)
        whole = {number for task in tasks for number in self._ids_of(task)}
        counted = [self._new.operators[name] for name in stage.operators if not self._new.operators[name].shared]
        if whole <= kept and not back and len(tasks) == 1:
            [control] = [controls[task.number] for task in tasks]
            old_counted = [name for name in tasks[0].operators if not self._old.operators[name].shared]
            rows, timers = control.rows, control.timers
            keys = control.keys if len(old_counted) > 1 else control.rows
        else:
            rows, keys, timers = count_stored(database, [entry.id for entry in counted])
        control = Control(
            version=0,
            meta=encode_meta(self._meta(stage, [(task, controls[task.number]) for task in tasks])),
            rows=rows,
            keys=keys,
            timers=timers,
            timer_floor=_timer_floor([controls[task.number] for task in tasks], any_time=bool(back)),
            spill_floor=floor,
            spilled=spilled,
            spill_sequence=spilled,
            spill_front=0,
        )
        batch = database.batch()
        batch.put(CONTROL, prefix, control.encode())
        database.write(batch, sync=False)

    def _waiting(self, database: Database, task: int, stored: int) -> list[CarriedRecord]:
        """What waits at an old input."""
        from_stage = not self._tasks[task].edge(stored).from_source
        return records_at(database, task_prefix(self._old.generation, task), stored, from_stage=from_stage)

    def _ids_of(self, task: Task) -> set[int]:
        return {self._old.operators[name].id for name in task.operators}

    def _is_back(self, name: str) -> bool:
        """Whether an operator was not in the old plan, and has a number from before."""
        entry = self._new.operators[name]
        return any(entry.id == retired.id for retired in self._old.retired.operators.values())

    def _places_of(self, number: int) -> dict[int, list[tuple[int, int]]]:
        """The old inputs whose records go to each carried input of a new stage."""
        found: dict[int, list[tuple[int, int]]] = {}
        for old, places in self._places.items():
            for task, stored in places:
                if task == number:
                    found.setdefault(stored, []).append(old)
        return dict(sorted(found.items()))

    def _meta(self, stage: StageEntry, tasks: Sequence[tuple[Task, Control]]) -> dict[str, Any]:
        """What the engine keeps of a stage: without claims, which come with the first message of each channel."""
        metas = [(task, decode_meta(control.meta) or {}) for task, control in tasks]
        losses: dict[str, Any] = {}
        ordinals: dict[str, Any] = {}
        handled: list[int] = []
        ids = {self._old.operators[name].id: name for task, _ in tasks for name in task.operators}
        for task, meta in metas:
            for number, was in ids.items():
                if was in meta.get("losses", {}) and number in self._names:
                    losses[self._names[number]] = meta["losses"][was]
            progress = meta.get("progress")
            handled.append(task.handled_ms(self._old, meta))
            for edge, counted in (progress or {}).get("ordinals", {}).items():
                key = self._old_edges[int(edge)]
                if key in self._new_edges:
                    ordinals[str(self._new_edges.index(key))] = counted
        made: dict[str, Any] = {"claims": {}, "losses": losses}
        failures = added_failures(meta.get("failures") for _, meta in metas)
        if failures:
            made["failures"] = failures
        if handled and stage.name not in self._stale:
            made["progress"] = {"watermark": min(handled), "ordinals": ordinals}
        return made

    def _copy_output(self, database: Database, task: int, control: Control) -> None:
        """What an output has written and what waits for it, as it is, without the claims."""
        old, new = task_prefix(self._old.generation, task), task_prefix(self._new.generation, task)
        meta = {**(decode_meta(control.meta) or {}), "claims": {}}
        batch = database.batch()
        for count, (key, value) in enumerate(database.scan(WAITING, old, successor(old)), 1):
            batch.put(WAITING, new + key[len(old) :], value)
            if count % _BATCH_RECORDS == 0:
                database.write(batch, sync=False)
                batch = database.batch()
        for number, (_, value) in enumerate(database.scan(OUTBOX, old, successor(old))):
            batch.put(OUTBOX, new + Outbox.key(0, number), value)
        batch.put(CONTROL, new, msgspec.structs.replace(control, version=0, meta=encode_meta(meta)).encode())
        mark = database.get(CONTROL, old + MARK)
        if mark is not None:
            batch.put(CONTROL, new + MARK, VERSION_BYTE + mark)
        database.write(batch, sync=False)


def _edge_keys(manifest: Manifest) -> list[Any]:
    """For each exchange, by its number, what it is whatever the names are; None for those between stages."""
    producers = _producer_ids(manifest)
    keys: list[Any] = [None for stage in manifest.stages for _ in stage.inputs]
    for output in manifest.outputs.values():
        seen: dict[Any, int] = {}
        for edge in output.inputs:
            key = (producers[edge.producer[0]], edge.producer[1], output.id)
            seen[key] = seen.get(key, 0) + 1
            keys.append((*key, seen[key]))
    return keys


def _producer_ids(manifest: Manifest) -> dict[str, int]:
    """The numbers of all that sends something, by name."""
    sources = {name: entry.id for name, entry in manifest.sources.items()}
    return sources | {name: entry.id for name, entry in manifest.operators.items()}


def _fed_by_new_sources(old: Manifest, new: Manifest) -> set[str]:
    """The stages of `new` whose time goes back, since a source that was not in the old plan feeds them."""
    known = {entry.id for entry in old.sources.values()}
    back = {name for name, entry in new.sources.items() if entry.id not in known}
    stale: set[str] = set()
    for stage in new.stages:  # Those that feed others come first.
        if any(edge.producer[0] in back for edge in stage.inputs):
            stale.add(stage.name)
            back.update(stage.operators)
    return stale


def _timer_floor(controls: Sequence[Control], *, any_time: bool) -> tuple[int, str, int, str]:
    """A position that no timer is before, whatever the ranks of the operators are now."""
    first_ms = min((control.timer_floor[0] for control in controls), default=END_ENTRY[0])
    return (MIN_TIME_MS if any_time else first_ms), "", 0, ""


def _clear(database: Database, generation: int) -> None:
    """Remove what a change that was interrupted has left of its generation."""
    start, end = task_prefix(generation, 0), task_prefix(generation + 1, 0)
    batch = database.batch()
    for family in (CONTROL, OUTBOX, WAITING):
        for key, _ in database.scan(family, start, end):
            batch.delete(family, key)
    database.write(batch, sync=False)
