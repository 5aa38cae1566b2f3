"""Steps that are answered by a message: a request goes to a target, its reply comes by an input, matched by a key.

Nothing waits for the reply in memory. The request is a trigger like any other, delivered by the outbox with all that a
target promises; the call is an entry of its function's history that has no answer yet; its times are timers of the
instance. A reply becomes an answer in the group's own log, as that of any step does. So a call may wait for a month, or
a million of them, and whatever crashes between loses nothing.

The key is the call's idempotency key, which says whose it is: `refund_order/o-17#0.3` is the third call of the first
run of that instance. Whoever may write replies can answer calls of this step, and of no other one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Optional, Union

import msgspec

from headway.basics.declaring import declaring, fail
from headway.basics.times import Duration
from headway.connectors.base import Input, Output
from headway.errors import FlowError, UsageError
from headway.functions.history import CallKind, Failure
from headway.functions.options import CallOptions, RetryPolicy
from headway.functions.signature import to_json
from headway.targets.base import Target
from headway.types.values import shape_of

__all__ = ["Reply", "TopicStep", "topic_step"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_KEY: Final = re.compile(r"(.+?/.+)#(\d{1,9})\.(\d{1,9})", re.DOTALL)


def topic_step(
    name: str,
    to: Union[Target, Output],
    replies: Input,
    *,
    key: str = "key",
    value: Optional[str] = None,
    error: str = "error",
    returns: Any = Any,
    retry: Optional[RetryPolicy] = None,
    attempt_timeout: Optional[Duration] = None,
    timeout: Optional[Duration] = None,
) -> TopicStep:
    """A step that is a request to a topic and a reply from another: `hw.Functions(..., steps=[hw.topic_step(...)])`.

    A call publishes a JSON object to `to`, which may be any target or output of triggers: its arguments by name are
    members of it, those by position the list `arguments`, and the member `key` is the idempotency key of the call, the
    same at each attempt. Whoever answers writes a JSON object into `replies`, any input, with that `key` as it was.
    The member `value` of the reply is the result, or without `value` the whole reply but for its key; it is checked
    against `returns`. Where the reply has a member `error` that is not null, the attempt has failed with it: a text, or
    `{"type": ..., "message": ..., "non_retryable": true}`.

    `attempt_timeout` is how long a reply may take, from the call; then the request is published again by `retry`, as it
    is after an error. `timeout` bounds all attempts together; without any of both a call waits for ever. Both outlive
    restarts, and cost a timer. A call that waits costs a row's entry, and no memory. The first reply counts.

    >>> import headway as hw
    >>> quote = topic_step("quote", hw.to_jsonl("requests.jsonl"), hw.files("replies.jsonl"), timeout="1h")
    >>> quote
    <topic step 'quote': file requests.jsonl, replies from files replies.jsonl>
    >>> quote.request("buy/1#0.1", quote.encode_arguments(item="lamp", amount=2))
    {'key': 'buy/1#0.1', 'item': 'lamp', 'amount': 2}
    """
    with declaring():
        options = CallOptions(retry=retry, attempt_timeout=attempt_timeout, timeout=timeout)
    return TopicStep(name, to, replies, key=key, value=value, error=error, returns=returns, options=options)


class Reply(NamedTuple):
    """What a reply says: whose it is, and what of."""

    key: str
    caller: str
    """The address of the instance."""
    run: int
    call: int
    value: bytes
    failure: Optional[Failure]


class TopicStep:
    """A step that is answered by a message; made by `hw.topic_step`."""

    kind: CallKind = "step"

    def __init__(
        self,
        name: str,
        to: Union[Target, Output],
        replies: Input,
        *,
        key: str,
        value: Optional[str],
        error: str,
        returns: Any,
        options: CallOptions,
    ) -> None:
        what = f"topic step {name!r}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            fail(f"{what}: its name is made of letters, digits, '-', '_' and '.', such as 'quote'")
        if not isinstance(to, (Target, Output)):
            fail(f"{what}: to={to!r} takes no requests: give a target, such as hw.to_kafka(...), or an output")
        if not isinstance(replies, Input):
            fail(f"{what}: replies={replies!r} is no input: give one, such as hw.kafka(...)")
        for option, member in (("key", key), ("value", value), ("error", error)):
            if not (isinstance(member, str) and member) and not (option == "value" and member is None):
                fail(f"{what}: {option}={member!r} names no member of a JSON object")
        if key in (value, error) or value == error:
            fail(f"{what}: key={key!r}, value={value!r} and error={error!r} must be three members")
        if returns is not Any:
            try:
                shape_of(returns, f"the result of {what}")
            except FlowError as refused:
                fail(str(refused))
        self.name = name
        self.to = to
        self.replies = replies
        self.key = key
        self.options = options
        self._value = value
        self._error = error
        self._result: msgspec.json.Decoder[Any] = msgspec.json.Decoder(returns)

    def encode_arguments(self, *arguments: Any, **keywords: Any) -> bytes:
        """The arguments as JSON: an object of those by name, or an array of those by position."""
        what = f"topic step {self.name!r}"
        if arguments and keywords:
            msg = f"{what}: give its arguments by name, which are members of the request, or by position, and not both"
            raise UsageError(msg)
        if self.key in keywords:
            msg = f"{what}: the member {self.key!r} of a request says whose it is: give topic_step(key=...) another"
            raise UsageError(msg)
        return to_json(keywords if keywords else list(arguments), f"{what}: arguments")

    def decode_result(self, data: bytes) -> Any:
        """The result of a call. Raises `UsageError` for one that is not of the declared type."""
        try:
            return self._result.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            msg = f"the result of topic step {self.name!r}: {error}: {data[:200].decode(errors='replace')}"
            raise UsageError(msg) from None

    def request(self, key: str, arguments: bytes, traceparent: str = "") -> dict[str, Any]:
        """What is published for a call."""
        given: Any = msgspec.json.decode(arguments)
        found: dict[str, Any] = {self.key: key}
        if traceparent:
            found["traceparent"] = traceparent
        return {**found, **(given if isinstance(given, dict) else {"arguments": given})}

    def reply(self, given: Mapping[str, Any]) -> Reply:
        """What a message that has come says. Raises `ValueError` for one that is the reply to no call.

        >>> import headway as hw
        >>> step = topic_step("quote", hw.to_jsonl("requests.jsonl"), hw.files("replies.jsonl"), value="cents")
        >>> step.reply({"key": "buy/o/1#0.2", "cents": 7})
        Reply(key='buy/o/1#0.2', caller='buy/o/1', run=0, call=2, value=b'7', failure=None)
        """
        key = given.get(self.key) if isinstance(given, Mapping) else None
        found = _KEY.fullmatch(key) if isinstance(key, str) else None
        if found is None or not isinstance(key, str):
            msg = f"a reply to {self.name!r} has {self.key}={key!r:.100}, which is the key of no call"
            raise ValueError(msg)
        value, failure = b"null", self._failure(given.get(self._error))
        if failure is None:
            rest = {name: member for name, member in given.items() if name != self.key}
            value = msgspec.json.encode(rest if self._value is None else given.get(self._value))
            try:
                self.decode_result(value)
            except UsageError as error:
                value, failure = b"null", Failure("ResultError", str(error), non_retryable=True)
        return Reply(key, found[1], int(found[2]), int(found[3]), value, failure)

    @staticmethod
    def _failure(told: Any) -> Optional[Failure]:
        if told is None:
            return None
        if isinstance(told, Mapping):
            kind, message = told.get("type"), told.get("message")
            return Failure(
                kind if isinstance(kind, str) and kind else "ReplyError",
                message if isinstance(message, str) else msgspec.json.encode(told).decode(),
                non_retryable=told.get("non_retryable") is True,
            )
        return Failure("ReplyError", told if isinstance(told, str) else msgspec.json.encode(told).decode())

    def __repr__(self) -> str:
        return f"<topic step {self.name!r}: {self.to.describe()}, replies from {self.replies.describe()}>"
