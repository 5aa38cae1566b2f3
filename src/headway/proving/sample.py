"""A sample of the logs of a flow: some records of each partition, kept in a file, so that every run reads the same."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Optional

import msgspec

from headway.connectors.base import Chunk, Input
from headway.connectors.parts import RecordPart
from headway.connectors.records import Record
from headway.declare.flow import Flow
from headway.errors import InputError, UsageError
from headway.graph import SourceNode

__all__ = ["Logs", "Sample", "given_sample", "is_by_clock", "taken_sample"]

Logs = Mapping[str, Mapping[str, Iterable[Any]]]
"""Records of each partition of each source: dicts, events, `Record`s, or bytes in the format of the source."""

_CHUNK_BYTES: Final = 1 << 16
_WAIT_LIMIT: Final = 10_000


class Sample(msgspec.Struct, frozen=True):
    """The records of each partition of each source, by name, in the order of their logs."""

    sources: dict[str, dict[str, list[Record]]]

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """How many records there are."""
        return {
            name: {part: len(records) for part, records in partitions.items()}
            for name, partitions in self.sources.items()
        }

    @property
    def count(self) -> int:
        """How many records there are of everything."""
        return sum(len(records) for partitions in self.sources.values() for records in partitions.values())

    def first(self, count: int) -> Sample:
        """The first records of each partition: about so many in all, and of each partition the same share."""
        total = max(1, self.count)
        return Sample(
            {
                name: {
                    part: records[: -(-len(records) * min(count, total) // total)] for part, records in parts.items()
                }
                for name, parts in self.sources.items()
            }
        )

    def store(self, path: Path) -> None:
        """Write it to a file."""
        plain = {
            name: {part: [msgspec.structs.astuple(one) for one in records] for part, records in partitions.items()}
            for name, partitions in self.sources.items()
        }
        path.write_bytes(zlib.compress(msgspec.msgpack.encode(plain), 1))

    @classmethod
    def load(cls, path: Path) -> Sample:
        """What `store` has written."""
        # Not by its type: a key is bytes or text, which only the encoding tells apart.
        plain = msgspec.msgpack.decode(zlib.decompress(path.read_bytes()))
        return cls(
            {
                name: {part: [_stored(*one) for one in records] for part, records in partitions.items()}
                for name, partitions in plain.items()
            }
        )


def _stored(value: Any, key: Any, headers: Any, time_ms: Optional[int]) -> Record:
    return Record(value, key, tuple((name, header) for name, header in headers), time_ms)


def sampled_sources(flow: Flow) -> list[SourceNode]:
    """The sources whose records can be recorded: all but the logs that a flow with functions keeps for itself."""
    sources = [node for node in flow.graph.nodes.values() if isinstance(node, SourceNode)]
    return [node for node in sources if not (is_by_clock(flow) and node.input.own_log is not None)]


def is_by_clock(flow: Flow) -> bool:
    """Whether a flow has durable functions, which go by the clock: what they are answered comes back to the flow."""
    return any(isinstance(node, SourceNode) and node.input.comes_back for node in flow.graph.nodes.values())


def taken_sample(flow: Flow, count: int) -> Sample:
    """About `count` records from the beginnings of the logs that the flow reads, divided among their partitions.

    Raises `InputError` where there is nothing, and `UsageError` for a source that takes posts: what came to it once is
    not there to be read again.
    """
    sources = sampled_sources(flow)
    found = {node.name: _taken(node, max(1, count // max(1, len(sources)))) for node in sources}
    return Sample(found)


def given_sample(flow: Flow, logs: Logs, *, others: int = 0) -> Sample:
    """A sample from records that are given: each event as bytes in the source's format, or a dict.

    With `others` the sources that nothing is given for are read as in `taken_sample`, so many events of each. Raises
    `UsageError` for a source that is not there, or without them.
    """
    nodes = [node for node in flow.graph.nodes.values() if isinstance(node, SourceNode)]
    sources = {node.name: node for node in nodes if not node.input.comes_back}
    for name in logs:
        if name not in sources:
            msg = f"the flow {flow.name!r} has no source {name!r} that events can be given for: {', '.join(sources)}"
            raise UsageError(msg)
    missing = [node.name for node in sampled_sources(flow) if node.name not in logs]
    if missing and not others:
        msg = f"there are no events for the source {missing[0]!r}: give some for each of {', '.join(sources)}"
        raise UsageError(msg)
    found = {name: _taken(sources[name], others) for name in missing}
    for name, partitions in logs.items():
        found[name] = {part: [_record(one) for one in records] for part, records in partitions.items()}
    return Sample(found)


def _record(given: Any) -> Record:
    record = given if isinstance(given, Record) else Record(given)
    value = record.value
    if value is None or isinstance(value, bytes):
        return record
    if isinstance(value, str):
        return msgspec.structs.replace(record, value=value.encode())
    return msgspec.structs.replace(record, value=msgspec.json.encode(value))


def _taken(node: SourceNode, count: int) -> dict[str, list[Record]]:
    given = node.input
    if given.own_log is not None:
        msg = (
            f"source {node.name!r} reads {given.describe()}, of which nothing is kept outside of a run: give events "
            f"for it, with --log {node.name}=FILE, or prove(flow, events={{{node.name!r}: ...}})"
        )
        raise UsageError(msg)
    decoder = given.format.decoder(node.event_type)
    with closing(given.session()) as session:
        names = session.partitions()
        if not names:
            msg = f"source {node.name!r}: {given.describe()} matches nothing: check the path, or give events"
            raise InputError(msg)
        most = max(1, count // len(names))
        found = {}
        for name in names:
            records: list[Record] = []
            with closing(session.open(name, None, follow=False)) as reader:
                waited = 0
                while len(records) < most and not reader.at_end and waited < _WAIT_LIMIT:
                    chunk = reader.read(_CHUNK_BYTES)
                    if chunk is None:
                        waited += 1
                        continue
                    decoded = chunk.decode(decoder)
                    bad = [one.ordinal for one in decoded.bad]
                    ordinals = sorted([*decoded.ordinals, *bad])[: most - len(records)]
                    records += _records(chunk, ordinals, given)
            found[name] = records
    return found


def _records(chunk: Chunk, ordinals: list[int], given: Input) -> list[Record]:
    columns: dict[RecordPart, list[Any]] = {
        part: chunk.parts(part, ordinals) for part in given.record_parts if part in _KEPT
    }

    def part(name: RecordPart, index: int) -> Any:
        return columns[name][index] if name in columns else None

    return [
        Record(
            chunk.record(ordinal)[1],
            key=part(RecordPart.KEY, index),
            headers=tuple(part(RecordPart.HEADERS, index) or ()),
            time_ms=_whole(part(RecordPart.TIME, index)),
        )
        for index, ordinal in enumerate(ordinals)
    ]


_KEPT: Final = (RecordPart.KEY, RecordPart.HEADERS, RecordPart.TIME)


def _whole(value: Any) -> Optional[int]:
    return value if isinstance(value, int) else None
