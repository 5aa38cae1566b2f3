"""The stateless steps behind a source, run on whole columns of events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import attrgetter, itemgetter, not_
from typing import Any, NamedTuple, Optional

from headway.connectors.base import BadRecord
from headway.errors import HeadwayError, UserCodeError
from headway.graph import KeyByNode, KeySpec, SourceNode, StatelessNode
from headway.operators.conditions import mask_of
from headway.plan import Apply, Branch, Segment, ToSink, ToStage
from headway.runtime.batch import Record
from headway.runtime.exchange import Exchange, Message, Router, as_key, to_everyone
from headway.runtime.triggers import TriggerEncoder
from headway.schema import columnar, decoded_type, field_names
from headway.streams import DeadLetter

__all__ = ["ColumnProgram", "Columns", "column_getter", "select"]


class Columns(NamedTuple):
    """Events of one partition, as parallel columns."""

    times: list[int]
    ordinals: Sequence[Any]
    """Where each comes from: its number in the partition, with what flat_map adds."""
    values: list[Any]
    keys: Optional[list[str]] = None


def select(columns: Columns, mask: list[bool], times: Sequence[int]) -> Columns:
    """The events that a mask chooses, with these times, of which there is one for each event."""
    return Columns(
        list(compress(times, mask)),
        list(compress(columns.ordinals, mask)),
        list(compress(columns.values, mask)),
    )


class _Chosen(Sequence[Any]):
    """The elements of a column that a mask chooses, picked when they are asked for: few ordinals ever are."""

    __slots__ = ("_column", "_mask", "_picked")

    def __init__(self, column: Sequence[Any], mask: Sequence[bool]) -> None:
        self._column = column
        self._mask = mask
        self._picked: Optional[list[Any]] = None

    def __getitem__(self, index: Any) -> Any:
        if self._picked is None:
            self._picked = list(compress(self._column, self._mask))
        return self._picked[index]

    def __len__(self) -> int:
        return sum(map(bool, self._mask))


def column_getter(spec: KeySpec, event_type: Any) -> Callable[[Sequence[Any]], list[Any]]:
    """A function from a column of events to the column of a field or of a function's results."""
    if callable(spec):
        return lambda values: list(map(spec, values))
    if event_type is Any:
        either = getter(spec)
        return lambda values: list(map(either, values))
    column = columnar("FIELD", spec, event_type)
    if column is not None:
        return column
    get = itemgetter(spec) if field_names(event_type) is None else attrgetter(spec)
    return lambda values: list(map(get, values))


def getter(spec: KeySpec) -> Callable[[Any], Any]:
    """A function that reads a field, of a struct or of a dict, or calls the user's function."""
    if callable(spec):
        return spec

    def get(value: Any) -> Any:
        return value[spec] if isinstance(value, dict) else getattr(value, spec)

    return get


def dead_letter(source: str, partition: str, bad: BadRecord) -> DeadLetter:
    """What is written for a record that could not be decoded."""
    raw = bad.raw.decode("utf-8", errors="backslashreplace")
    return DeadLetter(source=source, partition=partition, position=bad.position, reason=bad.reason, raw=raw)


class ColumnProgram:
    """One port of a source, compiled for one reader slot: columns in, messages out.

    Columns should be short, some hundred events, so that the steps find them in the processor's cache;
    what they become is gathered until `flush`.

    `reject(partition, ordinal, value, reason)` takes the events that turn out to have no key.
    """

    def __init__(
        self,
        source: SourceNode,
        segment: Segment,
        exchanges: dict[int, Exchange],
        encoders: dict[int, TriggerEncoder],
        value_type: Any,
        reject: Callable[[str, Any, Any, str], None],
    ) -> None:
        self._source = source
        self._exchanges = exchanges
        self._encoders = encoders
        self._reject = reject
        self._gathered: list[tuple[Exchange, Callable[[], dict[int, list[Record]]]]] = []
        self._steps = [self._compile(branch, value_type) for branch in segment.branches]

    def run(self, columns: Columns, partition: str) -> None:
        """Run the steps on events of one partition."""
        if columns.values:
            for step in self._steps:
                step(columns, partition)

    def flush(self, partition: str, watermark: int, out: list[Message]) -> None:
        """Send what has been gathered from one partition."""
        for exchange, take in self._gathered:
            exchange.send(take(), partition, watermark, out)

    def _compile(self, branch: Branch, value_type: Any) -> Callable[[Columns, str], None]:
        if isinstance(branch, ToStage):
            exchange = self._exchanges[branch.edge.id]
            return self._to_everyone(exchange) if branch.edge.broadcast else self._to_stage(exchange)
        if isinstance(branch, ToSink):
            return self._to_sink(self._exchanges[branch.edge.id], self._encoders[branch.edge.id])
        assert isinstance(branch, Apply)
        node = branch.node
        following = value_type if isinstance(node, KeyByNode) or node.kind in ("filter", "reject") else Any
        rest = [self._compile(then, following) for then in branch.then.branches]
        apply = (
            self._rekey(node, value_type)
            if isinstance(node, KeyByNode)
            else _STATELESS[node.kind](node, self._source.name)
        )

        def run(columns: Columns, partition: str) -> None:
            result = apply(columns, partition)
            if result.values:
                for step in rest:
                    step(result, partition)

        return run

    def _rekey(self, node: KeyByNode, value_type: Any) -> Callable[[Columns, str], Columns]:
        get = column_getter(node.key, value_type)
        are_text = isinstance(node.key, str) and decoded_type(value_type, node.key) is str

        def apply(columns: Columns, partition: str) -> Columns:
            try:
                keys = get(columns.values)
                if are_text or set(map(type, keys)) == {str}:
                    return columns._replace(keys=keys)
            except Exception:
                keys = []
            return self._rekey_one_by_one(columns, partition, node.name, lambda value: get((value,))[0])

        return apply

    def _rekey_one_by_one(self, columns: Columns, partition: str, step: str, get: Callable[[Any], Any]) -> Columns:
        """The slow way, taken for a chunk in which some key is not text: what has no key becomes a dead letter."""
        kept, keys = [], []
        for index, value in enumerate(columns.values):
            try:
                key = as_key(get(value))
            except Exception as error:
                self._reject(partition, columns.ordinals[index], value, f"{step}: {reason_of(error)}")
                continue
            kept.append(index)
            keys.append(key)
        return Columns(
            [columns.times[index] for index in kept],
            [columns.ordinals[index] for index in kept],
            [columns.values[index] for index in kept],
            keys,
        )

    def _to_stage(self, exchange: Exchange) -> Callable[[Columns, str], None]:
        router = Router(len(exchange.groups))
        self._gathered.append((exchange, router.take))

        def send(columns: Columns, partition: str) -> None:
            assert columns.keys is not None
            router.sort_columns_in(columns.times, columns.keys, columns.values)

        return send

    def _to_everyone(self, exchange: Exchange) -> Callable[[Columns, str], None]:
        gathered: list[Record] = []

        def take() -> dict[int, list[Record]]:
            by_group = to_everyone(gathered, exchange.groups)
            gathered.clear()
            return by_group

        def send(columns: Columns, partition: str) -> None:
            gathered.extend((time_ms, "", value) for time_ms, value in zip(columns.times, columns.values))

        self._gathered.append((exchange, take))
        return send

    def _to_sink(self, exchange: Exchange, encoder: TriggerEncoder) -> Callable[[Columns, str], None]:
        encode = encoder.encode
        gathered: list[Record] = []

        def take() -> dict[int, list[Record]]:
            records = gathered.copy()
            gathered.clear()
            return {0: records} if records else {}

        def send(columns: Columns, partition: str) -> None:
            subjects: Sequence[Optional[str]] = columns.keys or [None] * len(columns.values)
            for time_ms, subject, ordinal, value in zip(columns.times, subjects, columns.ordinals, columns.values):
                gathered.append(encode(time_ms, subject, ordinal, partition, value))

        self._gathered.append((exchange, take))
        return send


def reason_of(error: Exception) -> str:
    """Why a field could not be read, in a few words."""
    text = str(error) or type(error).__name__
    return f"no field {error.args[0]!r}" if isinstance(error, KeyError) and error.args else text


def _map(node: StatelessNode, source: str) -> Callable[[Columns, str], Columns]:
    function = node.function

    def apply(columns: Columns, partition: str) -> Columns:
        try:
            return columns._replace(values=list(map(function, columns.values)))
        except HeadwayError:
            raise
        except BaseException as error:
            raise _failure(node, source, partition, columns, error) from error

    return apply


def _filter(node: StatelessNode, source: str) -> Callable[[Columns, str], Columns]:
    function = node.function
    negate = node.kind == "reject"

    def apply(columns: Columns, partition: str) -> Columns:
        try:
            mask = mask_of(function, columns.values)
            if negate:
                mask = list(map(not_, mask))
        except HeadwayError:
            raise
        except BaseException as error:
            raise _failure(node, source, partition, columns, error) from error
        times, ordinals, values, keys = columns
        kept_keys = None if keys is None else list(compress(keys, mask))
        return Columns(
            list(compress(times, mask)),
            _Chosen(ordinals, mask),
            list(compress(values, mask)),
            kept_keys,
        )

    return apply


def _flat_map(node: StatelessNode, source: str) -> Callable[[Columns, str], Columns]:
    function = node.function

    def apply(columns: Columns, partition: str) -> Columns:
        times, ordinals, values, keys = [], [], [], []
        try:
            for index, value in enumerate(columns.values):
                for number, result in enumerate(function(value)):
                    times.append(columns.times[index])
                    ordinals.append(f"{columns.ordinals[index]}.{number}")
                    values.append(result)
                    if columns.keys is not None:
                        keys.append(columns.keys[index])
        except HeadwayError:
            raise
        except BaseException as error:
            raise _failure(node, source, partition, columns, error) from error
        return Columns(times, ordinals, values, keys if columns.keys is not None else None)

    return apply


_STATELESS: dict[str, Callable[[StatelessNode, str], Callable[[Columns, str], Columns]]] = {
    "map": _map,
    "filter": _filter,
    "reject": _filter,
    "flat_map": _flat_map,
}


def _failure(node: StatelessNode, source: str, partition: str, columns: Columns, error: BaseException) -> UserCodeError:
    """The error for an exception in a step: runs it again one by one, to name the event."""
    for index, value in enumerate(columns.values):
        try:
            result = node.function(value)
            if node.kind == "flat_map":
                list(result)
        except BaseException:
            return UserCodeError(
                f"the step {node.name!r} ({node.where}) failed with {type(error).__name__}: {error}; "
                f"record {columns.ordinals[index]} of {partition!r} of the source {source!r}: {value!r:.300}"
            )
    return UserCodeError(f"the step {node.name!r} ({node.where}) failed with {type(error).__name__}: {error}")
