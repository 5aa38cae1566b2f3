"""A sample of the logs of a flow: some records of each partition, kept in a file, so that every run reads the same."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Optional, Union

import msgspec

from headway.connectors.absence import absence
from headway.connectors.base import Chunk, Input
from headway.connectors.columns.source import ParquetInput, parquet
from headway.connectors.files import files
from headway.connectors.lines import LinesChunk
from headway.connectors.memory import ItemsChunk
from headway.connectors.parts import RecordPart
from headway.connectors.reading import chunks_of, impatient
from headway.connectors.records import Record
from headway.declare.flow import Flow
from headway.errors import InputError, UsageError
from headway.graph import SourceNode
from headway.inbox.runlog import RunLogInput
from headway.inbox.source import HttpInput

__all__ = ["Logs", "Partition", "Sample", "given_sample", "logged_sample", "sampled_sources", "taken_sample"]

Logs = Mapping[str, Mapping[str, Iterable[Any]]]
"""Records of each partition of each source: dicts, events, `Record`s, or bytes in the format of the source."""


class Partition(msgspec.Struct, frozen=True):
    """The first records of one partition, in the order of its log."""

    records: list[Record]
    header: Optional[bytes] = None
    """The first line of its file, where that is no record but says how the others are to be read."""

    def first(self, count: int) -> Partition:
        """The first records of it."""
        return Partition(self.records[:count], self.header)


class Sample(msgspec.Struct, frozen=True):
    """The records of each partition of each source, by name."""

    sources: dict[str, dict[str, Partition]]

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """How many records there are."""
        return {
            name: {part: len(partition.records) for part, partition in partitions.items()}
            for name, partitions in self.sources.items()
        }

    @property
    def count(self) -> int:
        """How many records there are of everything."""
        return sum(sum(parts.values()) for parts in self.sizes.values())

    def first(self, count: int) -> Sample:
        """The first records of each partition: about so many in all, and of each partition the same share."""
        total = max(1, self.count)
        return Sample(
            {
                name: {
                    part: partition.first(-(-len(partition.records) * min(count, total) // total))
                    for part, partition in parts.items()
                }
                for name, parts in self.sources.items()
            }
        )

    def store(self, path: Path) -> None:
        """Write it to a file."""
        plain = {
            name: {
                part: [partition.header, *(msgspec.structs.astuple(one) for one in partition.records)]
                for part, partition in partitions.items()
            }
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
                name: {
                    part: Partition([_stored(*one) for one in records], header)
                    for part, (header, *records) in partitions.items()
                }
                for name, partitions in plain.items()
            }
        )


def _stored(value: Any, key: Any, headers: Any, time_ms: Optional[int]) -> Record:
    return Record(value, key, tuple((name, header) for name, header in headers), time_ms)


def sampled_sources(flow: Flow) -> list[SourceNode]:
    """The sources whose records can be recorded: all but the logs that a run writes for itself."""
    return [
        node for node in flow.graph.nodes.values() if isinstance(node, SourceNode) and not _is_of_the_run(node.input)
    ]


def _is_of_the_run(given: Input) -> bool:
    """Whether an input reads what comes of the run's own deliveries, or what a group of functions is asked."""
    return isinstance(given, RunLogInput) or (isinstance(given, HttpInput) and given.translator is not None)


def taken_sample(flow: Flow, count: int) -> Sample:
    """About `count` records from the beginnings of the logs that the flow reads, divided among their partitions.

    Raises `InputError` where there is nothing, and `UsageError` for a source that takes posts: what came to it once is
    not there to be read again.
    """
    sources = sampled_sources(flow)
    return Sample({node.name: _taken(node, node.input, max(1, count // max(1, len(sources)))) for node in sources})


def given_sample(flow: Flow, logs: Logs) -> Sample:
    """A sample from records that are given: each event as bytes in the source's format, or as a dict.

    Where the files of a source begin with a header, the first record of each partition that is bytes is the header.
    Raises `UsageError` for a source that is not there, and for one that nothing is given for.
    """
    sources = _known(flow, logs)
    missing = [name for name in sources if name not in logs]
    if missing:
        msg = f"there are no events for the source {missing[0]!r}: give some for each of {', '.join(sources)}"
        raise UsageError(msg)
    return Sample({name: _given(sources[name].input, partitions) for name, partitions in logs.items()})


def logged_sample(flow: Flow, logs: Sequence[tuple[str, Union[str, os.PathLike[str]]]], count: int) -> Sample:
    """A sample from files that are given, each with the name of a source: each file is a partition of that source.

    Files are read as the inputs `files` and `parquet` read them: compressed ones are unpacked, a header is known as
    one. Sources that no file is given for are read as in `taken_sample`. Of each source about as many events are
    taken as of any other, `count` in all. Raises `UsageError` for a source that is not there, and for a source whose
    format no file of lines can hold; `InputError` for a file that cannot be read.
    """
    found: dict[str, list[str]] = {}
    for name, path in logs:
        found.setdefault(name, []).append(os.fspath(path))
    sources = _known(flow, found)
    share = max(1, count // max(1, len(sources)))
    return Sample(
        {
            name: _logged(node, found[name], share) if name in found else _taken(node, node.input, share)
            for name, node in sources.items()
        }
    )


def _known(flow: Flow, names: Iterable[str]) -> dict[str, SourceNode]:
    """The sources that events can be given for. Raises `UsageError` for a name that is none of theirs."""
    sources = {node.name: node for node in sampled_sources(flow)}
    for name in names:
        if name not in sources:
            there = ", ".join(sources) or "it has none"
            msg = f"the flow {flow.name!r} has no source {name!r} that events can be given for: {there}"
            raise UsageError(msg)
    return sources


def _given(form: Input, partitions: Mapping[str, Iterable[Any]]) -> dict[str, Partition]:
    found = {}
    for part, records in partitions.items():
        header, *rest = [None, *records]
        if form.format.has_header and rest and isinstance(rest[0], (bytes, str)):
            header, *rest = rest
        line = header.encode() if isinstance(header, str) else header
        found[part] = Partition([_record(one, form) for one in rest], line)
    return found


def _record(given: Any, form: Input) -> Record:
    record = given if isinstance(given, Record) else Record(given)
    value = record.value
    if value is None or isinstance(value, bytes):
        return record
    if isinstance(value, str):
        return msgspec.structs.replace(record, value=value.encode())
    # What is no JSON cannot be written from a dict, but a dict can be made into an event of any format.
    plain = msgspec.json.encode(value) if form.format.name == "json" else msgspec.to_builtins(value)
    return msgspec.structs.replace(record, value=plain)


def _logged(node: SourceNode, paths: Sequence[str], count: int) -> dict[str, Partition]:
    found: dict[str, Partition] = {}
    for path in dict.fromkeys(paths):
        given = parquet(path) if isinstance(node.input, ParquetInput) else files(path, format=node.input.format)
        for name, partition in _taken(node, given, max(1, count // len(paths))).items():
            # Files in several folders may have the same name.
            found[path if name in found else name] = partition
    return found


def _taken(node: SourceNode, given: Input, count: int) -> dict[str, Partition]:
    if given.own_log is not None:
        msg = (
            f"source {node.name!r} reads {given.describe()}, of which nothing is kept outside of a run: give events "
            f"for it, with --log {node.name}=FILE, or prove(flow, events={{{node.name!r}: ...}})"
        )
        raise UsageError(msg)
    with closing(given.session()) as session:
        names = session.partitions()
        if not names:
            msg = f"source {node.name!r}: {absence(given)}, or give events"
            raise InputError(msg)
        most = max(1, count // len(names))
        found = {}
        for name in names:
            with closing(session.open(name, None, follow=False)) as reader:
                chunks = chunks_of(reader, impatient(f"source {node.name!r}: {given.describe()}, {name}"))
                found[name] = _partition(node, chunks, most)
    return found


def _partition(node: SourceNode, chunks: Iterable[Chunk], most: int) -> Partition:
    decoder = node.input.format.decoder(node.event_type)
    records: list[Record] = []
    header: Optional[bytes] = None
    for chunk in chunks:
        if header is None and isinstance(chunk, LinesChunk):
            header = chunk.header
        decoded = chunk.decode(decoder)
        bad = {one.ordinal for one in decoded.bad}
        records += _records(chunk, sorted([*decoded.ordinals, *bad])[: most - len(records)], bad, node.input)
        if len(records) >= most:
            break
    return Partition(records, header)


def _records(chunk: Chunk, ordinals: list[int], bad: set[int], given: Input) -> list[Record]:
    if isinstance(chunk, ItemsChunk):
        return [_item(chunk, ordinal, given) for ordinal in ordinals]
    columns = {part: chunk.parts(part, ordinals) for part in given.record_parts & _KEPT} if chunk.has_parts else {}

    def part(name: RecordPart, index: int) -> Any:
        return columns[name][index] if name in columns else None

    return [
        Record(
            # Where brokers have a message without a value, that has no bytes.
            None if ordinal in bad and not chunk.record(ordinal)[1] else chunk.record(ordinal)[1],
            key=part(RecordPart.KEY, index),
            headers=tuple(part(RecordPart.HEADERS, index) or ()),
            time_ms=_whole(part(RecordPart.TIME, index)),
        )
        for index, ordinal in enumerate(ordinals)
    ]


def _item(chunk: ItemsChunk, ordinal: int, given: Input) -> Record:
    item = chunk.batch[ordinal - chunk.first]
    try:
        return _record(item, given)
    except (TypeError, ValueError, RecursionError):  # It is none that could be stored: a bad one, in every run.
        return Record(chunk.record(ordinal)[1])


_KEPT: Final = frozenset({RecordPart.KEY, RecordPart.HEADERS, RecordPart.TIME})


def _whole(value: Any) -> Optional[int]:
    return value if isinstance(value, int) else None
