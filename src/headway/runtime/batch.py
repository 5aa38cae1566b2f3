"""What stages exchange: batches of records for one key group, never single records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from headway.errors import FlowError, UserCodeError
from headway.plan.stages import Edge, KeyedStage, Plan
from headway.state.inputs import InputCodec, Ordinal
from headway.state.manifest import EdgeEntry
from headway.types.isolation import UNENCODABLE
from headway.types.schema import Json, type_label

__all__ = [
    "Batch",
    "Record",
    "batch_of",
    "carried_codec",
    "codec_of",
    "edge_codec",
    "register_codecs",
]

Record = tuple[Any, ...]
"""`(time_ms, key, value)` from a source, `(time_ms, key, value, origin)` from a keyed stage or for an output;
`(time_ms, key, value, ordinal, partition)` from a source whose failed events are set aside.

`origin` orders records of equal time: the key that produced it, or for an output the record's id.
"""


class Batch(NamedTuple):
    """Records of one channel for one key group, and what the channel claims about time.

    Inside a process a batch passes as it is. When it crosses to another one, its records become one buffer of
    MessagePack, see `headway.runtime.seal`.
    """

    edge: int
    channel: str
    """The sender on this edge: a reader slot of a source, or a key group of a stage."""
    group: int
    """The key group it is for."""
    watermark: int
    """No further on-time record of this channel has a time at or before it."""
    part: str
    """The partition of the log that all records come from; empty when a stage sent them."""
    records: list[Record]

    def parts(self) -> tuple[int, str, int, int, str, bytes]:
        """What crosses to another process: the records as bytes, and the rest as it is.

        Raises `UserCodeError`, which names the record, for a value without an encoding. Values are checked where they
        are made, so there should be none.
        """
        codec = codec_of(self.edge)
        try:
            data = codec.encode(self.records)
        except UNENCODABLE as error:
            raise codec.failure(self.records, error) from None
        return self.edge, self.channel, self.group, self.watermark, self.part, data


def batch_of(edge: int, channel: str, group: int, watermark: int, part: str, data: bytes) -> Batch:
    """The batch that these `parts` were made of."""
    return Batch(edge, channel, group, watermark, part, codec_of(edge).decode(data))


class EdgeCodec(NamedTuple):
    """How the records of one edge become bytes and come back as what they were."""

    encode: Callable[[list[Record]], bytes]
    decode: Callable[[bytes], list[Record]]
    way: str
    """From where to where they go, for messages."""

    def failure(self, records: list[Record], error: Exception) -> UserCodeError:
        """The error for records one of which has no encoding."""
        for record in records:
            try:
                self.encode([record])
            except UNENCODABLE as reason:
                what = f"{self.way} for key {record[1]!r} at time {record[0]} is {record[2]!r:.300}"
                return UserCodeError(f"{what}, which has no encoding: {reason}")
        return UserCodeError(f"{self.way} has no encoding: {error}")


_codecs: dict[int, EdgeCodec] = {}


def codec_of(edge: int) -> EdgeCodec:
    """The codec of an edge of the plan that this process runs."""
    return _codecs[edge]


def register_codecs(plan: Plan) -> None:
    """Make the codecs of a plan's edges known to this process; a process runs one plan at a time.

    Raises `FlowError` for a type whose values cannot cross an exchange.
    """
    _codecs.clear()
    sinks = {id(edge) for sink in plan.sinks for edge in sink.inputs}
    for edge in plan.edges():
        value_type = bytes if id(edge) in sinks else edge_type(edge)
        shape: Any = tuple[int, str, value_type]  # type: ignore[valid-type]
        if edge.has_places and id(edge) not in sinks:
            shape = tuple[int, str, value_type, Ordinal, str]  # type: ignore[valid-type]
        if not edge.from_source or id(edge) in sinks:
            shape = tuple[int, str, value_type, str]  # type: ignore[valid-type]
        _codecs[edge.id] = EdgeCodec(
            msgspec.msgpack.Encoder().encode,
            _decoder(list[shape], edge),
            f"what {str(edge.producer)!r} sends to {edge.target!r}",
        )


def edge_type(edge: Edge) -> Any:
    """The type of an edge's values as the codec needs it."""
    return Any if edge.value_type in (Json, dict) else edge.value_type


def edge_codec(edge: Edge) -> InputCodec:
    """How the records of an edge are stored while they wait."""
    return InputCodec(edge_type(edge), from_stage=not edge.from_source, have_places=edge.has_places)


def carried_codec(stage: KeyedStage, edge: EdgeEntry) -> InputCodec:
    """How records are stored that waited for operators of a stage when the plan changed."""
    now = stage.edge_to(*edge.entries[0])
    value_type = Any if now is None else edge_type(now)
    return InputCodec(value_type, from_stage=not edge.from_source, have_places=edge.has_places)


def _decoder(shape: Any, edge: Edge) -> Callable[[bytes], list[Record]]:
    try:
        return msgspec.msgpack.Decoder(shape).decode
    except TypeError as error:
        msg = (
            f"values of type {type_label(edge.value_type)} leave {edge.producer} for {edge.target!r}, but cannot "
            f"be told apart as bytes ({error}): map them into one Event class first, or give the classes tags "
            "(class A(hw.Event, tag=True))"
        )
        raise FlowError(msg) from None
