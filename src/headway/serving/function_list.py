"""Lists of instances over HTTP, in pages of one epoch."""

from __future__ import annotations

import asyncio
import base64
import binascii
from itertools import islice
from typing import Any, Final, Optional

import msgspec

from headway.basics.times import duration_ms, parse_time
from headway.durable.flow import VIEW
from headway.durable.listing import Filter, filter_of
from headway.errors import UsageError
from headway.serving.answers import JSON, encode
from headway.serving.catalog import Shown
from headway.serving.current import FRESH, Current
from headway.serving.requests import Query
from headway.state.snapshots import Snapshot
from headway.web.problems import ProblemError, Scope, Send, answer

__all__ = ["send_list", "told"]

_LIMIT_MOST: Final = 1_000
_SLICE: Final = 500
"""Rows that are looked at without a pause, some 10 ms."""
_LOOKED_MOST: Final = 20_000
"""Rows that are looked at for one page: where few match, a page may hold less than its limit, and there is a next."""
_PARAMETERS: Final = (*FRESH, "name", "status", "where", "since", "limit", "cursor")


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where the next page begins, what it holds, and of which epoch all pages are."""

    epoch: int
    start: str
    wanted: Filter


_places: Final = msgspec.msgpack.Decoder(_Place)


async def send_list(current: Current, scope: Scope, send: Send, name: str) -> None:
    """Answer with the instances that a request asks for, of one function where it is named."""
    query = Query(scope, _PARAMETERS)
    limit = query.number("limit", 100, 1, _LIMIT_MOST)
    await current.await_known(VIEW, query.wait_s())
    shown = current.shown(VIEW)
    token = query.text("cursor")
    if token:
        given = [one for one in ("name", "status", "where", "since") if query.texts(one)]
        if given:
            raise ProblemError(400, f"cursor: it says what is looked for: leave {', '.join(given)} out")
        place = _place_of(token)
        snapshot = _pinned(current, place)
    else:
        await current.await_fresh(query, shown, query.wait_s())
        snapshot = current.snapshot
        place = _Place(0, "", _filter_of(query, name, current.wall_ms()))
    items, following = await _page(shown, snapshot, place, limit)
    body: dict[str, Any] = {"items": items}
    if following:
        epoch = current.state.pin(snapshot)
        body["next"] = _token_of(_Place(epoch, following, place.wanted))
    fresh = current.freshness_of(snapshot, shown)
    await answer(send, 200, encode({**fresh._asdict(), **body}), JSON, fresh.headers())


def told(key: str, state: Any) -> dict[str, Any]:
    """What a list says of an instance."""
    found: dict[str, Any] = {"instance": key, "status": state.status, "run": state.run, "started_ms": state.started_ms}
    if state.ended_ms:
        found["ended_ms"] = state.ended_ms
    if state.started_by:
        found["started_by"] = state.started_by
    if state.error:
        found["error"] = state.error
    if state.waits:
        found["waits"] = state.waits
    found["search"] = msgspec.Raw(state.search.encode()) if state.search else {}
    return found


async def _page(shown: Shown, snapshot: Snapshot, place: _Place, limit: int) -> tuple[list[dict[str, Any]], str]:
    wanted = place.wanted
    rows = shown.states(snapshot, wanted.prefix, place.start)
    items: list[dict[str, Any]] = []
    looked = 0
    while True:
        some = list(islice(rows, _SLICE))
        for key, state in some:
            if len(items) == limit or looked == _LOOKED_MOST:
                return items, key
            looked += 1
            if wanted.matches(state.status, state.started_ms, state.search):
                items.append(told(key, state))
        if len(some) < _SLICE:
            return items, ""
        await asyncio.sleep(0)


def _filter_of(query: Query, name: str, now_ms: int) -> Filter:
    statuses = [part for text in query.texts("status") for part in text.split(",")]
    try:
        return filter_of(
            name=name or query.text("name"),
            statuses=statuses,
            where=query.texts("where"),
            since_ms=_since(query.text("since"), now_ms),
        )
    except UsageError as error:
        raise ProblemError(400, str(error)) from None


def _since(text: str, now_ms: int) -> Optional[int]:
    if not text:
        return None
    try:
        return now_ms - duration_ms(text, what="since")
    except UsageError:
        pass
    try:
        return parse_time(int(text) if text.isdecimal() else text)
    except ValueError:
        raise ProblemError(400, f"since={text!r:.80}: write 1h, 2026-01-01T00:00:00Z, or epoch milliseconds") from None


def _pinned(current: Current, place: _Place) -> Snapshot:
    found = current.state.pinned(place.epoch)
    if found is None:
        raise ProblemError(
            410,
            f"cursor: the pages of epoch {place.epoch} are not kept any more: begin anew without a cursor, and ask for "
            "the next page within a minute",
            title="the cursor has expired",
        )
    return found


def _token_of(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")


def _place_of(token: str) -> _Place:
    try:
        data = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), b"-_", validate=True)
        return _places.decode(data)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise ProblemError(400, "cursor: this is none: give `next` of the page before as it was") from None
