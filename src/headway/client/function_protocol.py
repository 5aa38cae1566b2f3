"""What the clients of functions say and hear: talks about one function and about one instance.

What is told goes to the server of `--listen`, which answers when it is durable; what is asked goes to that of
`--serve`, which answers from what is committed. The receipt of the last thing that a handle has told travels with what
it asks: so an answer includes it, whichever server gives it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any, Final, Generic, Optional, Protocol, TypeVar, Union
from urllib.parse import quote, urlencode
from uuid import uuid4

import msgspec

from headway.basics.function_figures import ENDED
from headway.basics.idempotency import KEY, KEY_MOST
from headway.basics.jsontext import to_json
from headway.basics.times import Duration, duration_ms, format_duration
from headway.client.function_records import (
    Answered,
    InstanceStatus,
    Page,
    Posted,
    Row,
    Told,
    WithStart,
    decoded,
    decoder_of,
)
from headway.client.protocol import WAIT_MOST_S, Reply, Request, ViewProtocol, error_of, problem_of
from headway.client.talks import AGAIN, Server, Talk, asked
from headway.errors import FunctionFailed, NotYetError, ServiceError, UsageError

__all__ = ["Declared", "FunctionProtocol", "InstanceProtocol", "Rules", "Since", "listed"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Since = Union[str, int, datetime, timedelta]
"""A length of time before now, such as `"1h"`, or a time: RFC 3339 text or epoch milliseconds."""

_ROOT: Final = "/v1/functions"
_VIEW: Final = "functions"
_JSON: Final = {"content-type": "application/json"}
_encode: Final = msgspec.json.Encoder().encode


class Declared(Protocol[R_co]):
    """What a client needs of a declared function: `@hw.durable_workflow` makes one."""

    @property
    def name(self) -> str:
        """Under which it is started."""

    def encode_arguments(self, *arguments: Any, **keywords: Any) -> bytes:
        """The arguments of a start as JSON; raises `UsageError` for those that it does not take."""

    def decode_result(self, data: bytes) -> R_co:
        """Its result from JSON."""


@dataclass(frozen=True)
class Rules:
    """How talks go on: for how long what is not answered is asked again, in seconds, and a clock."""

    retry_s: float
    now_s: Callable[[], float] = time.monotonic

    def asked(
        self, server: Server, request: Union[Request, Callable[[], Request]], until_s: Optional[float] = None
    ) -> Talk[Reply]:
        """The reply to a request, until `until_s` at most. Raises `ServiceError` where none comes."""
        return asked(server, request, self.retry_s, self.now_s, until_s)

    def until_s(self, timeout: Optional[Duration]) -> Optional[float]:
        """When a time limit that begins now has passed, by the clock; None without one."""
        return None if timeout is None else self.now_s() + duration_ms(timeout, what="timeout") / 1_000


class FunctionProtocol(Generic[R]):
    """Talks about one function: given as it is declared, or by its name and the type of its result."""

    def __init__(self, function: Union[Declared[R], str], returns: Any, rules: Rules) -> None:
        self.rules = rules
        self.encode: Callable[..., bytes]
        self.decode: Callable[[bytes], R]
        if isinstance(function, str):
            self.name = function
            self.encode = partial(_encode_plainly, function)
            self.decode = decoder_of(returns, f"the result of function {function!r}")
        elif not all(hasattr(function, name) for name in ("name", "encode_arguments", "decode_result")):
            msg = f"function({function!r:.100}): give a function that @hw.durable_workflow declares, or its name"
            raise UsageError(msg)
        else:
            self.name = function.name
            self.encode = function.encode_arguments
            self.decode = _declared(function) if returns is Any else decoder_of(returns, f"function {self.name!r}")

    def instance(self, instance_id: str) -> InstanceProtocol[R]:
        """Talks about one instance."""
        if not isinstance(instance_id, str) or not instance_id:
            msg = f"{instance_id!r:.100} is no id of an instance of {self.name!r}: give text that is not empty"
            raise UsageError(msg)
        return InstanceProtocol(self, instance_id)


class InstanceProtocol(Generic[R]):
    """Talks about one instance. Knows the receipt of what it has told last."""

    def __init__(self, function: FunctionProtocol[R], instance_id: str) -> None:
        self.function = function
        self.id = instance_id
        self.posted: Optional[Posted] = None
        self._start_key = ""
        self._rules = function.rules
        self._path = f"{_ROOT}/{quote(function.name, safe='')}/{quote(instance_id, safe='')}"
        self._view: ViewProtocol[Row] = ViewProtocol(_VIEW, Row, monotone=False)

    def __str__(self) -> str:
        return f"{self.function.name}/{self.id}"

    # What is told.

    def start(self, arguments: bytes, id_reuse: Optional[str], key: Optional[str]) -> Talk[Posted]:
        """Start it."""
        self._start_key = key or uuid4().hex
        return self._post(_reusing("", id_reuse), arguments, self._start_key)

    def signal(self, name: str, value: Any, key: Optional[str]) -> Talk[Posted]:
        """Send a signal."""
        return self._post(f"/signals/{quote(name, safe='')}", to_json(value, f"signal {name!r}"), key)

    def signal_with_start(
        self, name: str, value: Any, arguments: bytes, id_reuse: Optional[str], key: Optional[str]
    ) -> Talk[Posted]:
        """Send a signal, and start it before where it is not there."""
        body = _encode(WithStart(msgspec.Raw(arguments), msgspec.Raw(to_json(value, f"signal {name!r}"))))
        self._start_key = key or uuid4().hex
        return self._post(_reusing(f"/signals/{quote(name, safe='')}/start", id_reuse), body, self._start_key)

    def end(self, way: str, reason: str, key: Optional[str]) -> Talk[Posted]:
        """`cancel` or `terminate` it."""
        return self._post(f"/{way}", _encode(reason), key)

    def answer_token(self, token: str, value: Any, key: Optional[str]) -> Talk[Posted]:
        """Answer a call by its token."""
        return self._post(f"/tokens/{quote(token, safe='')}", to_json(value, "the answer by token"), key)

    def update(self, name: str, value: Any, returns: Any, timeout: Optional[Duration], key: Optional[str]) -> Talk[Any]:
        """Ask it to change something; the answer of its handler."""
        decode = decoder_of(returns, f"the answer to update {name!r}")
        update_id = _checked(key) or uuid4().hex
        path = f"/updates/{quote(name, safe='')}/{quote(update_id, safe='')}"
        until_s = self._rules.until_s(timeout)
        missing = f"has not answered update {name!r} (ask again with key={update_id!r})"
        try:
            # An update of one id is one for its instance, whoever else uses this id.
            of_all = blake2b(f"{self}\0{update_id}".encode(), digest_size=16).hexdigest()
            yield from self._post(path, to_json(value, f"update {name!r}"), of_all, until_s)
        except ServiceError as error:
            if until_s is None or not _may_be_asked_again(error) or self._rules.now_s() < until_s:
                raise
            raise self._overdue(missing, timeout, str(error)) from error
        row = yield from self._awaited(
            timeout, until_s, lambda row: update_id in row.updates or row.status in ENDED, missing
        )
        answer = row.updates.get(update_id)
        if answer is None or answer.error:
            told = f"it is {row.status}, and has not answered" if answer is None else answer.error
            msg = f"update {name!r} of {self}: {told}"
            raise self._failed(msg, row.status if answer is None else "")
        return decode(answer.value.encode())

    def _post(self, behind: str, body: bytes, key: Optional[str], until_s: Optional[float] = None) -> Talk[Posted]:
        headers = {**_JSON, "idempotency-key": _checked(key) or uuid4().hex}
        reply = yield from self._rules.asked("listen", Request("POST", self._path + behind, headers, body), until_s)
        if reply.status != 200:
            raise error_of(reply)
        self.posted = decoded(Posted, reply)
        return self.posted

    # What is asked.

    def result(self, timeout: Optional[Duration]) -> Talk[R]:
        """Its result, once it has ended."""
        until_s = self._rules.until_s(timeout)
        row = yield from self._awaited(timeout, until_s, lambda row: row.status in ENDED, "has not ended")
        if row.status != "completed":
            told = f"{self} is {row.status}" if row.status != "failed" else f"{self} has failed"
            raise self._failed(f"{told}: {row.error}".rstrip(": "), row.status)
        return self.function.decode(row.result.encode())

    def query(self, name: str, value: Any, returns: Any, wait: Duration) -> Talk[Any]:
        """What the handler of a query says."""
        decode = decoder_of(returns, f"the answer to query {name!r}")
        path = f"{self._path}/queries/{quote(name, safe='')}{self._fresh(wait)}"
        body = to_json(value, f"query {name!r}")
        reply = yield from self._rules.asked("serve", Request("POST", path, dict(_JSON), body, wait_s=_seconds(wait)))
        if reply.status == 200:
            return decode(bytes(decoded(Answered, reply).value))
        if problem_of(reply).reason == "failed":
            raise self._failed(problem_of(reply).detail, "")
        raise error_of(reply)

    def describe(self, wait: Duration) -> Talk[Optional[InstanceStatus]]:
        """All that is known of it; None where there is no such instance."""
        request = Request("GET", self._path + self._fresh(wait), {}, wait_s=_seconds(wait))
        reply = yield from self._rules.asked("serve", request)
        if reply.status == 404 and problem_of(reply).reason == "absent":
            return None
        if reply.status != 200:
            raise error_of(reply)
        return decoded(Told, reply).status_of()

    def is_ours(self, wait: Duration) -> Talk[bool]:
        """Whether the run that there is was started by the start of this handle."""
        if not self._start_key:
            return False
        found = yield from self.describe(wait)
        return found is not None and found.started_by == self._start_key

    def _fresh(self, wait: Duration) -> str:
        if self.posted is None:
            return ""
        given = {"at_least": self.posted.receipt, "wait": f"{round(1_000 * _seconds(wait))}ms"}
        return f"?{urlencode(given)}"

    def _awaited(
        self, timeout: Optional[Duration], until_s: Optional[float], is_there: Callable[[Row], bool], missing: str
    ) -> Talk[Row]:
        """What is known of it, once something is there. It is told of each change, and waits for the next one.

        Raises `NotYetError` when `until_s` has passed, the end of `timeout`.
        """
        now_s = self._rules.now_s
        receipt = None if self.posted is None else self.posted.receipt
        etag, status = "", "not known yet"

        def request() -> Request:
            left_s = WAIT_MOST_S if until_s is None else min(WAIT_MOST_S, max(0.0, until_s - now_s()))
            wait_s = left_s if etag or receipt else 0.0
            return self._view.read(str(self), at_least=receipt, wait=0, after=etag, default_wait_s=wait_s)

        while True:
            try:
                reply = yield from self._rules.asked("serve", request, until_s)
                answer = self._view.one(str(self), reply)
            except NotYetError:
                answer = None
            except ServiceError as error:
                if until_s is None or not _may_be_asked_again(error) or now_s() < until_s:
                    raise
                raise self._overdue(missing, timeout, str(error)) from error
            else:
                receipt = None
            if answer is not None and answer.value is None:
                raise _absent(str(self))
            if answer is not None and answer.value is not None:
                etag, status = answer.etag, answer.value.status
                if is_there(answer.value):
                    return answer.value
            if until_s is not None and now_s() >= until_s:
                raise self._overdue(missing, timeout, f"it is {status}")

    def _overdue(self, missing: str, timeout: Optional[Duration], why: str) -> NotYetError:
        return NotYetError(f"{self} {missing} within {format_duration(duration_ms(timeout or 0))}: {why}")

    @staticmethod
    def _failed(text: str, status: str) -> FunctionFailed:
        failed = FunctionFailed(text)
        failed.status = status
        return failed


def listed(
    rules: Rules,
    cursor: str,
    *,
    name: str,
    status: Union[str, Iterable[str]],
    where: Union[str, Iterable[str]],
    since: Optional[Since],
    page: int,
) -> Talk[tuple[list[InstanceStatus], str]]:
    """Some of the instances that are asked for, and the cursor of those behind them; empty where there are none."""
    given: list[tuple[str, Union[str, int]]] = [("limit", page)]
    if cursor:
        given.append(("cursor", cursor))
    else:
        given += [("status", one) for one in _several(status)]
        given += [("where", one) for one in _several(where)]
        given += [] if since is None else [("since", _since(since))]
    path = f"{_ROOT}/{quote(name, safe='')}" if name else _ROOT
    reply = yield from rules.asked("serve", Request("GET", f"{path}?{urlencode(given)}", {}))
    if reply.status != 200:
        raise error_of(reply)
    found = decoded(Page, reply)
    return [one.status_of() for one in found.items], found.next


def _declared(function: Declared[R]) -> Callable[[bytes], R]:
    def decode(data: bytes) -> R:
        try:
            return function.decode_result(data)
        except UsageError as error:
            msg = f"{error}: the flow runs another version of the function than the one that is declared here"
            raise ServiceError(msg) from error

    return decode


def _encode_plainly(function: str, /, *arguments: Any, **keywords: Any) -> bytes:
    """The arguments of a function of which nothing but the name is known; the server checks them."""
    if arguments and keywords:
        msg = f"function {function!r} is known by its name alone: give its arguments all by position, or all by name"
        raise UsageError(msg)
    return to_json(keywords or list(arguments), f"the arguments of function {function!r}")


def _reusing(behind: str, id_reuse: Optional[str]) -> str:
    return behind if id_reuse is None else f"{behind}?{urlencode({'id_reuse': id_reuse})}"


def _seconds(wait: Duration) -> float:
    return duration_ms(wait, what="wait") / 1_000


def _several(given: Union[str, Iterable[str]]) -> list[str]:
    return [given] if isinstance(given, str) and given else list(given)


def _since(since: Since) -> Union[str, int]:
    if isinstance(since, timedelta):
        return f"{round(since.total_seconds() * 1_000)}ms"
    if isinstance(since, datetime):
        if since.tzinfo is None:
            msg = f"since={since!r} has no time zone: give one, such as datetime(..., tzinfo=timezone.utc)"
            raise UsageError(msg)
        return round(since.timestamp() * 1_000)
    return since


def _checked(key: Optional[str]) -> Optional[str]:
    """An idempotency key that may be one. Raises `UsageError`."""
    if key is not None and not (len(key) <= KEY_MOST and KEY.fullmatch(key)):
        msg = f"key={key!r:.100}: an idempotency key has 1 to {KEY_MOST} visible ASCII characters"
        raise UsageError(msg)
    return key


def _may_be_asked_again(error: ServiceError) -> bool:
    """Whether nobody has answered, or somebody who is busy."""
    return error.status in (0, *AGAIN)


def _absent(instance: str) -> ServiceError:
    error = ServiceError(f"there is no instance {instance!r}: it was not started, or its retention has passed")
    error.status = 404
    return error
