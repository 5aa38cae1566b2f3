"""Queries of durable functions from outside: answered by a copy of the instance, made from its committed history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headway.durable.messages import parts_of
from headway.durable.state import FunctionState
from headway.errors import UsageError, UserCodeError
from headway.functions.declared import Callee, DurableFunction, names_of_functions
from headway.functions.failures import failure_of
from headway.functions.history import Failure, Identity, decode
from headway.functions.recorded import Recorded, replayed
from headway.functions.watchdog import TookTooLong, within

__all__ = ["ANSWER_WITHIN_S", "QueryFailed", "function_named", "query", "recorded_in"]

ANSWER_WITHIN_S: Final = 10.0
"""How long a replay with its query may take."""


class QueryFailed(UserCodeError):
    """The code that should have answered a query has raised, or was not done in time."""

    def __init__(self, text: str, failure: Failure) -> None:
        super().__init__(text)
        self.failure = failure


def query(
    recorded: Recorded, callees: Mapping[str, Callee], name: str, value: bytes, *, within_s: float = ANSWER_WITHIN_S
) -> bytes:
    """What the handler of a query says in the instance that a history makes, as JSON. Changes nothing.

    Costs a replay of the history, some microseconds for each entry. Raises `UsageError` for a query that the function
    does not take or a value that is not of its type, `FunctionBlocked` where the code does not go the way of the
    history, and `QueryFailed` for what the handler raises and for what is not done in time.

    >>> from headway.functions.declared import durable_workflow
    >>> from headway.functions.history import Started
    >>> @durable_workflow
    ... async def count(context, start: int) -> None:
    ...     context.on_query("next", lambda: start + 1)
    ...     await context.wait("done")
    >>> query(Recorded(Identity("count", "c"), (Started(0, b"[6]"),)), {"count": count}, "next", b"null")
    b'7'
    """
    try:
        return within(within_s, lambda: _asked(recorded, callees, name, value))
    except TookTooLong:
        told = f"it was not answered within {within_s:g} s: its handler, or the function itself, never waits"
        msg = f"query {name!r} of {recorded.identity}: {told}"
        raise QueryFailed(msg, Failure("TookTooLong", told)) from None


def recorded_in(key: str, state: FunctionState) -> Recorded:
    """The history that is kept of an instance, without what has come while it was blocked."""
    return Recorded(Identity(*parts_of(key), state.code_run), tuple(decode(data) for data in state.history))


def function_named(callees: Mapping[str, Callee], name: str) -> DurableFunction[Any]:
    """The function of a name. Raises `LookupError` with those that there are."""
    found = callees.get(name)
    if not isinstance(found, DurableFunction):
        msg = f"there is no function {name!r:.100}: there are {names_of_functions(callees)}"
        raise LookupError(msg)
    return found


def _asked(recorded: Recorded, callees: Mapping[str, Callee], name: str, value: bytes) -> bytes:
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"query {name!r}: its value is no JSON: {error}: {value[:100]!r}"
        raise UsageError(msg) from None
    instance = replayed(recorded, callees)
    try:
        return instance.query(name, value)
    except UsageError:
        raise
    except Exception as error:
        failure = failure_of(error)
        msg = f"query {name!r} of {recorded.identity} has failed: {failure}"
        raise QueryFailed(msg, failure) from error
    finally:
        instance.close()
