"""What has become of a durable function in a test."""

from __future__ import annotations

from typing import Any, Optional

from headway.basics.times import format_duration, format_time
from headway.functions.history import (
    COMMANDS,
    Answered,
    Called,
    CancelAsked,
    Cancelled,
    Continued,
    Entry,
    Failed,
    Failure,
    Finished,
    FinishedBadly,
    Fired,
    Patched,
    Signalled,
    Started,
    TerminateAsked,
    TimerSet,
    UpdateAnswered,
    UpdateAsked,
)
from headway.functions.journal import describe
from headway.functions.recorded import Recorded
from headway.functions.status import Cancellation, Status
from headway.functions.waits import Wait
from headway.testing.attempts import CallMade
from headway.testing.functions_world import World

__all__ = ["FunctionFailed", "FunctionRun"]


class FunctionFailed(AssertionError):
    """A test asks for the result of a function that has none. `failure` is why, where it has failed."""

    def __init__(self, text: str, failure: Optional[Failure]) -> None:
        super().__init__(text)
        self.failure = failure


class FunctionRun:
    """What a durable function has done in a test, and what became of it. Nothing of it changes any more.

    Where an id had several runs, `status`, `result` and `history` are those of the last one.
    """

    def __init__(self, world: World, address: str, queries: list[Any]) -> None:
        row = world.rows[address]
        instance = row.instance
        self.address = address
        """The function's name, a slash, the id."""
        self.status: Status = instance.status
        self.cancellation: Cancellation = instance.cancellation
        """What has become of a request to cancel."""
        self.waits: list[Wait] = instance.waits if row.is_running else []
        """What it still waits for."""
        self.line = instance.line if row.is_running else ""
        """The line of its code at which it waits."""
        self.state: dict[str, Any] = row.state
        """`context.state` at the end."""
        self.history: list[Entry] = list(row.entries)
        self.calls: list[CallMade] = world.calls
        """All calls, of children too, in the order in which they were made."""
        self.updates: dict[str, Any] = row.answers
        """Answers to updates by id, and a `Failure` for one that was refused or has failed."""
        self.queries = queries
        """Answers to queries, in the order in which they were asked."""
        self.unclaimed = world.unclaimed
        """What came for instances that are not there or have ended: to whom, and why nothing came of it."""
        self.reads = world.watch.reads
        """What code has read that differs from one replay to the next."""
        self.elapsed_ms = (world.told[-1][0] if world.told else world.now_ms) - world.start_ms
        """Virtual time from the start to the last thing that happened."""
        self._outcome = instance.outcome
        self._decode = row.function.decode_result
        self._told = world.told
        self._start_ms = world.start_ms
        self.histories: list[Recorded] = list(world.recorded)
        """The history of each run of each function, also of those under way."""
        self.states = {str(one.identity): one.state for one in world.rows.values()}
        """`context.state` of each function's last run, by `NAME/ID#RUN`."""
        self.histories += [Recorded(one.identity, tuple(one.entries)) for one in world.rows.values() if one.is_running]

    @property
    def result(self) -> Any:
        """What it has returned. Raises `FunctionFailed` where it has returned nothing, with the reason."""
        if isinstance(self._outcome, Finished):
            return self._decode(self._outcome.value)
        raise FunctionFailed(self._why(), self.failure)

    @property
    def failure(self) -> Optional[Failure]:
        """Why it has failed; None where it has not."""
        return self._outcome.failure if isinstance(self._outcome, FinishedBadly) else None

    @property
    def called(self) -> list[str]:
        """The names of the steps that were called, by all functions, in the order of the calls; each once a call."""
        return [call.name for call in self.calls if call.kind == "step"]

    def calls_of(self, name: str) -> list[CallMade]:
        """The calls of one step or function."""
        return [call for call in self.calls if call.name == name]

    @property
    def timeline(self) -> str:
        """All that has happened, a line each: what came, and indented what the code did then."""
        several = len({address for _, address, _ in self._told}) > 1
        rows = [
            (_since(at_ms - self._start_ms), address if several else "", _line(entry))
            for at_ms, address, entry in self._told
        ]
        widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
        return "\n".join(
            f"{when:<{widths[0]}}  {f'{address:<{widths[1]}}  ' if several else ''}{text}"
            for when, address, text in rows
        )

    def _why(self) -> str:
        if self.status is Status.RUNNING:
            waits = ", ".join(f"{wait.kind} {wait.name or format_time(wait.at_ms)}".strip() for wait in self.waits)
            at = f" at {self.line}" if self.line else ""
            return f"{self.address} has not ended: it waits for {waits or 'nothing that can come'}{at}"
        if self.failure is not None:
            trace = f"\n{self.failure.traceback}" if self.failure.traceback else ""
            return f"{self.address} has failed: {self.failure}{trace}"
        reason = getattr(self._outcome, "reason", "")
        return f"{self.address} is {self.status.value}{f': {reason}' if reason else ''}"

    def __repr__(self) -> str:
        return f"<run of {self.address}: {self.status.value}, {len(self.history)} entries>"


def _line(entry: Entry) -> str:
    if isinstance(entry, Started):
        return f"started {_shown(entry.arguments)}"
    if isinstance(entry, Answered):
        return f"answered {entry.call}: {_shown(entry.value)}"
    if isinstance(entry, Failed):
        return f"failed {entry.call}: {entry.failure}"
    if isinstance(entry, Fired):
        return f"timer {entry.timer} is due"
    if isinstance(entry, Signalled):
        return f"signal {entry.name}: {_shown(entry.value)}"
    if isinstance(entry, UpdateAsked):
        return f"update {entry.name} ({entry.update_id}): {_shown(entry.value)}"
    if isinstance(entry, (CancelAsked, TerminateAsked)):
        asked = "cancel" if isinstance(entry, CancelAsked) else "terminate"
        return f"asked to {asked}{f': {entry.reason}' if entry.reason else ''}"
    return f"  {_did(entry)}"


def _did(entry: Entry) -> str:
    if isinstance(entry, TimerSet):
        return f"{entry.number}: timer until {format_time(entry.at_ms)}"
    if isinstance(entry, UpdateAnswered):
        return f"answers update {entry.update_id}: {entry.failure or _shown(entry.value)}"
    if isinstance(entry, Patched):
        return f"takes the new way of {entry.change_id!r}"
    if isinstance(entry, Finished):
        return f"returned {_shown(entry.value)}"
    if isinstance(entry, FinishedBadly):
        return f"failed with {entry.failure}"
    if isinstance(entry, Cancelled):
        return "ended as it was asked to"
    if isinstance(entry, Continued):
        return f"goes on as a new run with {_shown(entry.arguments)}"
    if isinstance(entry, Called):
        return f"{entry.number}: {describe(entry)}"
    assert isinstance(entry, COMMANDS)
    return describe(entry)


def _since(passed_ms: int) -> str:
    return f"+{format_duration(passed_ms)}" if passed_ms else "+0s"


def _shown(value: bytes) -> str:
    return value.decode() if len(value) <= 120 else f"{value[:117].decode(errors='replace')}..."
