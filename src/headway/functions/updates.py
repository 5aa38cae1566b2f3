"""Requests to a running function: updates, which change something and are answered, and queries, which only look.

A handler is a function of the user's code, with the value of the request as its only parameter or none. An update is
checked before it is accepted, by its type and by a function of the user's; one that is refused leaves no trace in the
history. One that is accepted is a happening: its handler runs as a task, may call and wait, and its answer is a
command.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Optional
from weakref import proxy

from headway.errors import UsageError
from headway.functions.failures import failure_of
from headway.functions.history import Failure, UpdateAnswered, UpdateAsked
from headway.functions.signature import Signature

if TYPE_CHECKING:
    from headway.functions.core import Core

__all__ = ["Handler", "UnknownQuery", "Updates"]

_SIGNATURES_MAX: Final = 1_024
_signatures: Final[dict[Any, Signature]] = {}


class UnknownQuery(UsageError):
    """The function has named no handler for a query, or not yet."""


class Handler:
    """A function of the user's with what it takes and gives."""

    def __init__(self, code: Callable[..., Any], what: str, check: Optional[Callable[..., Any]] = None) -> None:
        self.code = code
        self._check = check
        self._signature = _signature_of(code, what)
        if len(self._signature.names) > 1:
            msg = f"{what} takes ({', '.join(self._signature.names)}), expected one value or none"
            raise UsageError(msg)

    def arguments(self, value: bytes) -> tuple[Any, ...]:
        """What it is called with. Raises `UsageError` for a value that is not of its type."""
        return self._signature.decode(b"[" + value + b"]")[0] if self._signature.names else ()

    def check(self, value: bytes) -> None:
        """Raises what the user's check raises, or `UsageError`."""
        arguments = self.arguments(value)
        if self._check is not None:
            found = self._check(*arguments)
            if inspect.isawaitable(found):
                getattr(found, "close", lambda: None)()
                msg = f"{self._signature.what}: its check must not be async: it only looks"
                raise UsageError(msg)

    def encode_result(self, value: Any) -> bytes:
        """Its result as JSON."""
        return self._signature.encode_result(value)


class Updates:
    """The handlers of one run, and the updates under way."""

    def __init__(self, core: Core) -> None:
        self._core: Core = proxy(core)  # Which has it, and lives at least as long.
        self._handlers: dict[str, Handler] = {}
        self._queries: dict[str, Handler] = {}
        self._seen: set[str] = set()
        self.under_way: dict[str, str] = {}

    def on_update(self, name: str, code: Callable[..., Any], check: Optional[Callable[..., Any]]) -> None:
        """Take updates of a name from now on."""
        self._handlers[name] = Handler(code, f"update {name!r}", check)

    def on_query(self, name: str, code: Callable[..., Any]) -> None:
        """Take queries of a name from now on."""
        if inspect.iscoroutinefunction(code):
            msg = f"query {name!r}: its handler must not be async: it only looks"
            raise UsageError(msg)
        self._queries[name] = Handler(code, f"query {name!r}")

    def is_known(self, update_id: str) -> bool:
        """Whether an update was taken before: whoever asks again gets no second one."""
        return update_id in self._seen

    def refusal(self, asked: UpdateAsked) -> Optional[Failure]:
        """Why an update is not accepted; None if it is. Changes nothing."""
        handler = self._handlers.get(asked.name)
        if handler is None:
            known = ", ".join(sorted(self._handlers)) or "none"
            return Failure("UnknownUpdate", f"the function takes no update {asked.name!r}: it takes {known}")
        try:
            self._core.looking(lambda: handler.check(asked.value))
        except Exception as error:
            return failure_of(error)
        return None

    def asked(self, asked: UpdateAsked) -> None:
        """An update was accepted: its handler runs."""
        self._seen.add(asked.update_id)
        self.under_way[asked.update_id] = asked.name
        self._core.loop.create_task(self._answer(asked), name=f"update {asked.name}")

    def query(self, name: str, value: bytes) -> bytes:
        """The answer to a query. Raises `UnknownQuery`, and what its handler raises."""
        handler = self._queries.get(name)
        if handler is None:
            known = ", ".join(sorted(self._queries)) or "none"
            msg = f"the function takes no query {name!r}: it takes {known}"
            raise UnknownQuery(msg)
        return handler.encode_result(self._core.looking(lambda: handler.code(*handler.arguments(value))))

    def end(self) -> None:
        """The function has ended: updates under way get no answer of their own."""
        for update_id, name in self.under_way.items():
            failure = Failure("FunctionEnded", f"the function ended before it had answered update {name!r}")
            self._core.journal.note(UpdateAnswered(update_id, failure=failure))
        self.under_way.clear()

    async def _answer(self, asked: UpdateAsked) -> None:
        handler = self._handlers[asked.name]
        try:
            result = handler.code(*handler.arguments(asked.value))
            if inspect.isawaitable(result):
                result = await result
            answer = UpdateAnswered(asked.update_id, handler.encode_result(result))
        except (Exception, asyncio.CancelledError, SystemExit) as error:
            answer = UpdateAnswered(asked.update_id, failure=failure_of(error))
        if not self._core.is_deaf() and self.under_way.pop(asked.update_id, None) is not None:
            self._core.journal.note(answer)


def _signature_of(code: Callable[..., Any], what: str) -> Signature:
    """The signature of a handler, which is made anew in each run from the same code."""
    key = (getattr(code, "__code__", None), what)
    found = _signatures.get(key)
    if found is None:
        found = Signature(code, what)
        if key[0] is not None:
            if len(_signatures) >= _SIGNATURES_MAX:
                _signatures.clear()
            _signatures[key] = found
    return found
