"""Triggers into Restate: each calls a handler, starts a workflow, or resolves an awakeable, by the HTTP ingress.

A call is handed over and not waited for (`/send`): the ingress answers when Restate has it durable. It is known by the
header `idempotency-key`, the trigger's id, for as long as Restate keeps it (the handler's idempotency retention); a
workflow by its key, for its own retention. Both are a day unless the service says otherwise. An awakeable is resolved
once for ever: what comes later changes nothing.

Rejected: Restate's SDK for Python. A client of it waits for results; what is asked for here is one POST.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Optional
from urllib.parse import quote

from headway.basics.times import Duration
from headway.errors import UsageError
from headway.targets.addresses import AddressPolicy
from headway.targets.base import Answer, Delivery, Limits, Outcome
from headway.targets.cloudevents import binary, checked_mode, event_of, traced
from headway.targets.headers import Headers
from headway.targets.http_receiver import HttpReceiver
from headway.targets.http_target import HttpTarget
from headway.targets.limits import SPARE_S, limits_of
from headway.targets.naming import Naming
from headway.targets.tls import TlsFiles
from headway.targets.urls import Url

__all__ = ["Restate", "to_restate"]

_JSON: Final = {"content-type": "application/json"}
_KINDS: Final = ("service", "virtual_object", "workflow", "awakeable")
_OF_A_CALL: Final = {400: Outcome.RETRY}
"""Restate looks at the target of a call and at its content type, and not at its content: this is about all calls."""


def to_restate(
    ingress: str,
    *,
    service: Optional[str] = None,
    virtual_object: Optional[str] = None,
    workflow: Optional[str] = None,
    awakeable: Optional[str] = None,
    handler: Optional[str] = None,
    key: Optional[str] = None,
    mode: str = "binary",
    headers: Optional[Mapping[str, str]] = None,
    concurrency: int = 64,
    rate: Optional[float] = None,
    timeout: Duration = "20s",
    ca: Optional[str] = None,
    cert: Optional[str] = None,
    tls_key: Optional[str] = None,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    name: Optional[str] = None,
) -> Restate:
    """Call a handler of Restate with each trigger, start a workflow with it, or resolve an awakeable.

    `ingress` is the address, such as `"http://localhost:8080"`, or where it stands (`env:NAME`). One of these is given:
    `service` with a `handler`; `virtual_object` with a `handler`, whose `key` is by default that of the trigger;
    `workflow`, whose `key` has the trigger's id in it, by default `"{id}"`, or with another `handler` than `run` is by
    default the trigger's key; `awakeable`, which says where its id is, such as `"{value.awakeable}"`. Such texts may
    have `{id}`, `{key}`, `{type}` and `{value.field}` of the trigger in them.

    A handler gets the trigger's value (`mode="binary"`; the attributes of the CloudEvent are headers `ce-*`) or the
    whole event (`"structured"`). `headers` are sent as well, such as `{"Authorization": "Bearer env:TOKEN"}`.
    `concurrency`, `rate`, `timeout`, `ca`, `cert`, `tls_key` (the file of the certificate's key), `allow`, `deny` and
    `name` are as for `webhook`. Needs the extra `http`. Raises `UsageError` for an option that cannot be.

    >>> to_restate("http://localhost:8080", virtual_object="Cart", handler="abandoned")
    <Restate restate http://localhost:8080 Cart/{key}/abandoned>
    """
    kinds = dict(zip(_KINDS, (service, virtual_object, workflow, awakeable)))
    return Restate(
        HttpReceiver(
            "hw.to_restate(...)",
            Url(ingress),
            Headers(headers or {}),
            TlsFiles(ca=ca, cert=cert, key=tls_key),
            AddressPolicy(allow=allow, deny=deny),
            adds_path=True,
        ),
        _Path(kinds, handler, key),
        is_structured=checked_mode(mode) == "structured",
        limits=limits_of(
            concurrency=concurrency,
            rate=rate,
            timeout=timeout,
            spare_s=SPARE_S,
        ),
        name=name,
    )


class Restate(HttpTarget):
    """Handlers, workflows or awakeables of Restate that take triggers; made by `hw.to_restate`."""

    def __init__(
        self,
        receiver: HttpReceiver,
        path: _Path,
        *,
        is_structured: bool,
        limits: Limits,
        name: Optional[str] = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(receiver, limits, name or f"restate {receiver.shown} {path.shown}", now_s=now_s)
        self._path = path
        self._is_structured = is_structured

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Hand one trigger over, in one request."""
        [delivery] = batch
        until_s = self._until_s()
        try:
            path = self._path.of(delivery)
            headers = traced(_JSON, delivery) if self._is_structured else binary(delivery).headers
            if self._path.has_key_of_call:
                headers = {**headers, "idempotency-key": delivery.id}
            body = event_of(delivery) if self._is_structured else delivery.data
            response = await self._receiver.request("POST", headers, body, until_s, path)
        except Exception as error:
            return [self._unanswered(error)]
        return [self._answered(response, None if self._path.is_awakeable else _OF_A_CALL)]


class _Path:
    """Where a trigger goes, behind the address of the ingress. Raises `UsageError` for what is missing or too much."""

    def __init__(self, kinds: Mapping[str, Optional[str]], handler: Optional[str], key: Optional[str]) -> None:
        given = [kind for kind, called in kinds.items() if called is not None]
        if len(given) != 1:
            msg = f"to_restate(...) needs one of {', '.join(f'{kind}=...' for kind in _KINDS)}, not {given or 'none'}"
            raise UsageError(msg)
        [kind] = given
        called = kinds[kind]
        assert called is not None
        if kind == "workflow" and handler is None:
            handler = "run"
        if (handler is None) != (kind == "awakeable"):
            verb = "takes no" if kind == "awakeable" else "needs a"
            msg = f"to_restate({kind}={called!r}, ...) {verb} handler=..."
            raise UsageError(msg)
        if key is not None and kind in ("service", "awakeable"):
            msg = f"key={key!r} is nothing for {kind}={called!r}: leave it out"
            raise UsageError(msg)
        self.is_awakeable = kind == "awakeable"
        starts = kind == "workflow" and handler == "run"
        self.has_key_of_call = not starts and not self.is_awakeable
        """Whether a call is known by the header; a workflow is by its own key, and an awakeable resolves once."""
        self._naming: Optional[Naming] = None
        if self.is_awakeable:
            self._naming = Naming(called, "awakeable")
            self._parts = ("restate", "awakeables", None, "resolve")
            self.shown = f"awakeable {called}"
        else:
            assert handler is not None
            for option, value in ((kind, called), ("handler", handler)):
                if not isinstance(value, str) or not value.strip() or not value.isprintable() or "/" in value:
                    msg = f"{option}={value!r}: expected a name of Restate"
                    raise UsageError(msg)
            if starts:
                because = "a workflow is started once for each key"
                self._naming = Naming("{id}" if key is None else key, "key", must_have="id", because=because)
            elif kind != "service":
                self._naming = Naming("{key}" if key is None else key, "key")
            named = () if self._naming is None else (None,)
            self._parts = (called, *named, handler, "send")
            shown = () if self._naming is None else (self._naming.template,)
            self.shown = "/".join((called, *shown, handler))

    def of(self, delivery: Delivery) -> str:
        """The path for a trigger, encoded. Raises `NamelessError`."""
        named = "" if self._naming is None else quote(self._naming.of(delivery), safe="")
        return "".join(f"/{named if part is None else quote(part, safe='')}" for part in self._parts)
