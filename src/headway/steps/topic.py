"""Steps that are answered by a message: a request goes to a target, its reply comes by an input, matched by a key.

Nothing waits for the reply in memory. The request is a trigger like any other, delivered by the outbox with all that a
target promises; the call is an entry of its function's history that has no answer yet; its times are timers of the
instance. A reply becomes an answer in the group's own log, as that of any step does. So a call may wait for a month, or
a million of them, and whatever crashes between loses nothing.

The key of a request says whose it is: `refund_order/o-17#0.3.quote` is the third call of the first run of that
instance, of the step `quote`. So several steps may share a topic of replies. Whoever may write replies can answer calls
of the steps that read them, and of no other one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Optional, Union

import msgspec

from headway.basics.declaring import declaring, fail
from headway.basics.times import Duration
from headway.connectors.base import Input, Output
from headway.errors import UsageError
from headway.functions.history import Failure
from headway.functions.options import CallOptions, RetryPolicy
from headway.steps.outside import OutsideStep
from headway.targets.base import Target

__all__ = ["Reply", "TopicStep", "topic_step"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CALL_KEY: Final = re.compile(rf"(.+?/.+)#(\d{{1,9}})\.(\d{{1,9}})\.({_NAME.pattern})", re.DOTALL)
_ARGUMENTS: Final = "arguments"
"""The member of a request that has arguments by position."""
_TRACEPARENT: Final = "traceparent"
"""The member of a request that has the trace context of its function."""


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

    A call publishes a JSON object to `to`, which may be any target or output of triggers. Its arguments by name are
    members of the object, and arguments by position are the list `arguments`. The member `key` is the idempotency key
    of the call and the step's name, the same at each attempt. Whoever answers writes a JSON object into `replies`, any
    input, with that `key` as it was. Several steps may share a topic of replies.

    The member `value` of the reply is the result; without `value=`, the whole reply but for its key is. The result is
    checked against `returns`. A reply that lacks the member, or whose result is of another type, has failed the call
    for good. A reply with a member `error` that is not null has failed the attempt: its error is a text, or
    `{"type": ..., "message": ..., "non_retryable": true}`. The first reply counts.

    `attempt_timeout` is how long a reply may take, from the call; then the request is published again by `retry`, as it
    is after an error. `timeout` bounds all attempts together. Without either, a call waits for ever. Both outlive
    restarts, and cost a timer. A call may give `retry`, `attempt_timeout` and `timeout` of its own in its
    `hw.CallOptions`. A call that waits costs an entry in the row of its instance, and no memory.

    Raises `FlowError` for names that are none, and for a `key` that is the name of another member of the request.

    >>> import headway as hw
    >>> quote = topic_step("quote", hw.to_jsonl("requests.jsonl"), hw.files("replies.jsonl"), timeout="1h")
    >>> quote
    <topic step 'quote': file requests.jsonl, replies from files replies.jsonl>
    >>> quote.request("buy/1#0.1", quote.encode_arguments(item="lamp", amount=2))
    {'key': 'buy/1#0.1.quote', 'item': 'lamp', 'amount': 2}
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


class TopicStep(OutsideStep):
    """A step that is answered by a message; made by `hw.topic_step`."""

    takes: Sequence[str] = ("retry", "attempt_timeout", "timeout")

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
            fail(
                f"{what}: its name is made of letters, digits, '-', '_' and '.', starting with a letter or digit, such "
                "as 'quote'"
            )
        if not isinstance(to, (Target, Output)):
            fail(f"{what}: to={to!r} takes no requests: give a target, such as hw.to_kafka(...), or an output")
        if not isinstance(replies, Input):
            fail(f"{what}: replies={replies!r} is no input: give one, such as hw.kafka(...)")
        for option, member in (("key", key), ("value", value), ("error", error)):
            if not (isinstance(member, str) and member) and not (option == "value" and member is None):
                fail(f"{what}: {option}={member!r} names no member of a JSON object")
        if key in (value, error) or value == error:
            fail(f"{what}: key={key!r}, value={value!r} and error={error!r} must be three members")
        if key in (_ARGUMENTS, _TRACEPARENT):
            fail(f"{what}: key={key!r} is another member of its requests: give a key of another name, such as 'key'")
        super().__init__("topic step", name, returns, options)
        self.to = to
        self.replies = replies
        self.key = key
        self._value = value
        self._error = error
        self._may_lack_value = returns is not Any and self._takes(b"null")

    def _takes(self, data: bytes) -> bool:
        try:
            self.decode_result(data)
        except UsageError:
            return False
        return True

    def encode_arguments(self, *arguments: Any, **keywords: Any) -> bytes:
        """The arguments as JSON. Raises `UsageError` as of other steps, and for names of members that are not free."""
        if self.key in keywords:
            msg = (
                f"{self.what}: the member {self.key!r} of a request says whose it is, and can be no argument: name the "
                "argument otherwise, or give topic_step(key=...) another name"
            )
            raise UsageError(msg)
        if _TRACEPARENT in keywords:
            msg = (
                f"{self.what}: the member {_TRACEPARENT!r} of a request is the trace context of the function, and can "
                "be no argument: name the argument otherwise"
            )
            raise UsageError(msg)
        return super().encode_arguments(*arguments, **keywords)

    def request(self, key: str, arguments: bytes, traceparent: str = "") -> dict[str, Any]:
        """What is published for a call, which is given by its idempotency key."""
        given: Any = msgspec.json.decode(arguments)
        found: dict[str, Any] = {self.key: f"{key}.{self.name}"}
        if traceparent:
            found[_TRACEPARENT] = traceparent
        return {**found, **(given if isinstance(given, dict) else {_ARGUMENTS: given})}

    def asked_step(self, given: Any) -> Optional[str]:
        """The name of the step to which a message replies, as its key says; None where it has no such key."""
        found = self._parts(given)
        return None if found is None else found[4]

    def reply(self, given: Any) -> Reply:
        """What a message that has come says. Raises `ValueError` for one that is the reply to no call of this step.

        >>> import headway as hw
        >>> step = topic_step("quote", hw.to_jsonl("requests.jsonl"), hw.files("replies.jsonl"), value="cents")
        >>> step.reply({"key": "buy/o/1#0.2.quote", "cents": 7})
        Reply(key='buy/o/1#0.2.quote', caller='buy/o/1', run=0, call=2, value=b'7', failure=None)
        """
        found = self._parts(given)
        if found is None:
            key = given.get(self.key) if isinstance(given, Mapping) else given
            msg = f"a reply to {self.name!r} has {self.key}={key!r:.100}, which is the key of no call"
            raise ValueError(msg)
        if found[4] != self.name:
            msg = f"a reply to {self.name!r} has {self.key}={found[0]!r:.100}: there is no topic step {found[4]!r}"
            raise ValueError(msg)
        value, failure = b"null", self._failure(given.get(self._error))
        if failure is None:
            value, failure = self._result_in(given)
        return Reply(found[0], found[1], int(found[2]), int(found[3]), value, failure)

    def _parts(self, given: Any) -> Optional[re.Match[str]]:
        """The key of a reply: the instance, its run, the number of the call, and the step."""
        key = given.get(self.key) if isinstance(given, Mapping) else None
        return _CALL_KEY.fullmatch(key) if isinstance(key, str) else None

    def _result_in(self, given: Mapping[str, Any]) -> tuple[bytes, Optional[Failure]]:
        """The result in a reply, as JSON. One that cannot be read is final: what was asked for has been done."""
        if self._value is None:
            value = msgspec.json.encode({name: member for name, member in given.items() if name != self.key})
        elif self._value in given or self._may_lack_value:
            value = msgspec.json.encode(given.get(self._value))
        else:
            members = ", ".join(sorted(given))
            told = f"{self.what}: the reply lacks the member {self._value!r}, which is the result: it has {members}"
            return b"null", Failure("ResultError", told, non_retryable=True)
        try:
            self.decode_result(value)
        except UsageError as error:
            return b"null", Failure("ResultError", str(error), non_retryable=True)
        return value, None

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
