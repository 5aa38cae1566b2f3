"""Columns of events, and the stateless steps on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import not_
from typing import Any, NamedTuple, Optional

from headway.errors import HeadwayError, UserCodeError
from headway.graph import StatelessNode
from headway.operators.conditions import mask_of
from headway.runtime.rejects import failure
from headway.types.eventcolumns import Chosen, picked

__all__ = ["STATELESS", "Columns", "Place", "chosen", "select"]


class Columns(NamedTuple):
    """Events of one partition, as parallel columns."""

    times: Sequence[int]
    ordinals: Sequence[Any]
    """Where each comes from: its number in the partition, with what flat_map adds."""
    values: Sequence[Any]
    keys: Optional[list[str]] = None


def select(columns: Columns, mask: Sequence[Any], times: Sequence[int]) -> Columns:
    """The events that a mask chooses, with these times, of which there is one for each event."""
    return Columns(list(compress(times, mask)), picked(columns.ordinals, mask), picked(columns.values, mask))


def chosen(columns: Columns, mask: Sequence[Any]) -> Columns:
    """As `select`, with the times that they have."""
    times, ordinals, values, keys = columns
    kept_keys = None if keys is None else list(compress(keys, mask))
    # Few ordinals are ever asked for.
    return Columns(picked(times, mask), Chosen(ordinals, mask), picked(values, mask), kept_keys)


Place = Callable[[Any], str]
"""Where the record with an ordinal stands, for messages."""


def _map(node: StatelessNode, place: Place) -> Callable[[Columns, str], Columns]:
    function = node.function

    def apply(columns: Columns, partition: str) -> Columns:
        try:
            return columns._replace(values=list(map(function, columns.values)))
        except HeadwayError:
            raise
        except BaseException as error:
            raise _failure(node, place, columns, error) from error

    return apply


def _filter(node: StatelessNode, place: Place) -> Callable[[Columns, str], Columns]:
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
            raise _failure(node, place, columns, error) from error
        return chosen(columns, mask)

    return apply


def _flat_map(node: StatelessNode, place: Place) -> Callable[[Columns, str], Columns]:
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
            raise _failure(node, place, columns, error) from error
        return Columns(times, ordinals, values, keys if columns.keys is not None else None)

    return apply


STATELESS: dict[str, Callable[[StatelessNode, Place], Callable[[Columns, str], Columns]]] = {
    "map": _map,
    "filter": _filter,
    "reject": _filter,
    "flat_map": _flat_map,
}


def _failure(node: StatelessNode, place: Place, columns: Columns, error: BaseException) -> UserCodeError:
    """The error for an exception in a step: runs it again one by one, to name the event."""
    step = f"the step {node.name!r} ({node.where})"
    for index, value in enumerate(columns.values):
        try:
            result = node.function(value)
            if node.kind == "flat_map":
                list(result)
        except BaseException:
            return failure(step, node.name, error, place(columns.ordinals[index]), value)
    wrong = UserCodeError(f"{step} failed with {type(error).__name__}: {error}")
    wrong.step = node.name
    return wrong
