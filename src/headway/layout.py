"""The layout of a plan: under which numbers its operators and outputs are stored, and who sends to whom.

Names are for people, and plans change: an operator is moved, a step comes before it, two stages become one. So what is
stored goes by numbers that an operator or an output gets when it is first seen, and keeps whatever becomes of the plan.
What belongs to one plan only (how far each stage has come, what waits at its inputs) goes by its *generation*: there is
a new one whenever the layout is another one, and `headway.state.evolve` leads from one to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Optional

import msgspec

from headway.connectors.base import Input
from headway.plan import Edge, Entry, KeyedStage, Plan, Table
from headway.state.manifest import (
    EdgeEntry,
    Manifest,
    OperatorEntry,
    OutputEntry,
    Retired,
    SourceEntry,
    StageEntry,
)
from headway.state.schemas import following
from headway.state.typeschema import state_schema

__all__ = ["MAX_SLOTS", "lay_out"]

MAX_SLOTS: Final = 64


def lay_out(plan: Plan, key_groups: int, found: Optional[Manifest]) -> Manifest:
    """The manifest of a plan. What has a number in `found` keeps it, everything else gets a new one.

    The generation is that of `found` as long as the layout is the same. What the plan has no more is retired.
    """
    numbers = _Numbers(found)
    known = numbers.known
    expected = Manifest(
        flow=plan.flow,
        key_groups=key_groups,
        sources={
            source.name: _source_entry(source.node.input, numbers.sources.get(source.name), numbers)
            for source in plan.sources
        },
        operators={
            table.name: _operator_entry(table, numbers.of_operator(table.name), numbers.operators.get(table.name))
            for stage in plan.stages
            for table in stage.tables()
        },
        outputs={
            sink.name: OutputEntry(id=numbers.of_output(sink.name), inputs=[_edge(edge, []) for edge in sink.inputs])
            for sink in plan.sinks
        },
        stages=[_stage_entry(stage) for stage in plan.stages],
    )
    expected = msgspec.structs.replace(expected, next_id=numbers.next_id)
    if known is None:
        return expected
    same = known.layout == expected.layout
    return msgspec.structs.replace(
        expected,
        generation=known.generation + (not same),
        stages=known.stages if same else expected.stages,
        retired=Retired(
            sources=_without(numbers.sources, expected.sources),
            operators=_without(numbers.operators, expected.operators),
            outputs=_without(numbers.outputs, expected.outputs),
        ),
        dropped=known.dropped,
        drain=known.drain,
    )


class _Numbers:
    """What has been given a number, and the next one that is free."""

    def __init__(self, known: Optional[Manifest]) -> None:
        self.known = known
        self.next_id = 1 if known is None else known.next_id
        self.sources: dict[str, SourceEntry] = {}
        self.operators: dict[str, OperatorEntry] = {}
        self.outputs: dict[str, OutputEntry] = {}
        if known is not None:
            self.sources = {**known.retired.sources, **known.sources}
            self.operators = {**known.retired.operators, **known.operators}
            self.outputs = {**known.retired.outputs, **known.outputs}

    def of_operator(self, name: str) -> int:
        """That of an operator's states, or of what its broadcasts keep."""
        return self._of(self.operators.get(name))

    def of_output(self, name: str) -> int:
        """That of an output."""
        return self._of(self.outputs.get(name))

    def _of(self, entry: Any) -> int:
        if entry is not None:
            number: int = entry.id
            return number
        return self.new()

    def new(self) -> int:
        """One that nothing has had."""
        self.next_id += 1
        return self.next_id - 1


def _without(all_: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in all_.items() if name not in now}


def _source_entry(given: Input, known: Optional[SourceEntry], numbers: _Numbers) -> SourceEntry:
    if known is not None:
        return msgspec.structs.replace(known, reading=given.reading)
    partitions = given.partitions()
    slots = max(1, min(len(partitions), MAX_SLOTS))
    numbered = {name: index % slots for index, name in enumerate(partitions)}
    return SourceEntry(id=numbers.new(), slots=slots, partitions=numbered, reading=given.reading)


def _operator_entry(table: Table, number: int, known: Optional[OperatorEntry]) -> OperatorEntry:
    entry = OperatorEntry(
        id=number,
        state=state_schema(table.state_type),
        version=table.version,
        migrates=table.migrate is not None,
        shared=table.shared,
    )
    return following(known, entry)


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
    )


def _entry(entry: Entry, operators: Sequence[str]) -> tuple[str, str]:
    return operators[entry.rank], entry.input
