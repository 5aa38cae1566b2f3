"""What is committed, as the engine's log knows it: a run of the old plan's skeleton, without any of its code.

Which epoch a start resumes from is for the engine to say: it depends on what each worker of the last run had written
when it ended. So nothing here reads the engine's files. A dataflow with the steps of the old plan, by name, is started
on its log. The engine hands each step the tokens that it would resume from, and the end of input follows at once. What
the engine writes meanwhile are the same tokens again, and what a killed run has left of its last epoch is gone before
(`headway.runtime.recovery_log`): so to ask changes nothing, however often it is done and wherever it is killed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from headway.errors import CorruptStateError
from headway.runtime.dataflow import End, slot_token, step_name
from headway.runtime.directory import StateDirectory
from headway.runtime.engine import run_alone
from headway.runtime.job_options import slot_names
from headway.state.files import RESTORE
from headway.state.manifest import Manifest
from headway.state.positions import Positions, SourcePosition
from headway.state.tasks import added_failures, output_task

__all__ = ["Committed", "committed"]


@dataclass
class Committed:
    """Where everything stands at the last epoch that is durable on all workers."""

    versions: dict[tuple[int, int], int] = field(default_factory=dict)
    """By task and key group."""
    slots: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    """What each reader slot has noted, by source and slot."""

    def positions(self, manifest: Manifest, began_with: Positions) -> Positions:
        """The position of each source. `began_with` are those with which the generation began."""
        found = dict(began_with.sources)
        for name, entry in manifest.sources.items():
            by_slot = self.slots.get(name)
            if not by_slot:
                continue  # It has not committed anything in this generation.
            floors = [floor for state in by_slot.values() if (floor := _floor(state)) is not None]
            partitions: dict[str, Any] = {}
            counts = [0, 0, 0]
            letters = []
            for _, state in sorted(by_slot.items()):
                partitions |= state["partitions"]
                counts = [total + more for total, more in zip(counts, state["counts"])]
                if state["first_letter"] is not None:
                    letters.append(state["first_letter"])
            found[name] = SourcePosition(
                id=entry.id,
                partitions=partitions,
                counts=(counts[0], counts[1], counts[2]),
                first_letter=min(letters, default=None),
                failures=added_failures(state.get("failures") for state in by_slot.values()),
                redrive=next((state["redrive"] for state in by_slot.values() if "redrive" in state), None),
                floor=min(floors) if len(floors) == entry.slots else msgspec.UNSET,
            )
        return Positions(sources=found)


def _floor(kept: Mapping[str, Any]) -> Optional[int]:
    """By which time a reader slot stands; None where one of its partitions has told none, or it knows of none yet."""
    times = [time for _, time in kept["partitions"].values()]
    if not times:
        floor: Optional[int] = kept.get("floor")
        return floor
    return None if None in times else min(times)


def committed(directory: StateDirectory, manifest: Manifest) -> Committed:
    """Ask the engine's log of a manifest's generation. Takes some 50 ms; with the lock held."""
    found = Committed()
    log = directory.engine_log(manifest.generation)
    if not log.is_prepared():
        return found  # Nothing has ever run in this generation.
    log.prepare()
    run_alone(_skeleton(manifest, found), log)
    return found


class _Partition(StatefulSourcePartition[Any, Any]):
    def __init__(self, token: Any) -> None:
        self._token = token

    @override
    def next_batch(self) -> list[Any]:
        raise StopIteration

    @override
    def snapshot(self) -> Any:
        return self._token


class _Source(FixedPartitionedSource[Any, Any]):
    def __init__(self, name: str, slots: int, found: Committed) -> None:
        self._name = name
        self._slots = slots
        self._found = found

    @override
    def list_parts(self) -> list[str]:
        return slot_names(self._name, self._slots)

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> _Partition:
        if resume_state is not None:
            self._found.slots.setdefault(self._name, {})[for_part] = slot_token(resume_state, for_part)[1]
        return _Partition(resume_state)


class _Logic(StatefulBatchLogic[Any, Any, Any]):
    """A step that keeps its token."""

    def __init__(self, token: Any) -> None:
        self._token = token

    @override
    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        return [], StatefulBatchLogic.RETAIN

    @override
    def snapshot(self) -> Any:
        return self._token


def _skeleton(manifest: Manifest, found: Committed) -> Dataflow:
    """The steps of a plan that keep something, each of which notes its token."""
    flow = Dataflow(manifest.flow)
    inputs = [
        op.input(step_name("source", name), flow, _Source(name, entry.slots, found))
        for name, entry in manifest.sources.items()
    ]
    keyed = op.key_on("keyed", op.merge("merged", *inputs), str)
    ends: list[Any] = []

    def noting(task: int, of_group: Optional[int]) -> Any:
        """Notes the version of a task; only that of an output, which lives in one group, does not say the group."""

        def build(token: list[int]) -> _Logic:
            if len(token) != (2 if of_group is None else 1):
                msg = f"the engine's recovery log has the token {token!r:.100} for a version: it is damaged; {RESTORE}"
                raise CorruptStateError(msg)
            found.versions[task, token[0] if of_group is None else of_group] = token[-1]
            return _Logic(token)

        return build

    for task, entry in enumerate(manifest.stages):
        ends.append(op.stateful_batch(step_name("stage", entry.name), keyed, noting(task, None)))
    for name, sink in manifest.outputs.items():
        build = noting(output_task(sink.id), manifest.output_group(sink.id))
        ends.append(op.stateful_batch(step_name("sink", name), keyed, build))
    op.output("end", op.merge("ends", *ends), End())
    return flow
