"""Python objects as input and as output: for tests, notebooks and examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Final, Optional, Union, get_origin

import msgspec
import orjson

from headway.connectors.apart import bad_reason
from headway.connectors.base import (
    BadRecord,
    Chunk,
    Decoded,
    Input,
    Output,
    OutputWriter,
    PartitionReader,
    Position,
    Tell,
    unheard,
)
from headway.connectors.lines import BLANKS
from headway.connectors.parts import RecordPart
from headway.connectors.records import Record
from headway.errors import InputError, UsageError
from headway.formats.base import UNDECODABLE, Decoder, Format
from headway.formats.named import JSON, FormatLike, format_of
from headway.types.schema import Json, type_label

__all__ = ["ItemsChunk", "ItemsInput", "ListOutput", "items", "to_list"]

_NAME = "items"
_AS_THEY_ARE: Final = (dict, str, bytes)


def items(
    events: Union[Iterable[Any], Mapping[str, Iterable[Any]]],
    *,
    batch: int = 1000,
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
) -> Input:
    """Read events from Python objects: one partition `items`, or one for each entry of a mapping.

    Events may be objects of the source's type, dicts to be converted to it, or bytes in the `format`: by default, each
    one line of JSON. A `Record` holds one of these with what brokers keep beside it: a key, headers, a time.
    What is none of these, or cannot be converted, becomes a dead letter. `batch` is how many are read at a
    time.

    A position is the number of items before it; a run is resumed by skipping that many. Sequences are read by
    index: what is appended to them is read too while following. An iterator can be opened only once, as it
    cannot be rewound: opening it again raises `InputError`. Raises `UsageError` for what is not iterable.

    >>> from headway.types.decoding import LineCodec
    >>> source = items({"left": [{"n": 1}], "right": [{"n": 2}, b'{"n": 3}']})
    >>> source.partitions()
    ['left', 'right']
    >>> source.open("right", None, follow=False).read(1024).decode(LineCodec(Json)).events
    [{'n': 2}, {'n': 3}]
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        msg = f"items(..., batch={batch!r}): expected a whole number of items, 1 or more"
        raise UsageError(msg)
    logs = events if isinstance(events, Mapping) else {_NAME: events}
    for name, log in logs.items():
        if not isinstance(name, str):
            msg = f"items({{{name!r}: ...}}): expected names of partitions as text"
            raise UsageError(msg)
        if isinstance(log, (str, bytes, bytearray, Mapping)) or not isinstance(log, Iterable):
            msg = (
                f"items(...) of {type(log).__name__} {str(log)[:60]!r}: expected an iterable of events, "
                "such as a list, or a mapping from partition to iterable; to read a file use files(...)"
            )
            raise UsageError(msg)
    return ItemsInput(logs, batch, format_of(format, "items(...)"))


class ItemsInput(Input):
    """What `items` returns."""

    record_parts = frozenset(RecordPart)

    def __init__(self, logs: Mapping[str, Iterable[Any]], batch: int, form: Format) -> None:
        self.format = form
        self._logs = logs
        self._batch = batch
        self._used: set[str] = set()

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """The keys of the mapping, or `items`."""
        return sorted(self._logs)

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """Skip to the position. Raises `InputError` for an iterator that was opened before."""
        log = self._logs[partition]
        start = 0 if position is None else position["item"]
        if isinstance(log, Sequence):
            return _SequenceReader(partition, log, start, self._batch, follow=follow)
        if isinstance(log, Iterator):
            if partition in self._used:
                msg = (
                    f"{self.describe()}: partition {partition!r} is a {type(log).__name__}, was read already "
                    f"and cannot be rewound to item {start}; expected something that can be iterated again: "
                    "give a list"
                )
                raise InputError(msg)
            self._used.add(partition)
        return _IteratorReader(partition, iter(log), start, self._batch, follow=follow)

    def records_before(self, position: Position) -> Optional[int]:
        """The position is that number."""
        return int(position["item"])

    def describe(self) -> str:
        """The partitions, such as `items` or `items left, right`."""
        names = self.partitions()
        return _NAME if names == [_NAME] else f"{_NAME} {', '.join(names)}"


class _ItemsReader(PartitionReader):
    def __init__(self, name: str, start: int, batch: int, *, follow: bool) -> None:
        self._name = name
        self._item = start
        self._batch = batch
        self._follow = follow
        self._ended = False

    @property
    def at_end(self) -> bool:
        return self._ended and not self._follow

    def position(self) -> Position:
        return {"item": self._item}

    def read(self, max_bytes: int) -> Optional[Chunk]:
        batch = self._next_items()
        if not batch:
            self._ended = True
            return None
        first, self._item = self._item, self._item + len(batch)
        return ItemsChunk(batch, first, self._name)

    def _next_items(self) -> Sequence[Any]:
        raise NotImplementedError


class _SequenceReader(_ItemsReader):
    def __init__(self, name: str, log: Sequence[Any], start: int, batch: int, *, follow: bool) -> None:
        super().__init__(name, start, batch, follow=follow)
        self._log = log
        if start > len(log):
            msg = (
                f"items: the run stood at item {start}, but there are only {len(log)}; expected all items "
                "that were read before: give the whole sequence, or start with a new state directory"
            )
            raise InputError(msg)

    def _next_items(self) -> Sequence[Any]:
        return self._log[self._item : self._item + self._batch]


class _IteratorReader(_ItemsReader):
    def __init__(self, name: str, log: Iterator[Any], start: int, batch: int, *, follow: bool) -> None:
        super().__init__(name, start, batch, follow=follow)
        self._log = log
        skipped = sum(1 for _ in islice(log, start))
        if skipped < start:
            msg = (
                f"items: the run stood at item {start}, but there are only {skipped}; expected all items "
                "that were read before: give the whole iterable, or start with a new state directory"
            )
            raise InputError(msg)

    def _next_items(self) -> Sequence[Any]:
        return list(islice(self._log, self._batch))


@dataclass(frozen=True)
class ItemsChunk(Chunk):
    """Consecutive items of a log, as they were given."""

    batch: Sequence[Any]
    first: int
    partition: str = _NAME

    def decode(self, decoder: Decoder) -> Decoded:
        """Decode or convert each item."""
        expected = dict if decoder.event_type == Json else decoder.event_type
        events: list[Any] = []
        ordinals: list[int] = []
        bad: list[BadRecord] = []
        for ordinal, given in enumerate(self.batch, self.first):
            item = given.value if isinstance(given, Record) else given
            if isinstance(item, bytes) and expected is not bytes and not item.strip(BLANKS + b"\n"):
                continue
            try:
                events.append(_event_of(item, decoder, expected))
                ordinals.append(ordinal)
            except UNDECODABLE as error:
                position, raw = self.record(ordinal)
                bad.append(BadRecord(ordinal, position, bad_reason(error), raw))
        return Decoded(events, ordinals, bad)

    def record(self, ordinal: int) -> tuple[str, bytes]:
        """The number of an item, and the item as JSON."""
        item = self.batch[ordinal - self.first]
        return f"item {ordinal}", _raw(item.value if isinstance(item, Record) else item)

    def parts(self, part: RecordPart, ordinals: Sequence[int]) -> list[Any]:
        """What the records say; plain items have a number and a partition only."""
        if part is RecordPart.OFFSET:
            return list(ordinals)
        if part is RecordPart.PARTITION:
            return [self.partition] * len(ordinals)
        return [_part(self.batch[ordinal - self.first], part) for ordinal in ordinals]


def _part(item: Any, part: RecordPart) -> Any:
    record = item if isinstance(item, Record) else Record(item)
    return {RecordPart.TIME: record.time_ms, RecordPart.KEY: record.key, RecordPart.HEADERS: record.headers}[part]


def _is_class(expected: Any) -> bool:
    return isinstance(expected, type) and get_origin(expected) is None


def _event_of(item: Any, decoder: Decoder, expected: Any) -> Any:
    if isinstance(item, bytes):
        return decoder.decode_record(item)
    if isinstance(item, (dict, list)):
        # Steps may change what is in an event, and items belong to whoever gave them, and may be decoded again.
        try:
            item = deepcopy(item)
        except TypeError as error:
            raise msgspec.ValidationError(str(error)) from None
    if _is_class(expected):
        if isinstance(item, expected):
            # Nothing has checked the fields of an object that was made in Python.
            return decoder.settle(item) if expected in _AS_THEY_ARE else decoder.convert(msgspec.to_builtins(item))
        if not isinstance(item, dict):
            msg = f"Expected `{type_label(decoder.event_type)}`, a dict or bytes, got `{type(item).__name__}`"
            raise msgspec.ValidationError(msg)
    return decoder.convert(item)


def _raw(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item.rstrip(b"\r\n")
    try:
        return msgspec.json.encode(item)
    except (TypeError, ValueError, RecursionError):
        return repr(item).encode(errors="backslashreplace")


def to_list(target: list[Any]) -> Output:
    """Append each record, decoded from JSON, to a list in this process.

    Not transactional: a record is appended once its epoch is durable.

    >>> found: list[Json] = []
    >>> to_list(found).open(None, mark=None).write([b'{"n": 1}'])
    >>> found
    [{'n': 1}]
    """
    if not isinstance(target, list):
        msg = f"to_list({target!r}): expected a list to append to"
        raise UsageError(msg)
    return ListOutput(target)


@dataclass(frozen=True)
class ListOutput(Output):
    """What `to_list` returns."""

    target: list[Any]

    is_durable: ClassVar[bool] = False

    @property
    def shared(self) -> bool:
        """Several outputs may append to one list."""
        return True

    def open(self, position: Optional[Position], *, mark: Optional[str]) -> OutputWriter:
        """Append to what is in the list already."""
        return _ListWriter(self.target)

    def describe(self) -> str:
        """Always the same."""
        return "list"


class _ListWriter(OutputWriter):
    transactional = False

    def __init__(self, target: list[Any]) -> None:
        self._target = target

    def write(self, records: Sequence[bytes]) -> None:
        self._target += [orjson.loads(record) for record in records]

    def position(self) -> Position:
        return {}
