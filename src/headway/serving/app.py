"""The HTTP interface of views: an ASGI application. `docs/decisions.md` is its description for those who use it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Optional

from headway.errors import HeadwayError
from headway.functions.declared import Callee
from headway.serving.answers import JSON, KeyAnswer, encode, key_answer, matches, record
from headway.serving.catalog import Presence, Shown
from headway.serving.current import FRESH, Current
from headway.serving.functions import FunctionRequests
from headway.serving.openapi import document
from headway.serving.requests import Cursor, Query, Target, allow, keys_of, parse_target, wait_of
from headway.serving.state import DecisionState
from headway.serving.streams import stream_key
from headway.serving.watching import Watchers
from headway.state.snapshots import Snapshot
from headway.web.middleware import header, read_body
from headway.web.problems import ProblemError, Receive, Scope, Send, answer

__all__ = ["ViewsApp"]

log = logging.getLogger("headway")

_KEYS_MAX: Final = 1_000
_BYTES_MAX: Final = 16 << 20
"""Of the values in one answer about several keys; a single value may be of any size."""
_COUNTED: Final = 2_000
_KNOWN_S: Final = 0.3
"""How long a question waits where nothing is known yet."""
_FIRST_S: Final = 3.0
"""Until so long after the start of the server it waits: a run that was started with it commits an epoch soon."""

Handle = Callable[[Scope, Receive, Send, Shown], Awaitable[None]]


class ViewsApp:
    """Answers questions about decision state; see `headway.serving.state` for where it comes from.

    `watchers_max` may wait for changes at a time. `wall_ms` is the wall clock. Until `first_s` after the start of the
    application, questions wait for a first epoch. `callees` are the functions and steps of a group of durable
    functions, whose instances are asked below `/v1/functions`.
    """

    def __init__(
        self,
        state: DecisionState,
        *,
        watchers_max: int = 10_000,
        wall_ms: Callable[[], int],
        first_s: float = _FIRST_S,
        callees: Optional[Mapping[str, Callee]] = None,
    ) -> None:
        self.state = state
        self.watchers = Watchers(self.look, watchers_max)
        self.queries = 0
        """Requests that were answered, whatever the answer."""
        self._current = Current(state, wall_ms)
        self._functions = None if callees is None else FunctionRequests(self._current, callees)
        self._first_until_s = time.monotonic() + first_s
        self._follows: Optional[asyncio.Task[None]] = None
        self._counting = asyncio.Semaphore(2)
        self._kept: tuple[Optional[Snapshot], dict[tuple[str, str], int]] = None, {}
        self._actions: dict[str, tuple[str, Handle]] = {
            "batch": ("POST", self._batch),
            "list": ("GET", self._list),
            "count": ("GET", self._count),
            "top": ("GET", self._top),
        }
        state.on_change(self.watchers.tell)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises `ProblemError` for what cannot be answered, which `guarded` tells."""
        self.start()
        self.queries += 1
        if self.state.snapshot is None:
            # It may have been committed since somebody last looked; a client that waits may also wait for that.
            first_s = self._first_until_s - time.monotonic()
            await self.state.next_change(max(_KNOWN_S, first_s, wait_of(scope)))
        try:
            await self._answer(scope, receive, send)
        except HeadwayError as error:
            log.warning("%s: %s", scope["path"], error)
            detail = "the state cannot be read; the log of the server says why"
            raise ProblemError(503, detail, headers={"retry-after": "1"}) from error

    def start(self) -> None:
        """Begin to follow what is committed, unless that has begun."""
        if self._follows is None:
            self._follows = asyncio.get_running_loop().create_task(self.state.follow())

    def end(self) -> None:
        """Send home all who wait; may be called again."""
        self.state.close()
        self.watchers.end()
        if self._functions is not None:
            self._functions.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if scope["path"] == "/openapi.json":
            allow(method, "GET")
            await answer(
                send, 200, encode(document(self.state.views(), has_functions=self._functions is not None)), JSON
            )
            return
        if self._functions is not None and self._functions.is_meant(scope):
            await self._functions.answer(scope, receive, send)
            return
        target = parse_target(scope)
        if target is None:
            raise ProblemError(404, "there is nothing here: views are below /v1/views, and described by /openapi.json")
        if target.view is None:
            allow(method, "GET")
            await self._views(scope, send)
            return
        if target.key is not None:
            allow(method, "GET")
            await self._key(scope, receive, send, target.view, target.key)
            return
        await self._action(scope, receive, send, target)

    async def _action(self, scope: Scope, receive: Receive, send: Send, target: Target) -> None:
        if target.action is None:
            allow(scope["method"], "GET")
            Query(scope, ())
            shown = self._current.shown(target.view or "")
            await answer(send, 200, encode(self._about(shown)), JSON)
            return
        if target.action not in self._actions:
            raise ProblemError(404, f"{target.action!r:.80} is none of {', '.join(self._actions)}")
        method, handle = self._actions[target.action]
        allow(scope["method"], method)
        await handle(scope, receive, send, self._current.shown(target.view or ""))

    async def _views(self, scope: Scope, send: Send) -> None:
        Query(scope, ())
        known = self.state.views()
        views = [self._about(known[name]) if name in known else {"name": name} for name in self.state.declared]
        body: dict[str, Any] = {"views": views}
        if self.state.snapshot is not None:
            body |= {"epoch": self.state.snapshot.cut.epoch, "age_ms": self.state.age_ms(self._current.wall_ms())}
        await answer(send, 200, encode(body), JSON)

    def _about(self, shown: Shown) -> dict[str, Any]:
        about: dict[str, Any] = {"name": shown.name, "kind": "last value" if shown.view.of_stream else "state"}
        if shown.view.fields:
            about["fields"] = list(shown.view.fields)
        if shown.index:
            about["index"] = shown.index
        if self.state.snapshot is not None:
            about["watermark"] = self.state.snapshot.cut.watermarks[shown.task]
        return about

    async def _key(self, scope: Scope, receive: Receive, send: Send, view: str, key: str) -> None:
        query = Query(scope, FRESH)
        left_s = query.wait_s()
        began_s = time.monotonic()
        await self._current.await_known(view, left_s)
        shown = self._current.shown(view)
        await self._current.await_fresh(query, shown, left_s - (time.monotonic() - began_s))
        if b"text/event-stream" in header(scope, b"accept"):
            fresh = self._current.freshness
            await stream_key(scope, receive, send, lambda: self.look(view, key), self.watchers, view, key, fresh)
            return
        left_s -= time.monotonic() - began_s
        found = self.look(view, key)
        known = header(scope, b"if-none-match")
        if left_s > 0 and matches(known, found.etag):
            later = await self.watchers.wait(view, key, found.etag, left_s)
            found = later or self.look(view, key)
        headers = {"etag": found.etag, "cache-control": "no-cache", **self._current.freshness(view).headers()}
        if found.status == 200:
            headers["headway-time-ms"] = str(found.time_ms)
        if matches(known, found.etag):
            await answer(send, 304, b"", found.content_type, headers)
        else:
            await answer(send, found.status, found.body, found.content_type, headers)

    async def _batch(self, scope: Scope, receive: Receive, send: Send, shown: Shown) -> None:
        query = Query(scope, FRESH)
        keys = keys_of(await read_body(receive), _KEYS_MAX)
        await self._current.await_fresh(query, shown, query.wait_s())
        snapshot = self._current.snapshot
        values: list[dict[str, Any]] = []
        size = 0
        for key in keys:
            found = shown.get(snapshot, key)
            size += len(found.value)
            if size > _BYTES_MAX and len(keys) > 1:
                raise ProblemError(413, f"the values have more than {_BYTES_MAX:,} bytes: ask for fewer keys at a time")
            one = record(found) if found.presence is Presence.PRESENT else {"key": key}
            values.append({"status": found.presence.value, **one})
        await self._several(send, shown, snapshot, {"values": values})

    async def _list(self, scope: Scope, receive: Receive, send: Send, shown: Shown) -> None:
        query = Query(scope, (*FRESH, "prefix", "limit", "cursor"))
        limit = query.number("limit", 100, 1, _KEYS_MAX)
        prefix, start = query.text("prefix"), ""
        token = query.text("cursor")
        if token:
            cursor = Cursor.of(token)
            if cursor.view != shown.name or (prefix and cursor.prefix != prefix):
                raise ProblemError(400, "cursor: this is one of another view or prefix")
            found = self.state.pinned(cursor.epoch)
            if found is None:
                raise ProblemError(
                    410,
                    f"cursor: the pages of epoch {cursor.epoch} are not kept any more: begin anew without a cursor, "
                    "and ask for the next page within a minute",
                    title="the cursor has expired",
                )
            snapshot, prefix, start = found, cursor.prefix, cursor.start
        else:
            await self._current.await_fresh(query, shown, query.wait_s())
            snapshot = self._current.snapshot
        items, following = shown.page(snapshot, prefix, start, limit, _BYTES_MAX)
        body: dict[str, Any] = {"items": [record(item) for item in items]}
        if following:
            body["next"] = Cursor(shown.name, prefix, self.state.pin(snapshot), following).token()
        await self._several(send, shown, snapshot, body)

    async def _count(self, scope: Scope, receive: Receive, send: Send, shown: Shown) -> None:
        query = Query(scope, (*FRESH, "prefix"))
        prefix = query.text("prefix")
        await self._current.await_fresh(query, shown, query.wait_s())
        snapshot = self._current.snapshot
        async with self._counting:
            if self._kept[0] is not snapshot:
                self._kept = snapshot, {}
            known = self._kept[1]
            if (shown.name, prefix) not in known:
                known[shown.name, prefix] = await self._counted(snapshot, shown, prefix)
        await self._several(send, shown, snapshot, {"count": known[shown.name, prefix]})

    async def _counted(self, snapshot: Snapshot, shown: Shown, prefix: str) -> int:
        count, start = shown.count_some(snapshot, prefix, "", _COUNTED)
        while start:
            await asyncio.sleep(0)
            more, start = shown.count_some(snapshot, prefix, start, _COUNTED)
            count += more
        return count

    async def _top(self, scope: Scope, receive: Receive, send: Send, shown: Shown) -> None:
        query = Query(scope, (*FRESH, "by", "n"))
        count = query.number("n", 10, 1, _KEYS_MAX)
        by = query.text("by", shown.index)
        if not shown.index or by != shown.index:
            has = f"it is indexed by {shown.index!r}" if shown.index else "it has no index"
            raise ProblemError(400, f"by={by!r:.80}: {has}; declare flow.serve({shown.name!r}, ..., index=...)")
        await self._current.await_fresh(query, shown, query.wait_s())
        snapshot = self._current.snapshot
        items = [record(item) for item in shown.top(snapshot, count)]
        await self._several(send, shown, snapshot, {"items": items})

    async def _several(self, send: Send, shown: Shown, snapshot: Snapshot, body: dict[str, Any]) -> None:
        fresh = self._current.freshness_of(snapshot, shown)
        await answer(send, 200, encode({**fresh._asdict(), **body}), JSON, fresh.headers())

    def look(self, view: str, key: str) -> KeyAnswer:
        """What there is of a key now."""
        return key_answer(view, self._current.shown(view).get(self._current.snapshot, key))
