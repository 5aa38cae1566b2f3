"""The part of a flow's server that serves workers of steps: long polls for work, heartbeats, outcomes.

It decides nothing: the hubs in the processes of the flow do (`headway.steps.hub`). Requests are guarded as all others
of the server are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Optional, TypeVar

import msgspec

from headway.steps.desk_client import Desks, NobodyThere
from headway.steps.desk_protocol import Ask, End, Given
from headway.steps.wire import PATH, Complete, Fail, HeartbeatAnswer, Heartbeats, Poll, PollAnswer, Release, Step
from headway.web.middleware import read_body
from headway.web.problems import App, ProblemError, Receive, Scope, Send, answer

__all__ = ["StepsApp"]

T = TypeVar("T")
_JSON: Final = b"application/json"
_encode: Final = msgspec.json.Encoder().encode
_PAUSE_S: Final = 0.2
"""How often it is looked whether a process of the flow is there, while none is."""
_LOOK_S: Final = 0.25
"""How often it is looked whether the server is about to stop."""


@dataclass
class StepsApp:
    """An ASGI application in front of another one: it answers what is below `/v1/steps`, and hands on all else.

    `is_draining` says whether the server is about to stop.
    """

    app: App
    desks: Desks
    is_draining: Callable[[], bool] = lambda: False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope["path"]
        if not path.startswith(f"{PATH}/"):
            await self.app(scope, receive, send)
            return
        handlers: dict[str, Callable[[bytes, Receive], Awaitable[bytes]]] = {
            "poll": self._poll,
            "heartbeat": self._heartbeat,
            "complete": self._complete,
            "fail": self._fail,
            "release": self._release,
        }
        handler = handlers.get(path.removeprefix(f"{PATH}/"))
        if handler is None:
            raise ProblemError(404, f"there is no {path!r}: there are {', '.join(f'{PATH}/{one}' for one in handlers)}")
        if scope["method"] != "POST":
            raise ProblemError(405, f"{path} is asked by POST", headers={"allow": "POST"})
        body = await read_body(receive)
        try:
            told = await handler(body, receive)
        except NobodyThere:
            detail = "no process of the flow is there: it is about to start, or to stop"
            raise ProblemError(503, detail, headers={"retry-after": "1"}) from None
        await answer(send, 200, told, _JSON)

    async def _poll(self, body: bytes, receive: Receive) -> bytes:
        poll = _decoded(Poll, body)
        gone = asyncio.ensure_future(_gone(receive))
        try:
            given = await self._given(poll, gone)
            if gone.done():
                await self.desks.give_back([work.lease for work in given.works])
                raise ConnectionResetError
        finally:
            gone.cancel()
        return _encode(PollAnswer([Step.of(work) for work in given.works], given.unknown))

    async def _given(self, poll: Poll, gone: asyncio.Future[None]) -> Given:
        """Work, as soon as there is some; none when the time is over, or the worker gone."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + poll.wait_ms / 1_000
        while True:
            left_ms = max(0, int(1_000 * (until_s - loop.time())))
            given = await self._asked(Ask(poll.queues, poll.most, left_ms), gone)
            if given is not None and (given.works or loop.time() >= until_s):
                return given
            if gone.done():
                return Given()
            if self.is_draining() or loop.time() >= until_s:
                raise NobodyThere
            await asyncio.sleep(_PAUSE_S)

    async def _asked(self, ask: Ask, gone: asyncio.Future[None]) -> Optional[Given]:
        """What the hubs say; None where none is there, or nobody waits for it any more."""
        asking = asyncio.ensure_future(self.desks.ask(ask))
        events: set[asyncio.Future[Any]] = {asking, gone}
        try:
            while not asking.done() and not gone.done() and not self.is_draining():
                await asyncio.wait(events, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asking.cancel()  # Then nothing was handed over.
            await asyncio.wait({asking})
        return None if asking.cancelled() or asking.exception() is not None else asking.result()

    async def _heartbeat(self, body: bytes, receive: Receive) -> bytes:
        beats = _decoded(Heartbeats, body)
        try:
            held = [one.held() for one in beats.steps]
        except ValueError as error:
            raise ProblemError(422, str(error)) from None
        return _encode(HeartbeatAnswer(await self.desks.beat(held)))

    async def _complete(self, body: bytes, receive: Receive) -> bytes:
        return await self._ended(_decoded(Complete, body))

    async def _fail(self, body: bytes, receive: Receive) -> bytes:
        return await self._ended(_decoded(Fail, body))

    async def _ended(self, told: Any) -> bytes:
        if not await self.desks.end(End(told.lease, told.outcome)):
            detail = "this lease is over, or never was: what came of it does not count"
            raise ProblemError(409, detail, title="Lease is over")
        return b"{}"

    async def _release(self, body: bytes, receive: Receive) -> bytes:
        await self.desks.give_back(_decoded(Release, body).leases)
        return b"{}"


async def _gone(receive: Receive) -> None:
    """Until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _decoded(kind: type[T], body: bytes) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(422, str(error)) from None
