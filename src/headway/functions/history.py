"""The history of a durable function: what happened to it, and what it did then.

A history is a list of entries: one *happening*, then the *commands* that the function's code gave because of it, then
the next happening. Happenings come from outside and carry the time at which they came in, which never goes back. What
the code does is a function of the happenings, so a history is enough to make the function again: the happenings are
fed to its code, and the commands that come are compared with those that are recorded.

Calls and timers share one series of numbers. With the function's identity such a number names a call for ever: it is
the idempotency key that a step is given.

Values of users are JSON text as bytes, so that every tool can show them. An entry is stored as one byte, the version of
this vocabulary, and then MessagePack. A type of entry is known by its number there, which is never used for another.

>>> entry = Called(1, "step", "refund_payment", b'["o-17"]')
>>> decode(encode(entry)) == entry
True
>>> encode(entry)[0]
1
"""

from __future__ import annotations

from typing import Final, Literal, Optional, Union, get_args

import msgspec

from headway.errors import CorruptStateError
from headway.functions.options import CallOptions, ParentClose

__all__ = [
    "COMMANDS",
    "HAPPENINGS",
    "VERSION",
    "Answered",
    "CallCancelled",
    "CallKind",
    "Called",
    "CancelAsked",
    "Cancelled",
    "Command",
    "Continued",
    "Entry",
    "Failed",
    "Failure",
    "Finished",
    "FinishedBadly",
    "Fired",
    "Happening",
    "Identity",
    "Parent",
    "Patched",
    "Signalled",
    "Started",
    "TerminateAsked",
    "Terminated",
    "TimerCancelled",
    "TimerSet",
    "UpdateAnswered",
    "UpdateAsked",
    "decode",
    "encode",
]

VERSION: Final = 1
"""The first byte of each stored entry."""

CallKind = Literal["step", "function", "start", "signal", "query", "token"]
"""What a call asks for: a step; another function, waited for or only started; a signal to another
function; a look into a view; nothing but an answer that somebody gives by token."""


class Identity(msgspec.Struct, array_like=True, frozen=True):
    """Which run of which function: runs of one id are counted from 0.

    >>> str(Identity("refund_order", "o-17", 0))
    'refund_order/o-17#0'
    """

    name: str
    id: str
    run: int = 0

    def __str__(self) -> str:
        return f"{self.name}/{self.id}#{self.run}"


class Parent(msgspec.Struct, array_like=True, frozen=True):
    """Who has started a function, and with which of its calls."""

    identity: Identity
    call: int


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """Why a call or a function has failed; the same text in each replay.

    `type` is the name of the error's class. `traceback` is for people: the frames of the user's own code, without the
    addresses of objects. `others` are failures beside this one: of compensations, or the members of a group.
    """

    type: str
    message: str
    traceback: str = ""
    non_retryable: bool = False
    cause: Optional[Failure] = None
    others: tuple[Failure, ...] = ()

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    """What all entries have in common."""


class Signalled(_Entry, frozen=True, tag=3):
    """A signal has come. `signal_id` is the same when it is sent again; empty where nobody would."""

    at_ms: int
    name: str
    value: bytes = b"null"
    signal_id: str = ""


class Started(_Entry, frozen=True, tag=1):
    """The run begins: always the first entry.

    `arguments` is a JSON array by position, or an object by name. `signals` were waiting when the run before ended with
    `continue_as_new`. `deadline_ms` is the time at which the function is cancelled. `traceparent` is the W3C trace
    context of whoever has started it. `unused` keeps the places of the fields behind it.
    """

    at_ms: int
    arguments: bytes = b"[]"
    parent: Optional[Parent] = None
    deadline_ms: Optional[int] = None
    unused: dict[str, str] = {}
    attempt: int = 1
    signals: tuple[Signalled, ...] = ()
    traceparent: str = ""


class Answered(_Entry, frozen=True, tag=2):
    """A call has its result."""

    at_ms: int
    call: int
    value: bytes = b"null"


class Failed(_Entry, frozen=True, tag=4):
    """A call has failed for good."""

    at_ms: int
    call: int
    failure: Failure


class Fired(_Entry, frozen=True, tag=5):
    """A timer is due."""

    at_ms: int
    timer: int


class UpdateAsked(_Entry, frozen=True, tag=6):
    """Somebody asks to change something and waits for the answer; the function has accepted it before."""

    at_ms: int
    update_id: str
    name: str
    value: bytes = b"null"


class CancelAsked(_Entry, frozen=True, tag=7):
    """The function is asked to end in an orderly way."""

    at_ms: int
    reason: str = ""


class TerminateAsked(_Entry, frozen=True, tag=8):
    """The function ends here and now; none of its code runs."""

    at_ms: int
    reason: str = ""


class Called(_Entry, frozen=True, tag=20):
    """A call leaves. `name` is what is called; `to` is who, where the call names somebody.

    For a function, `to` is the id of the child; for a signal it is `name/id` of the function that gets it.
    """

    number: int
    kind: CallKind
    name: str
    arguments: bytes = b"[]"
    to: str = ""
    options: Optional[CallOptions] = None

    @property
    def parent_close(self) -> ParentClose:
        """What becomes of a child when its parent ends.

        >>> Called(1, "function", "ship").parent_close, Called(1, "start", "ship").parent_close
        ('cancel', 'abandon')
        """
        asked = None if self.options is None else self.options.parent_close
        return asked or ("abandon" if self.kind == "start" else "cancel")


class CallCancelled(_Entry, frozen=True, tag=21):
    """Nobody waits for a call any more. `by_close` says that it was still under way when the function ended."""

    number: int
    by_close: bool = False


class TimerSet(_Entry, frozen=True, tag=22):
    """A timer is armed."""

    number: int
    at_ms: int


class TimerCancelled(_Entry, frozen=True, tag=23):
    """A timer is not needed any more."""

    number: int


class UpdateAnswered(_Entry, frozen=True, tag=24):
    """The answer to an update: its value, or why it failed."""

    update_id: str
    value: bytes = b"null"
    failure: Optional[Failure] = None


class Patched(_Entry, frozen=True, tag=25):
    """The code took the new way of a change: `context.patched` said yes."""

    change_id: str


class Finished(_Entry, frozen=True, tag=26):
    """The function has returned."""

    value: bytes = b"null"


class FinishedBadly(_Entry, frozen=True, tag=27):
    """The function has failed."""

    failure: Failure


class Cancelled(_Entry, frozen=True, tag=28):
    """The function has ended because it was asked to. `failures` are those of its compensations."""

    reason: str = ""
    failures: tuple[Failure, ...] = ()


class Continued(_Entry, frozen=True, tag=29):
    """The run has ended; the next run of the same id starts with these arguments and the signals that still wait."""

    arguments: bytes = b"[]"
    signals: tuple[Signalled, ...] = ()


class Terminated(_Entry, frozen=True, tag=30):
    """The function was ended from outside."""

    reason: str = ""


Happening = Union[Started, Answered, Failed, Fired, Signalled, UpdateAsked, CancelAsked, TerminateAsked]
"""What comes from outside."""

Command = Union[
    Called,
    CallCancelled,
    TimerSet,
    TimerCancelled,
    UpdateAnswered,
    Patched,
    Finished,
    FinishedBadly,
    Cancelled,
    Continued,
    Terminated,
]
"""What the function did."""

Entry = Union[Happening, Command]
"""One line of a history."""

HAPPENINGS: Final[tuple[type[Happening], ...]] = get_args(Happening)
"""The classes of happenings: `isinstance(entry, HAPPENINGS)` tells them from commands."""

COMMANDS: Final[tuple[type[Command], ...]] = get_args(Command)
"""The classes of commands."""

_HEAD: Final = bytes([VERSION])
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Entry]] = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """An entry as it is stored."""
    return _HEAD + _encoder.encode(entry)


def decode(data: bytes) -> Entry:
    """The entry that is stored as `data`. Raises `CorruptStateError` where there is none."""
    if data[:1] != _HEAD:
        msg = (
            f"an entry of a function's history begins with {data[:1]!r}, expected {_HEAD!r}: it is damaged, or of "
            "another version of Headway"
        )
        raise CorruptStateError(msg)
    try:
        return _decoder.decode(memoryview(data)[1:])
    except msgspec.DecodeError as error:
        msg = f"an entry of a function's history cannot be read: {error}"
        raise CorruptStateError(msg) from None
