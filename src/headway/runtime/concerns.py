"""Leaving out what concerns no operator: before a handler runs, and before a record is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from headway.basics.times import MIN_TIME_MS
from headway.errors import HeadwayError
from headway.plan.sieves import concern_of
from headway.plan.stages import Edge
from headway.runtime.batch import Record
from headway.state.waiting import Waiting

if TYPE_CHECKING:
    from headway.runtime.context import Handle, OperatorContext, Push

__all__ = ["concerned", "sifted", "unsifted_until"]


def concerned(context: OperatorContext, handle: Handle, name: str, value_type: Any) -> Handle:
    """A handle for those events of an input that concern an operator; the others leave no trace."""
    concern = concern_of(context.operator, name, value_type)
    if concern is None:
        return handle

    def handle_concerned(time_ms: int, key: str, event: Any) -> None:
        try:
            is_concerned = concern(event)
        except HeadwayError:
            raise
        except BaseException as error:
            context.key, context.time = key, time_ms
            failure = context.failure("concerns", event)
            raise failure from error
        if is_concerned:
            handle(time_ms, key, event)

    return handle_concerned


class Keyed(Protocol):
    """Who knows the key of the value under way."""

    key: str


def sifted(
    sieve: Callable[[Any], bool],
    isolate: Callable[[Any], Any],
    records: list[Record],
    context: OperatorContext,
    keyed: Keyed,
) -> Push:
    """What sends the values that concern an operator of the stage that they go to."""

    def send_concerned(value: Any) -> None:
        made = isolate(value)
        if sieve(made):
            records.append((context.time, keyed.key, made, context.key))

    return send_concerned


def unsifted_until(inputs: list[Edge], waiting: Waiting) -> int:
    """Up to when records may wait that a former run sent, under another sieve or none."""
    if not len(waiting) or all(edge.sieve is None for edge in inputs):
        return MIN_TIME_MS
    last_ms = waiting.last_ms()
    return MIN_TIME_MS if last_ms is None else last_ms
