"""What is asked of a group of functions from outside: by HTTP, or by a command, into one log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from headway.durable.messages import (
    SCHEDULES,
    Body,
    Cancel,
    Pause,
    Reset,
    Resolve,
    Resume,
    Retry,
    Signal,
    Start,
    Trigger,
    Update,
    address_of,
    message,
)
from headway.errors import UsageError
from headway.functions.declared import ID_REUSES, Callee, DurableFunction, names_of_functions
from headway.functions.history import Failure
from headway.functions.tokens import read_token
from headway.inbox.settings import InboxSettings
from headway.inbox.source import NOTHING_ASKED, Asked, HttpInput, Translated, Way

__all__ = ["PATH", "Routes", "requests"]

PATH: Final = "/v1/functions"
_DAY_MS: Final = 86_400_000


def requests(callees: Mapping[str, Callee], schedules: Mapping[str, object]) -> HttpInput:
    """The log of what clients ask for. `callees` and `schedules` may grow until the flow runs."""
    settings = InboxSettings(retention_ms=_DAY_MS)
    return HttpInput(PATH, "json", 1, settings, require_key=False, translator=Routes(callees, schedules))


_REASON: Final = {"type": ["string", "null"], "description": "Why, for people."}
_STARTS: Final = {
    "id_reuse": {
        "type": "string",
        "enum": list(ID_REUSES),
        "description": "What happens where there is one of the id; by default what the function's declaration says.",
    }
}
_PATHS: Final[Mapping[str, Way]] = {
    "/{name}/{id}": Way(
        "Start a function",
        {"type": ["array", "object"], "description": "Its arguments, by position or by name."},
        _STARTS,
    ),
    "/{name}/{id}/signals/{signal}": Way("Send a signal to an instance", {"description": "Its value."}),
    "/{name}/{id}/signals/{signal}/start": Way(
        "Start a function with a signal, or only send it where there is an instance",
        {
            "type": "object",
            "properties": {"arguments": {"type": ["array", "object"]}, "value": {}},
            "description": "The arguments of the start, by position or by name, and the value of the signal.",
        },
        _STARTS,
    ),
    "/{name}/{id}/updates/{update}/{update_id}": Way(
        "Ask an instance to change something",
        {"description": "A value."},
    ),
    "/{name}/{id}/tokens/{token}": Way("Answer a call by its token", {"description": "Its value."}),
    "/{name}/{id}/tokens/{token}/failure": Way("Answer a call by its token: it has failed", {"description": "Why."}),
    "/{name}/{id}/cancel": Way("End an instance in an orderly way", _REASON),
    "/{name}/{id}/terminate": Way("End an instance here and now", _REASON),
    "/{name}/{id}/retry": Way("Go on with an instance that is blocked", {"type": "null"}),
    "/{name}/{id}/reset/{step}": Way(
        "Have an instance go on before a call, given by its number or its name",
        {"type": "null"},
    ),
    "/~schedules/{schedule}/pause": Way("Have a schedule start nothing until it is resumed", _REASON),
    "/~schedules/{schedule}/resume": Way("Go on with a schedule that is paused", {"type": "null"}),
    "/~schedules/{schedule}/trigger": Way("Have a schedule do now what it does when it is due", {"type": "null"}),
}


_WAYS: Final = f"there is no such path: post to one of {', '.join(PATH + path for path in _PATHS)}"


class Routes:
    """Makes records of requests: their path says what is asked for, their body is the value."""

    def __init__(self, callees: Mapping[str, Callee], schedules: Mapping[str, object] = MappingProxyType({})) -> None:
        self._callees = callees
        self._schedules = schedules

    def ways(self) -> Mapping[str, Way]:
        """The paths, with what each is for."""
        return _PATHS

    def line(self, parts: Sequence[str], body: bytes, asked: Asked = NOTHING_ASKED) -> Translated:
        """The record of a request to these parts of a path.

        Raises `LookupError` for a path that is none, and `UsageError` for arguments that the function does not take.
        """
        to, told = self._told(parts, body)
        line = message(to, _with(told, asked))
        traced = bool(asked.traceparent)
        return Translated(line, message(to, _with(told, asked._replace(traceparent=""))) if traced else line)

    def _told(self, parts: Sequence[str], body: bytes) -> tuple[str, Body]:
        """Whom a request is for, and what a path and a body say."""
        if len(parts) < 2 or not all(parts[:2]):
            raise LookupError(_WAYS)
        name, instance_id, *rest = parts
        if name == SCHEDULES:
            return address_of(name, instance_id), self._to_schedule(instance_id, rest, body.strip() or b"null")
        function = self._callees.get(name)
        if not isinstance(function, DurableFunction):
            msg = f"there is no function {name!r}: there are {names_of_functions(self._callees)}"
            raise LookupError(msg)
        if "\0" in instance_id or len(instance_id.encode()) > 1_000:
            msg = f"the id {instance_id[:100]!r} has a zero byte or more than 1,000 bytes"
            raise UsageError(msg)
        return address_of(name, instance_id), self._body(function, rest, body)

    def _to_schedule(self, name: str, rest: Sequence[str], body: bytes) -> Body:
        if name not in self._schedules:
            msg = f"there is no schedule {name!r}: there are {', '.join(self._schedules) or 'none'}"
            raise LookupError(msg)
        if rest == ["pause"]:
            return Pause(_reason(body))
        if rest == ["resume"]:
            return Resume()
        if rest == ["trigger"]:
            return Trigger()
        raise LookupError(_WAYS)

    def _body(self, function: DurableFunction[Any], rest: Sequence[str], body: bytes) -> Body:
        value = body.strip() or b"null"
        if not rest:
            arguments = b"[]" if value == b"null" else value
            function.decode_arguments(arguments)
            return Start(msgspec.Raw(arguments))
        try:
            msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            msg = f"the body is no JSON: {error}"
            raise UsageError(msg) from None
        if rest[0] == "signals" and len(rest) == 2 and rest[1]:
            return Signal(rest[1], msgspec.Raw(value))
        if rest[0] == "signals" and len(rest) == 3 and rest[1] and rest[2] == "start":
            return _start_with_signal(function, rest[1], value)
        if rest[0] == "updates" and len(rest) == 3 and all(rest):
            return Update(rest[2], rest[1], msgspec.Raw(value))
        if rest in (["cancel"], ["terminate"]):
            return Cancel(_reason(value), terminates=rest == ["terminate"])
        if rest[0] == "tokens" and len(rest) in (2, 3) and rest[2:] in ([], ["failure"]):
            identity, call = read_token(rest[1])
            failure = Failure("AnsweredBadly", value.decode(), non_retryable=True) if len(rest) == 3 else None
            return Resolve(identity.run, call, msgspec.Raw(value), failure, by_token=True)
        if rest[0] == "queries":
            msg = "queries are answered by the server of views: headway run --serve, or headway serve"
            raise LookupError(msg)
        if rest == ["retry"]:
            return Retry()
        if len(rest) == 2 and rest[0] == "reset" and rest[1]:
            return Reset(rest[1])
        raise LookupError(_WAYS)


def _with(told: Body, asked: Asked) -> Body:
    """What a path and a body say, together with what stands beside them. Raises `UsageError` for other parameters."""
    known = ("id_reuse",) if isinstance(told, Start) else ()
    for name, value in asked.query.items():
        if name not in known:
            msg = f"{name!r:.80} is no parameter here: known are {', '.join(known) or 'none'}"
            raise UsageError(msg)
        if value not in ID_REUSES:
            msg = f"id_reuse={value!r:.80} is unknown: give one of {', '.join(ID_REUSES)}"
            raise UsageError(msg)
    if not isinstance(told, Start):
        return told
    id_reuse = asked.query.get("id_reuse", "")
    return msgspec.structs.replace(told, id_reuse=id_reuse, traceparent=asked.traceparent, key=asked.key)


def _reason(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        msg = f"the body is no JSON: {error}"
        raise UsageError(msg) from None
    return found if isinstance(found, str) else ""


def _start_with_signal(function: DurableFunction[Any], name: str, body: bytes) -> Start:
    try:
        asked = _both.decode(body)
    except msgspec.DecodeError as error:
        msg = f'the body is not {{"arguments": ..., "value": ...}}: {error}'
        raise UsageError(msg) from None
    function.decode_arguments(bytes(asked.arguments))
    return Start(asked.arguments, signal=Signal(name, asked.value))


class _Both(msgspec.Struct, forbid_unknown_fields=True):
    arguments: msgspec.Raw = msgspec.Raw(b"[]")
    value: msgspec.Raw = msgspec.Raw(b"null")


_both: Final = msgspec.json.Decoder(_Both)
