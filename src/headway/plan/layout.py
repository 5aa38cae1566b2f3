"""The layout of a plan: under which numbers its operators and outputs are stored, and who sends to whom.

Names are for people, and plans change: an operator is moved, a step comes before it, two stages become one. So what is
stored goes by numbers that an operator or an output gets when it is first seen, and keeps whatever becomes of the plan.
What belongs to one plan only (how far each stage has come, what waits at its inputs) goes by its *generation*: there is
a new one whenever the layout is another one, and `headway.state.evolve` leads from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Optional

import msgspec

from headway.connectors.base import Input
from headway.plan.inventory import steps_of
from headway.plan.stages import Edge, Entry, KeyedStage, Plan, Table
from headway.state.manifest import (
    EdgeEntry,
    Manifest,
    OperatorEntry,
    OutputEntry,
    Retired,
    SourceEntry,
    StageEntry,
    StepEntry,
    ViewEntry,
)
from headway.state.names import former_name, owner
from headway.state.schemas import following
from headway.state.typeschema import state_schema
from headway.types.logtypes import log_fields
from headway.types.typetexts import type_mark

__all__ = ["MAX_SLOTS", "lay_out"]

MAX_SLOTS: Final = 64


def lay_out(plan: Plan, key_groups: int, found: Optional[Manifest], *, workers: int = 1) -> Manifest:
    """The manifest of a plan. What has a number in `found` keeps it, everything else gets a new one.

    A step that says which name it had (`was`) goes on with the number of that name. The generation is that of `found`
    as long as the layout is the same. What the plan has no more is retired. A source that has fewer reader slots than
    there are `workers` gets one for each of its partitions, so that they can share them.
    """
    steps = steps_of(plan.graph)
    numbers = _Numbers(found, steps)
    tables = [table for stage in plan.stages for table in stage.tables()]
    numbers.match(
        [source.name for source in plan.sources], [table.name for table in tables], [sink.name for sink in plan.sinks]
    )
    expected = Manifest(
        flow=plan.flow,
        key_groups=key_groups,
        sources={
            source.name: _source_entry(source.node.input, numbers.known_source(source.name), numbers, workers)
            for source in plan.sources
        },
        operators={
            table.name: _operator_entry(
                table, numbers.of_operator(table.name), numbers.known_operator(table.name), numbers
            )
            for table in tables
        },
        outputs={
            sink.name: OutputEntry(
                id=numbers.of_output(sink.name),
                inputs=[_edge(edge, []) for edge in sink.inputs],
                delivered=sink.delivered is not None,
            )
            for sink in plan.sinks
        },
        stages=[_stage_entry(stage) for stage in plan.stages],
        steps=steps,
    )
    views = _view_entries(plan, expected.operators, found, numbers)
    expected = msgspec.structs.replace(expected, views=views, next_id=numbers.next_id)
    if found is None:
        return expected
    same = found.layout == expected.layout
    return msgspec.structs.replace(
        expected,
        generation=found.generation + (not same),
        stages=found.stages if same else expected.stages,
        retired=numbers.retired(),
        dropped=[*found.dropped, *_index_ids(found.views) - _index_ids(views), *numbers.lost_logs],
        drain=found.drain,
    )


class _Numbers:
    """What has been given a number, and the next one that is free."""

    def __init__(self, found: Optional[Manifest], steps: Mapping[str, StepEntry]) -> None:
        self.next_id = 1 if found is None else found.next_id
        self._steps = steps
        self._known_steps: dict[str, StepEntry] = {}
        self._sources: dict[str, SourceEntry] = {}
        self._operators: dict[str, OperatorEntry] = {}
        self._outputs: dict[str, OutputEntry] = {}
        self.lost_logs: list[int] = []
        """Numbers of logs that states have no more: what is stored of them is to be deleted."""
        if found is not None:
            self._known_steps = {**found.retired.steps, **found.steps}
            self._sources = {**found.retired.sources, **found.sources}
            self._operators = {**found.retired.operators, **found.operators}
            self._outputs = {**found.retired.outputs, **found.outputs}

    def match(self, sources: Sequence[str], operators: Sequence[str], outputs: Sequence[str]) -> None:
        """Find out which names of before today's names stand for. Called once, before all else."""
        self._source_names = self._former(sources, self._sources)
        self._operator_names = self._former(operators, self._operators)
        self._output_names = self._former(outputs, self._outputs)

    def _former(self, names: Sequence[str], known: Mapping[str, Any]) -> dict[str, str]:
        return {name: former_name(name, self._was(name), known, names) for name in names}

    def _was(self, name: str) -> Sequence[str]:
        step = self._steps.get(owner(name))
        return () if step is None else step.was

    def known_source(self, name: str) -> Optional[SourceEntry]:
        """What is known of a source."""
        return self._sources.get(self._source_names[name])

    def known_operator(self, name: str) -> Optional[OperatorEntry]:
        """What is known of an operator's states, or of what its broadcasts keep."""
        return self._operators.get(self._operator_names[name])

    def of_operator(self, name: str) -> int:
        """That of an operator's states, or of what its broadcasts keep."""
        return self._of(self._operators.get(self._operator_names[name]))

    def of_output(self, name: str) -> int:
        """That of an output."""
        return self._of(self._outputs.get(self._output_names[name]))

    def _of(self, entry: Any) -> int:
        if entry is not None:
            number: int = entry.id
            return number
        return self.new()

    def new(self) -> int:
        """One that nothing has had."""
        self.next_id += 1
        return self.next_id - 1

    def retired(self) -> Retired:
        """What is known and stands for nothing in today's flow."""
        sources = _without(self._sources, self._source_names.values())
        operators = _without(self._operators, self._operator_names.values())
        outputs = _without(self._outputs, self._output_names.values())
        names = dict.fromkeys(owner(name) for name in (*sources, *operators, *outputs))
        steps = {name: self._known_steps[name] for name in names if name in self._known_steps}
        return Retired(sources=sources, operators=operators, outputs=outputs, steps=steps)


def _without(known: Mapping[str, Any], used: Iterable[str]) -> dict[str, Any]:
    names = set(used)
    return {name: entry for name, entry in known.items() if name not in names}


def _source_entry(given: Input, known: Optional[SourceEntry], numbers: _Numbers, workers: int) -> SourceEntry:
    if known is None:
        entry = SourceEntry(id=numbers.new(), slots=1, reading=given.reading)
        return entry.shared_out(given.partitions(), MAX_SLOTS)
    same = msgspec.structs.replace(known, reading=given.reading)
    if known.slots >= min(workers, MAX_SLOTS):
        return same  # No worker is without a reader for want of slots, so the partitions need not be listed.
    grown = same.shared_out(given.partitions(), MAX_SLOTS)
    return grown if grown.slots > known.slots else same


def _operator_entry(table: Table, number: int, known: Optional[OperatorEntry], numbers: _Numbers) -> OperatorEntry:
    before = {} if known is None else known.logs
    logs = {field.key: before.get(field.key) or numbers.new() for field in log_fields(table.state_type)}
    gone = [log for field, log in before.items() if field not in logs]
    former = [] if known is None else list(known.former_logs)
    if known is not None and known.version == table.version:
        numbers.lost_logs += gone
    else:
        former += gone
    entry = OperatorEntry(
        id=number,
        state=state_schema(table.state_type),
        version=table.version,
        migrates=table.migrate is not None,
        shared=table.shared,
        logs=logs,
        former_logs=former,
    )
    return following(known, entry)


def _view_entries(
    plan: Plan, operators: Mapping[str, OperatorEntry], found: Optional[Manifest], numbers: _Numbers
) -> dict[str, ViewEntry]:
    """The views; one that is indexed as before keeps its index, any other gets one that is still to be built."""
    known = {} if found is None else found.views
    entries = {}
    for view in plan.graph.views.values():
        entry = ViewEntry(
            operator=view.operator,
            operator_id=operators[view.operator].id,
            of_stream=view.of_stream,
            fields=list(view.fields),
            index=view.index or "",
            index_default=view.index_default,
            was=list(view.was),
        )
        if view.index is not None:
            before = known.get(former_name(view.name, view.was, known, plan.graph.views))
            kept = ("operator_id", "of_stream", "index", "index_default")
            if before is not None and all(getattr(before, name) == getattr(entry, name) for name in kept):
                entry = msgspec.structs.replace(entry, index_id=before.index_id, is_built=before.is_built)
            else:
                entry = msgspec.structs.replace(entry, index_id=numbers.new(), is_built=found is None)
        entries[view.name] = entry
    return entries


def _index_ids(views: Mapping[str, ViewEntry]) -> set[int]:
    return {view.index_id for view in views.values() if view.index}


def _stage_entry(stage: KeyedStage) -> StageEntry:
    names = [operator.name for operator in stage.operators]
    return StageEntry(
        name=stage.name,
        operators=[table.name for table in stage.tables()],
        inputs=[_edge(edge, names) for edge in stage.inputs],
    )


def _edge(edge: Edge, operators: Sequence[str]) -> EdgeEntry:
    return EdgeEntry(
        producer=(edge.producer.node, edge.producer.name),
        entries=[_entry(entry, operators) for entry in edge.entries],
        from_source=edge.from_source,
        broadcast=edge.broadcast,
        has_places=edge.has_places,
        values=type_mark(edge.value_type),
    )


def _entry(entry: Entry, operators: Sequence[str]) -> tuple[str, str]:
    return operators[entry.rank], entry.input
