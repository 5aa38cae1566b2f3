"""The flow that is proven, reading a sample and writing into a folder: all between is as the user has declared it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Optional

import msgspec
from typing_extensions import override

from headway.connectors.base import Chunk, Decoded, Input, PartitionReader, Position, Tell, unheard
from headway.connectors.jsonl import JsonlOutput
from headway.connectors.memory import ItemsChunk
from headway.declare.flow import Flow
from headway.declare.loading import FlowSpec, load_flow
from headway.formats.base import UNDECODABLE, Decoder, HeadedDecoder
from headway.graph import SinkNode, SourceNode
from headway.proving.sample import Partition, Sample
from headway.targets.call import Trigger, call
from headway.targets.delivered import Delivered

__all__ = ["JOURNAL", "OUTPUTS", "Pace", "Proven", "proven_flow", "rewired"]

OUTPUTS: Final = "outputs"
"""The folder of the files that the flow writes."""
JOURNAL: Final = "deliveries.jsonl"
"""What is delivered, a line for each attempt."""
_BEGIN_MS: Final = 1_767_225_600_000
_STEP_MS: Final = 1_000
"""Where time is when the log takes a record, each record has a time of its own, at these distances."""


class Pace(msgspec.Struct, frozen=True):
    """What one life of a run gets to read, and how fast."""

    batch: int
    """Records that are read at a time."""
    per_epoch: int
    """Records of each partition in one epoch: so an epoch ends where the plan says, and not where the clock does."""
    visible: dict[str, dict[str, int]]
    """How many records of each partition are there yet."""


class Proven(msgspec.Struct, frozen=True):
    """What a process must know to make the flow; in the file `proven.json` of the folder of a trial."""

    ref: str
    parameters: dict[str, str]
    sample: str
    """The file of the sample."""
    pace: Pace

    def store(self, folder: Path) -> None:
        """Keep it, for `proven_flow`."""
        (folder / "proven.json").write_bytes(msgspec.json.encode(self))


def proven_flow(folder: str) -> Flow:
    """The flow of a trial, made anew: for worker processes, which import `proven.py` of the folder."""
    place = Path(folder)
    proven = msgspec.json.decode((place / "proven.json").read_bytes(), type=Proven)
    # The parameters are those of the flow itself, and this is called while another module is imported.
    flow = load_flow(FlowSpec(proven.ref, proven.parameters))
    return rewired(flow, Sample.load(Path(proven.sample)), proven.pace, place)


def rewired(flow: Flow, sample: Sample, pace: Pace, folder: Path) -> Flow:
    """Let a flow read the sample and write into the folder; returns the same flow, which is of no other use then.

    What is written goes to a file for each output, what is delivered to a function that keeps a journal. Partitions
    that are idle hold time back as long as they do in the log: passing them over goes by the wall clock.
    """
    nodes = flow.graph.nodes
    for name, node in nodes.items():
        if isinstance(node, SourceNode) and name in sample.sources:
            given = _Recorded(node.input, sample.sources[name], pace, pace.visible[name])
            nodes[name] = replace(node, input=given, idle_after_ms=None)
        elif isinstance(node, SinkNode) and node.delivered is None:
            nodes[name] = replace(node, output=JsonlOutput(str(folder / OUTPUTS / f"{name}.jsonl")))
        elif isinstance(node, SinkNode) and node.delivered is not None and not node.delivered.target.comes_back:
            former = node.delivered
            journal = call(_Journal(name, folder / JOURNAL), timeout="60s")
            output = Delivered(journal, former.delivering, has_keys=former.has_keys)
            output.reported = former.reported
            nodes[name] = replace(node, output=output)
    return flow


class _Journal:
    """Takes triggers, and notes each attempt in one write, which a kill cannot divide."""

    def __init__(self, output: str, path: Path) -> None:
        self._output = output
        self._path = path
        self.__name__ = f"journal of {output}"

    def __call__(self, trigger: Trigger[Any]) -> None:
        line = msgspec.json.encode(
            [self._output, trigger.key, trigger.id, trigger.type, trigger.time_ms, trigger.sequence, trigger.value]
        )
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, line + b"\n")
        finally:
            os.close(file)


class _Recorded(Input):
    """An input whose records are those of the sample; its format and what it knows of records are as they were."""

    def __init__(self, former: Input, logs: dict[str, Partition], pace: Pace, visible: dict[str, int]) -> None:
        self.format = former.format
        self.record_parts = former.record_parts
        self._former = former
        self._logs = logs
        self._pace = pace
        self._visible = visible

    @override
    def partitions(self, tell: Tell = unheard) -> list[str]:
        return sorted(self._logs)

    @override
    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        start = 0 if position is None else position["item"]
        return _Reader(partition, self._logs[partition], start, self._visible[partition], self._pace)

    @override
    def records_before(self, position: Position) -> Optional[int]:
        return int(position["item"])

    @override
    def describe(self) -> str:
        return self._former.describe()


class _Reader(PartitionReader):
    """Reads some records in each epoch, and tells that more comes until all that are visible have been read."""

    def __init__(self, name: str, log: Partition, start: int, visible: int, pace: Pace) -> None:
        self._name = name
        self._records = log.records
        self._header = log.header
        self._item = start
        self._visible = visible
        self._pace = pace
        self._left = pace.per_epoch
        self._last_ms = _BEGIN_MS + start * _STEP_MS

    @override
    def read(self, max_bytes: int) -> Optional[Chunk]:
        count = min(self._pace.batch, self._left, self._visible - self._item)
        if count <= 0:
            return None
        first, self._item = self._item, self._item + count
        self._left -= count
        self._last_ms = _BEGIN_MS + self._item * _STEP_MS
        return _Chunk(self._records[first : self._item], first, self._name, self._header)

    @property
    @override
    def at_end(self) -> bool:
        return self._item >= self._visible

    @override
    def position(self) -> Position:
        """Asked for when an epoch closes: then the next one may read."""
        self._left = self._pace.per_epoch
        return {"item": self._item}

    @override
    def floor_ms(self, wall_ms: int) -> Optional[int]:
        """Nothing is known of what is yet to be read: time goes on with what was read, and not by the clock."""
        return None


@dataclass(frozen=True)
class _Chunk(ItemsChunk):
    header: Optional[bytes] = None
    """The first line of the file that the records are from, where it says how they are to be read."""

    @override
    def decode(self, decoder: Decoder) -> Decoded:
        if self.header is not None and isinstance(decoder, HeadedDecoder):
            # A first line that names no columns is the one record of its partition, and a bad one.
            with suppress(*UNDECODABLE):
                decoder = decoder.below(self.header)
        return super().decode(decoder)

    @override
    def receipt_times(self, ordinals: Sequence[int]) -> Optional[list[int]]:
        return [_BEGIN_MS + ordinal * _STEP_MS for ordinal in ordinals]
