"""The stateless steps behind a source, run on whole columns of events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, Optional, Union

from headway.errors import HeadwayError, UserCodeError
from headway.graph import KeyByNode, KeySpec, SourceNode
from headway.operators.conditions import mask_of
from headway.plan.sieves import is_implied, sieve_at
from headway.plan.stages import Apply, Branch, Segment, ToSink, ToStage
from headway.runtime.batch import Record
from headway.runtime.column_steps import STATELESS, Columns, Place, chosen
from headway.runtime.exchange import Exchange, Message, Router, as_key, to_everyone
from headway.runtime.rejects import UNUSABLE, LetterRejects, Rejects, StrictRejects, failure, reason_of
from headway.runtime.triggers import TriggerEncoder
from headway.types.eventcolumns import listed
from headway.types.isolation import settler
from headway.types.schema import Json, columnar, decoded_type

__all__ = ["ColumnProgram", "Columns", "column_getter", "getter", "read_one_by_one"]


Door = Union[Rejects, LetterRejects, StrictRejects]
"""What takes the events that turn out to be of no use."""


def column_getter(spec: KeySpec, event_type: Any) -> Callable[[Sequence[Any]], list[Any]]:
    """A function from a column of events to the column of a field or of a function's results."""
    if callable(spec):
        return lambda values: list(map(spec, values))
    column = columnar("FIELD", spec, event_type)
    if column is not None:
        return column
    get = itemgetter(spec) if event_type in (dict, Json) else getter(spec)
    return lambda values: list(map(get, values))


def getter(spec: KeySpec) -> Callable[[Any], Any]:
    """A function that reads a field, of an object or of a dict, or calls the user's function.

    It raises `LookupError` where untyped data has no such field, also because it is no JSON object at all.
    """
    if callable(spec):
        return spec

    def get(value: Any) -> Any:
        if isinstance(value, dict):
            return value[spec]
        try:
            return getattr(value, spec)
        except AttributeError:
            if isinstance(value, _WITHOUT_FIELDS):
                msg = f"no field {spec!r}: expected an object, not {value!r:.100}"
                raise LookupError(msg) from None
            raise

    return get


OF_THE_FLOW = (Exception, SystemExit, GeneratorExit)
"""What code of the flow raises; a Ctrl-C in the middle of it is none of its doing."""
_WITHOUT_FIELDS = (str, int, float, list, type(None))
"""What JSON has besides objects."""


def read_one_by_one(
    columns: Columns, read: Callable[[Any], Any], rejects: Door, *, about: str, step: str
) -> tuple[Columns, list[Any]]:
    """The slow way, taken where some event of a column has no time or key: what `read` tells of each event.

    Events of no use become dead letters, of which `about` is the beginning of the reason; the columns of the others
    are returned, that of the times too where it is there already. Raises `UserCodeError`, which begins with `step`,
    where the flow's code is wrong.
    """
    kept, found = [], []
    for index, value in enumerate(columns.values):
        try:
            found.append(read(value))
        except HeadwayError as error:
            rejects.fail(columns.ordinals[index], error)
        except UNUSABLE as error:
            rejects.reject(columns.ordinals[index], f"{about}: {reason_of(error, value)}")
        except BaseException as error:
            place = rejects.place(columns.ordinals[index])
            rejects.fail(columns.ordinals[index], failure(step, about, error, place, value))
        else:
            kept.append(index)
    usable = Columns(
        [columns.times[index] for index in kept] if columns.times else [],
        [columns.ordinals[index] for index in kept],
        [columns.values[index] for index in kept],
    )
    return usable, found


class ColumnProgram:
    """One port of a source, compiled for one reader slot: columns in, messages out.

    Columns should be short, some hundred events, so that the steps find them in the processor's cache;
    what they become is gathered until `flush`.

    `rejects` takes the events that turn out to have no key. What is gathered can be taken back to a `mark`.
    """

    def __init__(
        self,
        source: SourceNode,
        segment: Segment,
        exchanges: dict[int, Exchange],
        encoders: dict[int, TriggerEncoder],
        value_type: Any,
        rejects: Door,
    ) -> None:
        self._source = source
        self._exchanges = exchanges
        self._encoders = encoders
        self._rejects = rejects
        self._gathered: list[tuple[Exchange, Callable[[], dict[int, list[Record]]]]] = []
        self._lists: list[Union[Router, list[Record]]] = []
        self._steps = [self._compile(branch, value_type, made=False) for branch in segment.branches]

    def run(self, columns: Columns, partition: str) -> None:
        """Run the steps on events of one partition."""
        if columns.values:
            for step in self._steps:
                step(columns, partition)

    def mark(self) -> list[Any]:
        """How much has been gathered, for `take_back`."""
        return [part.mark() if isinstance(part, Router) else len(part) for part in self._lists]

    def take_back(self, mark: list[Any]) -> None:
        """Drop what has been gathered after a `mark`."""
        for part, at in zip(self._lists, mark):
            if isinstance(part, Router):
                part.take_back(at)
            else:
                del part[at:]

    def flush(self, partition: str, watermark: int, out: list[Message]) -> None:
        """Send what has been gathered from one partition."""
        for exchange, take in self._gathered:
            exchange.send(take(), partition, watermark, out)

    def _compile(
        self,
        branch: Branch,
        value_type: Any,
        *,
        made: bool,
        sifted: bool = False,
        met: Optional[Callable[[Any], bool]] = None,
    ) -> Callable[[Columns, str], None]:
        """What a branch does; `made` says that the values are made by the flow's code, and nobody has checked them.

        Those that concern nobody are left out as early as can be, unless they are `sifted` already, or the filter that
        they have `met` says as much.
        """
        sieve = None if sifted or made else sieve_at(branch, value_type)
        if sieve is not None and met is not None and is_implied(sieve, by=met):
            sieve, sifted = None, True
        if sieve is not None:
            return _sifting(sieve, self._compile(branch, value_type, made=made, sifted=True))
        if isinstance(branch, ToStage):
            exchange = self._exchanges[branch.edge.id]
            with_places = branch.edge.has_places
            way = self._to_everyone if branch.edge.broadcast else self._to_stage
            send = way(exchange, with_places=with_places)
            if made and branch.edge.sieve is not None:
                send = _sifting(branch.edge.sieve, send)
            return _settling(self._rejects.place, branch.edge.value_type, send) if made else send
        if isinstance(branch, ToSink):
            return self._to_sink(self._exchanges[branch.edge.id], self._encoders[branch.edge.id])
        assert isinstance(branch, Apply)
        node = branch.node
        following = value_type if isinstance(node, KeyByNode) or node.kind in ("filter", "reject") else Any
        made = made or (not isinstance(node, KeyByNode) and node.kind in ("map", "flat_map"))
        if not isinstance(node, KeyByNode):
            met = node.function if node.kind == "filter" else None
        sifted = sifted and len(branch.then.branches) == 1
        rest = [self._compile(then, following, made=made, sifted=sifted, met=met) for then in branch.then.branches]
        apply = (
            self._rekey(node, value_type)
            if isinstance(node, KeyByNode)
            else STATELESS[node.kind](node, self._rejects.place)
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
            except OF_THE_FLOW:  # Which event it was, and whose fault, is found out below.
                keys = []
            usable, keys = read_one_by_one(
                columns,
                lambda value: as_key(get((value,))[0]),
                self._rejects,
                about=node.name,
                step=f"the step {node.name!r} ({node.where})",
            )
            return usable._replace(keys=keys)

        return apply

    def _to_stage(self, exchange: Exchange, *, with_places: bool) -> Callable[[Columns, str], None]:
        router = Router(len(exchange.groups))
        self._gathered.append((exchange, router.take))
        self._lists.append(router)

        def send_with_places(columns: Columns, partition: str) -> None:
            assert columns.keys is not None
            router.sort_in(list(zip(columns.times, columns.keys, columns.values, columns.ordinals, repeat(partition))))

        def send(columns: Columns, partition: str) -> None:
            assert columns.keys is not None
            router.sort_columns_in(listed(columns.times), columns.keys, listed(columns.values))

        return send_with_places if with_places else send

    def _to_everyone(self, exchange: Exchange, *, with_places: bool) -> Callable[[Columns, str], None]:
        gathered: list[Record] = []

        def take() -> dict[int, list[Record]]:
            by_group = to_everyone(gathered, exchange.groups)
            gathered.clear()
            return by_group

        def send(columns: Columns, partition: str) -> None:
            if with_places:
                gathered.extend(zip(columns.times, repeat(""), columns.values, columns.ordinals, repeat(partition)))
            else:
                gathered.extend(zip(columns.times, repeat(""), columns.values))

        self._gathered.append((exchange, take))
        self._lists.append(gathered)
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
        self._lists.append(gathered)
        return send


def _sifting(sieve: Callable[[Any], bool], run: Callable[[Columns, str], None]) -> Callable[[Columns, str], None]:
    """Go on with the events that meet a condition."""

    def sift(columns: Columns, partition: str) -> None:
        kept = chosen(columns, mask_of(sieve, columns.values))
        if kept.values:
            run(kept, partition)

    return sift


def _settling(place_of: Place, value_type: Any, send: Callable[[Columns, str], None]) -> Callable[[Columns, str], None]:
    """Send values that steps have made as what their type says; those that are it already cost 50 to 100 ns."""
    place = ""
    settle = settler(value_type, lambda: place)

    def settle_and_send(columns: Columns, partition: str) -> None:
        nonlocal place
        values: list[Any] = []
        try:
            values.extend(map(settle, columns.values))
        except UserCodeError:
            place = f"what the steps make of the record at {place_of(columns.ordinals[len(values)])}"
            settle(columns.values[len(values)])
            raise
        send(columns._replace(values=values), partition)

    return settle_and_send
