"""Durable functions over HTTP, below `/v1/functions`: which instances there are, and what they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Optional

import msgspec

from headway.durable.flow import VIEW
from headway.durable.queries import QueryFailed, function_named, query, recorded_in
from headway.durable.state import FunctionState
from headway.errors import FunctionBlocked, UsageError
from headway.functions.declared import Callee
from headway.functions.recorded import Recorded
from headway.functions.updates import UnknownQuery
from headway.serving.answers import JSON, encode
from headway.serving.catalog import Shown
from headway.serving.current import FRESH, Current
from headway.serving.function_list import send_list, told
from headway.serving.requests import Query, allow, parts_of_path
from headway.web.middleware import busy, read_body
from headway.web.problems import ProblemError, Receive, Scope, Send, answer

__all__ = ["ROOT", "FunctionRequests"]

ROOT: Final = b"/v1/functions"
_WAYS: Final = ", ".join(
    f"/v1/functions{way}" for way in ("", "/{name}", "/{name}/{id}", "/{name}/{id}/queries/{query}")
)
_TOLD: Final = "functions are started and told something at the server of `headway run --listen`"
_WAITING_MOST: Final = 100
"""Queries that wait for those before them."""


class FunctionRequests:
    """Answers requests about the instances of a group of functions."""

    def __init__(self, current: Current, callees: Mapping[str, Callee]) -> None:
        self._current = current
        self._callees = callees
        # One thread: what it runs is Python, which runs in one thread at a time, and views are answered meanwhile.
        self._thread = ThreadPoolExecutor(1, "headway-queries")
        self._waiting = 0

    def close(self) -> None:
        """Answer nothing more; again does nothing."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def is_meant(self, scope: Scope) -> bool:
        """Whether the path of a request is one of these."""
        path: bytes = scope["raw_path"]
        return path == ROOT or path.startswith(ROOT + b"/")

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises `ProblemError` for what cannot be answered."""
        parts = parts_of_path(scope, ROOT) or []
        if len(parts) < 3 and scope["method"] not in ("GET", "HEAD"):
            raise ProblemError(405, f"this is read by GET; {_TOLD}", headers={"allow": "GET, HEAD"})
        if len(parts) < 2:
            name = parts[0] if parts else ""
            if name:
                self._check(name)
            await send_list(self._current, scope, send, name)
            return
        if len(parts) == 2 and all(parts):
            await self._one(scope, send, parts[0], parts[1])
            return
        if len(parts) == 4 and parts[2] == "queries" and all(parts):
            await self._query(scope, receive, send, parts[0], parts[1], parts[3])
            return
        raise ProblemError(404, f"there is nothing here: there are {_WAYS}; {_TOLD}")

    async def _query(self, scope: Scope, receive: Receive, send: Send, name: str, instance: str, asked: str) -> None:
        """What the handler of a query says: the value is the body, or the parameter `value`, as JSON."""
        method = scope["method"]
        allow(method, "GET", "POST")
        given = Query(scope, FRESH if method == "POST" else (*FRESH, "value"))
        value = await read_body(receive) if method == "POST" else given.text("value").encode()
        left_s = given.wait_s()
        began_s = time.monotonic()
        await self._current.await_known(VIEW, left_s)
        shown = self._current.shown(VIEW)
        await self._current.await_fresh(given, shown, left_s - (time.monotonic() - began_s))
        self._check(name)
        key = f"{name}/{instance}"
        state = self._state(shown, key)
        fresh = self._current.freshness(VIEW)
        recorded = recorded_in(key, state)
        found = await self._answered(recorded, asked, value.strip() or b"null")
        body = {"instance": key, "run": state.run, "status": state.status, "value": msgspec.Raw(found)}
        await answer(send, 200, encode(body), JSON, {"cache-control": "no-cache", **fresh.headers()})

    async def _one(self, scope: Scope, send: Send, name: str, instance: str) -> None:
        """All that is known of an instance."""
        given = Query(scope, FRESH)
        await self._current.await_known(VIEW, given.wait_s())
        shown = self._current.shown(VIEW)
        await self._current.await_fresh(given, shown, given.wait_s())
        self._check(name)
        key = f"{name}/{instance}"
        state = self._state(shown, key)
        body = {
            **told(key, state),
            "arguments": msgspec.Raw(state.arguments.encode()),
            "result": msgspec.Raw(state.result.encode() or b"null"),
            "variables": msgspec.Raw(state.variables.encode() or b"{}"),
        }
        headers = {"cache-control": "no-cache", **self._current.freshness(VIEW).headers()}
        await answer(send, 200, encode(body), JSON, headers)

    def _check(self, name: str) -> None:
        try:
            function_named(self._callees, name)
        except LookupError as error:
            raise ProblemError(404, str(error.args[0]), title="no such function", reason="no function") from None

    def _state(self, shown: Shown, key: str) -> FunctionState:
        found: Optional[FunctionState] = shown.stored(self._current.snapshot, key)
        if found is None:
            raise ProblemError(404, f"there is no instance {key!r:.200}", title="no such instance", reason="absent")
        return found

    async def _answered(self, recorded: Recorded, asked: str, value: bytes) -> bytes:
        if self._waiting >= _WAITING_MOST:
            msg = f"{self._waiting} queries wait already"
            raise busy(msg)
        self._waiting += 1
        try:
            work = partial(query, recorded, self._callees, asked, value)
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except UnknownQuery as error:
            raise ProblemError(404, str(error), title="no such query", reason="no query") from None
        except UsageError as error:
            raise ProblemError(422, str(error), title="query refused", reason="refused") from None
        except FunctionBlocked as error:
            raise ProblemError(409, str(error), title="the function is blocked", reason="blocked") from None
        except QueryFailed as error:
            status = 504 if error.failure.type == "TookTooLong" else 422
            raise ProblemError(status, str(error), title="the query has failed", reason="failed") from None
        finally:
            self._waiting -= 1
