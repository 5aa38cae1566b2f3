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

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headway.basics.times import MIN_TIME_MS
from headway.state.carried import CarriedTask, carry_output, check_record, inputs_with_records, waiting_records
from headway.state.database import CONTROL, OUTBOX, WAITING, Database, Writer
from headway.state.inputs import InputCodec
from headway.state.keys import FIRST_INPUT, task_prefix
from headway.state.manifest import EdgeEntry, Manifest, StageEntry
from headway.state.redo import END_ENTRY, Control, decode_meta
from headway.state.tasks import Generation, added_failures, count_stored

__all__ = ["Evolution"]


class Evolution:
    """Leads a state directory from the manifest `old` to `new`; with the lock held, and nothing else open.

    `versions` are the committed versions, by task and key group, as the engine's log knows them. First `settle`, which
    gives the new manifest with the inputs that are carried; then `write`. Both may be repeated after a kill at any
    point, as long as the old manifest is there. The caller then stores the new one. Takes some milliseconds for each
    key group and some microseconds for each waiting record; where stages are cut otherwise, or an operator is back,
    also a look at each of their keys, a microsecond or two, to count them.
    """

    def __init__(
        self, directory: Path, old: Manifest, new: Manifest, versions: Mapping[tuple[int, int], int], *, sync: bool
    ) -> None:
        self._before = Generation(directory, old, versions)
        self._old = old
        self._new = new
        self._sync = sync
        self._names = {entry.id: name for name, entry in new.operators.items()}
        self._old_edges, self._new_edges = _edge_keys(old), _edge_keys(new)
        self._old_ids, self._new_ids = _producer_ids(old), _producer_ids(new)
        self._stale = _fed_by_new_sources(old, new)
        self._places: dict[tuple[int, int], list[tuple[int, int]]] = {}
        """Where the records of an old input go: by task and stored number, new tasks and stored numbers."""

    def settle(self) -> Manifest:
        """Promote or discard what is pending in each group; returns the new manifest with its carried inputs."""
        waiting: dict[tuple[int, int], EdgeEntry] = {}
        with self._before.groups() as groups:
            for group, database in groups:
                self._before.settle(database, group)
                for number, stage in enumerate(self._old.stages):
                    for stored in inputs_with_records(database, self._before.prefix(number)):
                        waiting[number, stored] = stage.edge(stored)
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
        with self._before.groups() as groups:
            for group, database in groups:
                _clear(database, self._new.generation)
                writer = Writer(database)
                controls = self._before.settle(database, group)
                self._write_stages(database, controls, codecs, writer)
                for task in self._before.outputs:
                    if task in controls:
                        before, now = self._before.prefix(task), task_prefix(self._new.generation, task)
                        carry_output(database, before, now, controls[task], writer)
                writer.flush(sync=self._sync)

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

    def _write_stages(
        self,
        database: Database,
        controls: Mapping[int, Control],
        codecs: Mapping[str, Mapping[int, InputCodec]],
        writer: Writer,
    ) -> None:
        """What waits for the stages of a group, and then where each of them stands."""
        stages = self._new.stages
        carried = [CarriedTask(writer, task_prefix(self._new.generation, task)) for task in range(len(stages))]
        for task, was in enumerate(self._old.stages):
            for stored, record in waiting_records(database, self._before.prefix(task), was):
                for number, place in self._places.get((task, stored), ()):
                    check_record(record, codecs[stages[number].name][place], stages[number].edge(place), database)
                    carried[number].add(place, record)
        for stage, made in zip(stages, carried):
            kept = {self._new.operators[name].id for name in stage.operators}
            tasks = [
                (was, controls[task])
                for task, was in enumerate(self._old.stages)
                if task in controls and kept & self._ids_of(was)
            ]
            is_back = any(self._is_back(name) for name in stage.operators)
            if tasks or is_back:
                first_ms = min((control.timer_floor[0] for _, control in tasks), default=END_ENTRY[0])
                made.finish(
                    self._meta(stage, tasks),
                    self._counts(database, stage, tasks, is_back=is_back),
                    MIN_TIME_MS if is_back else first_ms,
                )

    def _counts(
        self, database: Database, stage: StageEntry, tasks: Sequence[tuple[StageEntry, Control]], *, is_back: bool
    ) -> tuple[int, int, int]:
        """Rows, keys and timers of a new stage: those of the old one, or counted where it was cut otherwise."""
        kept = {self._new.operators[name].id for name in stage.operators}
        if len(tasks) == 1 and not is_back and self._ids_of(tasks[0][0]) <= kept:
            [(was, control)] = tasks
            several = sum(not self._old.operators[name].shared for name in was.operators) > 1
            return control.rows, control.keys if several else control.rows, control.timers
        entries = [self._new.operators[name] for name in stage.operators]
        return count_stored(database, [entry.id for entry in entries if not entry.shared])

    def _ids_of(self, was: StageEntry) -> set[int]:
        return {self._old.operators[name].id for name in was.operators}

    def _is_back(self, name: str) -> bool:
        """Whether an operator was not in the old plan, and has a number from before."""
        entry = self._new.operators[name]
        return any(entry.id == retired.id for retired in self._old.retired.operators.values())

    def _meta(self, stage: StageEntry, tasks: Sequence[tuple[StageEntry, Control]]) -> dict[str, Any]:
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
            handled.append(self._before.handled_ms(task, meta))
            for edge, counted in (progress or {}).get("ordinals", {}).items():
                key = self._old_edges[int(edge)]
                if key in self._new_edges:
                    ordinals[str(self._new_edges.index(key))] = counted
        made: dict[str, Any] = {"claims": {}, "losses": losses}
        failures = added_failures(meta.get("failures") for _, meta in metas)
        if failures:
            made["failures"] = failures
        watermark = MIN_TIME_MS if stage.name in self._stale else min(handled, default=MIN_TIME_MS)
        made["progress"] = {"watermark": watermark, "ordinals": ordinals}
        return made


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


def _clear(database: Database, generation: int) -> None:
    """Remove what a change that was interrupted has left of its generation."""
    start, end = task_prefix(generation, 0), task_prefix(generation + 1, 0)
    batch = database.batch()
    for family in (CONTROL, OUTBOX, WAITING):
        for key, _ in database.scan(family, start, end):
            batch.delete(family, key)
    database.write(batch, sync=False)
