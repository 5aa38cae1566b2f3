"""The door of a reader slot: which records are of no use, and which show that the flow's own code is wrong.

Data may be anything: a record without a usable time or key is a dead letter, with its place and its reason. Code is
right or wrong: a function of the flow that raises stops the run, as it does in every other step. A function that
says where the time or the key is can raise for both causes, and they are told apart by what it raises:

* `ValueError`, as `int("many")` does, and `LookupError`, as `event["user"]` does where there is no such field: the
  record is of no use.
* Everything else, such as the `AttributeError` of a misspelt field or a `TypeError`: the code is wrong.

Where the source says `on_error="dead-letter"`, what code of the flow fails on is a dead letter, too, and is counted: it
says which step has failed.

Of a field that is named (`time="at"`, `key_by("user")`) nothing but its absence from an untyped event can go wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Optional

from headway.connectors.base import BadRecord, Chunk
from headway.errors import HeadwayError, UserCodeError, is_of_the_flow, why
from headway.formats.letters import record_text
from headway.graph import Tolerance
from headway.runtime.failures import Failures
from headway.runtime.stats import FirstLetter
from headway.types.letters import DeadLetter

__all__ = ["UNUSABLE", "LetterRejects", "Rejected", "Rejects", "StrictRejects", "Unusable", "failure", "reason_of"]

UNUSABLE: Final = (ValueError, LookupError)
"""What a function of an event raises to say that the event has no usable time or key."""

_REASON_SHOWN: Final = 300


class Rejected(NamedTuple):
    """A record that is of no use."""

    ordinal: int
    letter: DeadLetter


class Rejects:
    """What a slot cannot use, gathered block by block, and the first of all for the end of the run."""

    def __init__(
        self,
        source: str,
        tolerance: Optional[Tolerance],
        failures: Failures,
        text_of: Callable[[bytes], str] = record_text,
    ) -> None:
        self.first: Optional[FirstLetter] = None
        """The first dead letter of the source's first partition that has one; part of the slot's state."""
        self.failures = failures
        """How often code of the flow has failed on one; part of the slot's state as well."""
        self._tolerance = tolerance
        self._text_of = text_of
        self._source = source
        self._partition = ""
        self._chunk: Optional[Chunk] = None
        self._gathered: list[Rejected] = []

    def begin(self, partition: str, chunk: Chunk, bad: list[BadRecord]) -> None:
        """Start on the records of a chunk, of which these could not be decoded."""
        self._partition = partition
        self._chunk = chunk
        for record in bad:
            self._add(record.ordinal, record.position, record.reason, record.raw)

    def reject(self, ordinal: object, reason: str) -> None:
        """A record of the chunk has been decoded, but has no usable time or key."""
        number, result = _parts(ordinal)
        position, raw = self._record(number)
        self._add(number, position + result, reason, raw)

    def refuse(self, ordinal: int, letter: DeadLetter) -> None:
        """A record of the chunk cannot go where it was to go: its letter is this one."""
        self._gathered.append(Rejected(ordinal, letter))

    def fail(self, ordinal: object, error: BaseException, time_ms: Optional[int] = None) -> None:
        """Code of the flow has failed on a record of the chunk: raises the error where that ends the run."""
        if self._tolerance is None or not is_of_the_flow(error):
            raise error
        number, _ = _parts(ordinal)
        position, raw = self._record(number)
        step = error.step if isinstance(error, HeadwayError) else None
        self._add(number, position, why(error), raw, step=step or self._source, time_ms=time_ms)
        self.failures.add(self._tolerance, self._gathered[-1].letter)

    def place(self, ordinal: object) -> str:
        """Where a record stands, with its source, for messages."""
        number, result = _parts(ordinal)
        return f"{self._record(number)[0]}{result} of {self._partition!r} of the source {self._source!r}"

    def take(self) -> list[Rejected]:
        """What was gathered since the last time, in the order of the log."""
        taken, self._gathered = self._gathered, []
        taken.sort(key=lambda rejected: rejected.ordinal)
        if taken:
            first = FirstLetter(
                partition=self._partition,
                ordinal=taken[0].ordinal,
                position=taken[0].letter.position,
                reason=f"{taken[0].letter.reason:.{_REASON_SHOWN}}",
            )
            self.first = first.earlier(self.first)
        return taken

    def _record(self, number: int) -> tuple[str, bytes]:
        assert self._chunk is not None
        return self._chunk.record(number)

    def _add(
        self,
        number: int,
        position: str,
        reason: str,
        raw: bytes,
        *,
        step: Optional[str] = None,
        time_ms: Optional[int] = None,
    ) -> None:
        letter = DeadLetter(
            self._source, self._partition, position, reason, self._text_of(raw), step=step, time=time_ms
        )
        self._gathered.append(Rejected(number, letter))


class LetterRejects:
    """The door of a stream of dead letters: these the flow itself has made, and what is wrong with one is an error."""

    def __init__(self, rejects: Rejects) -> None:
        self.place = rejects.place

    def reject(self, ordinal: object, reason: str) -> None:
        """End the run."""
        msg = f"a dead letter cannot go on: {reason}; it is that of {self.place(ordinal)}"
        raise UserCodeError(msg)

    def fail(self, ordinal: object, error: BaseException) -> None:
        """End the run."""
        raise error


class Unusable(Exception):
    """A record that turns out to be of no use in the middle of a block, of which nothing must come then."""

    def __init__(self, ordinal: object, reason: str) -> None:
        super().__init__(reason)
        self.ordinal = ordinal
        self.reason = reason


class StrictRejects:
    """The door of a source whose failed events are set aside as a whole: the first rejected one stops the block."""

    def __init__(self, rejects: Rejects) -> None:
        self.place = rejects.place

    def reject(self, ordinal: object, reason: str) -> None:
        """Raise `Unusable`."""
        raise Unusable(ordinal, reason)

    def fail(self, ordinal: object, error: BaseException) -> None:
        """Raise the error."""
        raise error


def failure(step: str, name: str, error: BaseException, place: str, value: object) -> UserCodeError:
    """The error for an exception in code of the flow that was given a record; `name` is that of the step."""
    wrong = UserCodeError(f"{step} failed with {type(error).__name__}: {error}; {place}: {value!r:.300}")
    wrong.step = name
    wrong.__cause__ = error
    return wrong


def reason_of(error: Exception, value: object) -> str:
    """Why a record is of no use, in a few words."""
    if isinstance(error, KeyError) and error.args:
        name = error.args[0]
        if isinstance(value, dict) and name not in value:
            return f"no field {name!r}"
        return f"KeyError: {name!r}"
    return str(error) or type(error).__name__


def _parts(ordinal: object) -> tuple[int, str]:
    """The number of the record that an ordinal is of, and which results of `flat_map` it means."""
    number, _, results = str(ordinal).partition(".")
    return int(number), f", result {results}" if results else ""
