"""Every error that Headway raises on purpose, split by who must act.

    HeadwayError
    ├── FlowError                 the flow is declared wrongly: its author, at the named line
    │   └── KeyNeededError            a step that needs a key on a stream without one; also an AttributeError
    ├── UsageError                an option or a parameter is wrong: whoever started the run
    ├── InputError                an input cannot be read: whoever owns the input
    ├── OutputError               an output cannot be written: whoever owns the output
    │   └── ReaderGoneError           nobody reads standard output any more: nobody need act
    ├── ServiceError              a server of a flow gives no answer, or refuses: whoever asks, or runs the server
    │   └── NotYetError               it will know later: ask again
    ├── FunctionFailed            a durable function that a client asked has failed: whoever asks, or its author
    ├── SignatureError            a webhook is not from whom it says, or old: whoever sends it
    ├── StateError                the state directory cannot be used: whoever operates the flow
    │   ├── IncompatibleStateError    it belongs to another flow, format or version of the flow
    │   ├── CorruptStateError         what is stored cannot be read back
    │   ├── LockedStateError          another run is using it
    │   └── DrainedStateError         its books are closed
    ├── UserCodeError             the flow's own code raised: its author
    │   └── FunctionBlocked           a durable function cannot go on as it is written: its author
    │       └── ReplayMismatch            its code does something else than its history says
    ├── ClusterError              workers could not start or died too often: whoever operates the flow
    │   └── ForeignPeerError          a process that is not of this run speaks to a worker
    ├── ClockError                the machine's clock was set back: nobody, a run starts again by itself
    └── InternalError             an invariant of Headway does not hold: please report it

Each message shows the offending value, what was expected, and the next step. `exit_code` is what the
command `headway` exits with.
"""

from __future__ import annotations

from typing import ClassVar, Final, Optional

__all__ = [
    "ClockError",
    "ClusterError",
    "CorruptStateError",
    "DrainedStateError",
    "FlowError",
    "ForeignPeerError",
    "FunctionBlocked",
    "FunctionFailed",
    "HeadwayError",
    "IncompatibleStateError",
    "InputError",
    "InternalError",
    "KeyNeededError",
    "LockedStateError",
    "NotYetError",
    "OutputError",
    "ReaderGoneError",
    "ReplayMismatch",
    "ServiceError",
    "SignatureError",
    "StateError",
    "UsageError",
    "UserCodeError",
    "is_of_the_flow",
    "public_class",
    "why",
]


_REASON_MAX: Final = 2_000
"""Characters of a reason: a message may show a value, and values may be large."""


class HeadwayError(Exception):
    """The root of all errors raised by Headway on purpose."""

    exit_code: ClassVar[int] = 1
    step: Optional[str] = None
    """Name of the operator or the step whose code has raised it, where it is known."""


def public_class(error: HeadwayError) -> type[HeadwayError]:
    """The class of this module that an error is of: where its own is of another module, the nearest base.

    >>> class HalfFullError(OutputError): ...
    >>> public_class(HalfFullError("half full")).__name__
    'OutputError'
    """
    found: type[HeadwayError] = next(base for base in type(error).__mro__ if globals().get(base.__name__) is base)
    return found


class FlowError(HeadwayError):
    """A flow is declared wrongly; raised at the line of the flow that declares it."""

    exit_code = 2


class KeyNeededError(FlowError, AttributeError):
    """A stream without a key was asked for a step that needs one: `hasattr` says that it does not have it."""


class UsageError(HeadwayError):
    """An option, a parameter or an argument has a value that cannot be used."""

    exit_code = 2


class InputError(HeadwayError):
    """An input does not exist, cannot be read, or is not the one that was read before."""

    exit_code = 4


class OutputError(HeadwayError):
    """An output cannot be written, or is not the one that was written before."""

    exit_code = 4


class ReaderGoneError(OutputError):
    """Whoever read standard output has closed it, as `head` does when it has seen enough."""

    exit_code = 141


class ServiceError(HeadwayError):
    """A server of a flow gives no answer, or refuses to give one."""

    exit_code = 4
    status: int = 0
    """That of the answer; 0 where none came."""


class NotYetError(ServiceError):
    """A server does not know yet what it was asked for: no epoch is committed, none late enough, a function goes on."""


class FunctionFailed(HeadwayError):
    """A durable function that a client asked has not done it: it has failed or was ended, or its handler has raised."""

    exit_code = 1
    status: str = ""
    """That of the instance where that is what ended it: `failed`, `cancelled` or `terminated`."""


class SignatureError(HeadwayError):
    """A webhook that was received is not from whom it says, was changed on its way, or is too old."""

    exit_code = 4


class StateError(HeadwayError):
    """The state directory cannot be used."""

    exit_code = 3


class IncompatibleStateError(StateError):
    """The state belongs to another flow, another format or another version of the flow."""


class CorruptStateError(StateError):
    """What is stored cannot be read back, or contradicts itself."""


class LockedStateError(StateError):
    """Another run holds the state directory."""


class DrainedStateError(StateError):
    """The books of this state directory are closed, or are being closed: it takes no more input."""


class UserCodeError(HeadwayError):
    """Code of the flow raised; the text names the step, the key and the event. The cause is chained."""

    exit_code = 1


class FunctionBlocked(UserCodeError):
    """A durable function cannot go on as it is written. Nothing is lost: it goes on when the code is right again."""


class ReplayMismatch(FunctionBlocked):
    """A durable function's code does something else than its history says that it did.

    `expected` is what the history says and `found` what the code did, each empty where there is nothing. `position`
    counts the entries of the history before the happening that led there, and `line` is that of the user's code.
    """

    def __init__(self, message: str, expected: str = "", found: str = "", position: int = 0, line: str = "") -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found
        self.position = position
        self.line = line


class ClusterError(HeadwayError):
    """Workers could not be started, or died more often than the limit allows."""

    exit_code = 5


class ForeignPeerError(ClusterError):
    """A process that does not belong to this run is connected to one of its workers, or has sent data to it."""


class ClockError(HeadwayError):
    """The machine's clock was set back by more than a second. A run, and a supervisor, start again by themselves."""

    exit_code = 5


class InternalError(HeadwayError):
    """An invariant of Headway does not hold. Please report it with the text of the message."""

    exit_code = 70


def is_of_the_flow(error: BaseException) -> bool:
    """Whether code of the flow is to blame for an error, and not the machine, whoever runs it, or Headway.

    >>> is_of_the_flow(ZeroDivisionError()), is_of_the_flow(MemoryError()), is_of_the_flow(KeyboardInterrupt())
    (True, False, False)
    >>> is_of_the_flow(UserCodeError("failed")), is_of_the_flow(StateError("the disk is full"))
    (True, False)
    """
    if isinstance(error, UserCodeError):
        return error.__cause__ is None or is_of_the_flow(error.__cause__)
    if isinstance(error, HeadwayError):
        # What a handler's own call has raised, such as that of a timer after "30 mins".
        return isinstance(error, (FlowError, UsageError))
    return isinstance(error, (Exception, SystemExit, GeneratorExit)) and not isinstance(error, MemoryError)


def why(error: BaseException) -> str:
    """What an error of the flow's code says, in one line without the place, which others tell.

    >>> why(KeyError("sku"))
    "KeyError: 'sku'"
    """
    cause = error.__cause__ if isinstance(error, UserCodeError) else None
    if cause is None and isinstance(error, HeadwayError):
        text = str(error)
    else:
        found = cause or error
        text = f"{type(found).__name__}: {found}" if str(found) else type(found).__name__
    # Whatever others have put into it must be text that can be written.
    return text[:_REASON_MAX].encode(errors="backslashreplace").decode()
