"""Triggers into Resonate: each invokes a function by a durable promise, or resolves one that something waits for.

A trigger is one request of Resonate's protocol to its server, an envelope of JSON by HTTP. The promise's id has the
trigger's id in it: creating it again gives the one that is there, whatever became of it, for as long as the server
keeps it. A promise is resolved once; what comes later changes nothing.

Rejected: Resonate's SDK. It needs Python 3.12, retries by itself for ever while the server is down, and takes part as
a worker; what is asked for here is one request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Optional

import msgspec

from headway.basics.needed import length_ms_in
from headway.basics.secret import Secret
from headway.basics.times import Duration
from headway.targets.addresses import AddressPolicy
from headway.targets.answers import HEAD_MAX
from headway.targets.base import Answer, Delivery, Limits, Outcome
from headway.targets.headers import Headers
from headway.targets.http_receiver import HttpReceiver
from headway.targets.http_target import HttpTarget
from headway.targets.limits import SPARE_S, limits_of
from headway.targets.resonate_requests import NOT_OURS, Request, request_of, said_in
from headway.targets.tls import TlsFiles
from headway.targets.urls import Url

__all__ = ["Resonate", "to_resonate"]

_PROTOCOL: Final = "2026-04-01"
_DEADLINE_MOST_MS: Final = 36_500 * 86_400_000
_BAD_GATEWAY: Final = 502
_BODY_MOST: Final = 1 << 24
"""Bytes of an answer, which has the promise with the trigger's value in it."""


def to_resonate(
    url: str,
    *,
    function: Optional[str] = None,
    target: str = "default",
    version: int = 1,
    promise_id: Optional[str] = None,
    resolve: Optional[str] = None,
    deadline: Duration = "1d",
    mode: str = "binary",
    token: Optional[str] = None,
    concurrency: int = 64,
    rate: Optional[float] = None,
    timeout: Duration = "20s",
    ca: Optional[str] = None,
    cert: Optional[str] = None,
    key: Optional[str] = None,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    name: Optional[str] = None,
) -> Resonate:
    """Invoke a function of Resonate with each trigger, or resolve a durable promise with it.

    `url` is the server's, such as `"http://localhost:8001"`. `function` is the name it is registered under, in a
    `version`; `target` is the group of workers that run it, or a whole address such as `poll://any@workers`. The
    promise's id is by default the trigger's, and has to have it: `promise_id` may have `{id}`, `{key}`, `{type}` and
    `{value.field}` in it. The function has to be done before `deadline`, counted from the first attempt to deliver.
    `resolve` instead says where the id of a promise is that is resolved, such as `"{value.promise}"`.

    The function's argument, or the value of the promise, is the trigger's value (`mode="binary"`) or the whole event
    (`"structured"`). `token` (best as `env:NAME` or `file:/path`) is shown to the server. `concurrency`, `rate`,
    `timeout`, `ca`, `cert`, `key`, `allow`, `deny` and `name` are as for `webhook`. Needs the extra `http`. Raises
    `UsageError` for an option that cannot be.

    >>> to_resonate("http://localhost:8001", function="reorder", target="workers")
    <Resonate resonate http://localhost:8001 reorder>
    """
    secret = None if token is None else Secret(token, "token")
    return Resonate(
        HttpReceiver(
            "hw.to_resonate(...)",
            Url(url),
            Headers({} if token is None else {"Authorization": f"Bearer {token}"}),
            TlsFiles(ca=ca, cert=cert, key=key),
            AddressPolicy(allow=allow, deny=deny),
            tuple if secret is None else secret.known,
            _BODY_MOST,
            adds_path=True,
        ),
        request_of(
            function=function, target=target, version=version, promise_id=promise_id, resolve=resolve, mode=mode
        ),
        deadline_ms=length_ms_in("deadline", deadline, 1, _DEADLINE_MOST_MS),
        token=secret,
        limits=limits_of(
            concurrency=concurrency,
            rate=rate,
            timeout=timeout,
            spare_s=SPARE_S,
        ),
        name=name,
    )


class Resonate(HttpTarget):
    """Functions or promises of Resonate that take triggers; made by `hw.to_resonate`."""

    def __init__(
        self,
        receiver: HttpReceiver,
        request: Request,
        *,
        deadline_ms: int,
        token: Optional[Secret],
        limits: Limits,
        name: Optional[str] = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(receiver, limits, name or f"resonate {receiver.shown} {request.shown}", now_s=now_s)
        self._request = request
        self._deadline_ms = deadline_ms
        self._token = token

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Hand one trigger over, in one request."""
        [delivery] = batch
        until_s = self._until_s()
        try:
            head = {"corrId": delivery.id, "version": _PROTOCOL}
            if self._token is not None:
                head["auth"] = self._token.one()
            kind, data = self._request.of(delivery, int(self._now_s() * 1_000) + self._deadline_ms)
            body = msgspec.json.encode({"kind": kind, "head": head, "data": data})
            response = await self._receiver.request("POST", {"content-type": "application/json"}, body, until_s, "/")
        except Exception as error:
            return [self._unanswered(error)]
        said = said_in(response.body)
        if said is None:
            # A server of Resonate says nothing without its envelope: somebody between us has answered.
            status = _BAD_GATEWAY if 200 <= response.status < 300 else response.status
            return [self._answered(response, NOT_OURS, status)]
        if said.status == 404 and self._request.resolves:
            return [Answer(Outcome.NEVER, "there is no such promise", self._receiver.said(response)[:HEAD_MAX])]
        return [self._answered(response, NOT_OURS if said.is_of_all else None, said.status)]
