"""Records of logs that keep more than bytes: with a key, headers and a time each, as brokers have them."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Optional, Union

import msgspec

from headway.connectors.apart import decode_apart
from headway.connectors.base import BadRecord, Chunk, Decoded
from headway.connectors.parts import RecordPart
from headway.errors import InternalError
from headway.formats.base import UNDECODABLE, Decoder

__all__ = ["Record", "RecordsChunk"]


class Record(msgspec.Struct, frozen=True):
    """One record as a broker has it: for `items`, in tests and examples of flows that read from one."""

    value: Any
    """Bytes in the format of the input, an event, or a dict to be made into one; None where only the key is left."""
    key: Optional[Union[bytes, str]] = None
    headers: tuple[tuple[str, Optional[bytes]], ...] = ()
    time_ms: Optional[int] = None
    """Epoch milliseconds."""


class RecordsChunk(Chunk):
    """Consecutive records of one partition. Their ordinals rise; there may be gaps, where a log was compacted."""

    ordinals: Sequence[int]
    values: Sequence[Optional[bytes]]

    @abstractmethod
    def place_of(self, index: int) -> str:
        """Where a record stands, for a person, such as `offset 17`."""

    @abstractmethod
    def part_of(self, part: RecordPart, index: int) -> Any:
        """A part of a record: bytes, text or None as its key, pairs as its headers, integers, text."""

    def absence_of(self, index: int) -> str:
        """Why a record has no value."""
        return "it has no value: a tombstone, which deletes its key"

    def raw_of(self, index: int) -> bytes:
        """The bytes of a record as they were read."""
        return self.values[index] or b""

    def decode(self, decoder: Decoder) -> Decoded:
        """Decode all records. One without a value, which brokers call a tombstone, is a bad record."""
        if None in self.values:
            return self._decode_present(decoder)
        values: Any = self.values
        try:
            return Decoded(decoder.decode_records(values), self.ordinals, [])
        except UNDECODABLE:
            return decode_apart(values, self.ordinals, decoder, self.record)

    def _decode_present(self, decoder: Decoder) -> Decoded:
        present = [index for index, value in enumerate(self.values) if value is not None]
        values: Any = [self.values[index] for index in present]
        found = decode_apart(values, [self.ordinals[index] for index in present], decoder, self.record)
        bad = [
            BadRecord(self.ordinals[index], self.place_of(index), self.absence_of(index), self.raw_of(index))
            for index, value in enumerate(self.values)
            if value is None
        ]
        return Decoded(found.events, found.ordinals, sorted(found.bad + bad, key=lambda one: one.ordinal))

    def record(self, ordinal: int) -> tuple[str, bytes]:
        """The place of a record, and its bytes."""
        index = self._index(ordinal)
        return self.place_of(index), self.raw_of(index)

    def parts(self, part: RecordPart, ordinals: Sequence[int]) -> list[Any]:
        """A part of each of these records."""
        if len(ordinals) == len(self.ordinals):
            return [self.part_of(part, index) for index in range(len(ordinals))]
        return [self.part_of(part, self._index(ordinal)) for ordinal in ordinals]

    def _index(self, ordinal: int) -> int:
        index = bisect_left(self.ordinals, ordinal)
        if index == len(self.ordinals) or self.ordinals[index] != ordinal:
            msg = f"there is no record {ordinal} in this chunk; please report this"
            raise InternalError(msg)
        return index
