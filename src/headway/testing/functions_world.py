"""The world of a durable function under test: instances, time, and what happens to them, in this process.

It does what the keyed operator and the target of calls do in a run (`headway.durable`), without logs, rows and
processes: what is asked for happens at once, in the order in which it was asked for, and time goes on to whatever is
due next. A test of its own compares both.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any, Final, Optional

import msgspec

from headway.basics.times import format_duration
from headway.durable.meanings import end_of
from headway.errors import UsageError
from headway.functions.declared import Callee, DurableFunction
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    CancelAsked,
    Continued,
    Entry,
    Failed,
    Failure,
    Fired,
    Happening,
    Identity,
    Parent,
    Signalled,
    Started,
    TerminateAsked,
    TimerSet,
    UpdateAnswered,
    UpdateAsked,
)
from headway.functions.instance import Instance
from headway.functions.recorded import Recorded
from headway.functions.status import Status
from headway.testing.attempts import Attempts, CallMade
from headway.testing.fakes import Fakes
from headway.testing.sandbox import Watch

__all__ = ["ROUNDS_MAX", "Row", "World"]

ROUNDS_MAX: Final = 100_000
"""Things that may happen in one test; one that has more goes on without an end."""
_decode: Final = msgspec.json.decode


class Row:
    """One instance: its present run, and the histories of those before."""

    def __init__(self, function: DurableFunction[Any], identity: Identity, callees: Mapping[str, Callee]) -> None:
        self.function = function
        self.identity = identity
        self.instance = Instance(function, identity, callees=callees)
        self.entries: list[Entry] = []
        self.open: dict[int, tuple[CallMade, Called, Optional[Attempts]]] = {}
        self.parent: Optional[Parent] = None
        self.waiters: list[Parent] = []
        """Others that have started it while it was there, and wait for its end."""
        self.forgotten_at_ms: Optional[int] = None
        self.state: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """The name of its function, a slash, its id."""
        return f"{self.identity.name}/{self.identity.id}"

    @property
    def is_running(self) -> bool:
        """Whether its present run has not ended."""
        return self.instance.status is Status.RUNNING


class World:
    """Instances and the queue of what is to happen. `now_ms` goes on by itself while it runs."""

    def __init__(
        self,
        callees: Mapping[str, Callee],
        fakes: Fakes,
        views: Mapping[str, Any],
        start_ms: int,
        *,
        twice: bool,
    ) -> None:
        self.now_ms = start_ms
        self.start_ms = start_ms
        self.rows: dict[str, Row] = {}
        self.recorded: list[Recorded] = []
        """Histories of runs that have ended, in the order of their ends."""
        self.calls: list[CallMade] = []
        self.told: list[tuple[int, str, Entry]] = []
        """Everything that has happened, in its order: time, instance, entry."""
        self.unclaimed: list[tuple[str, str]] = []
        self.watch = Watch()
        self._callees = callees
        self._fakes = fakes
        self._views = views
        self._twice = twice
        self._queue: list[tuple[int, int, list[Callable[[], None]]]] = []
        self._ordinal = 0

    # Time.

    def at(self, at_ms: int, action: Callable[[], None]) -> Callable[[], None]:
        """Have something done at a time, after what was asked for before; gives what cancels it."""
        self._ordinal += 1
        cell = [action]
        heapq.heappush(self._queue, (max(at_ms, self.now_ms), self._ordinal, cell))
        return cell.clear

    def soon(self, action: Callable[[], None]) -> None:
        """Have something done now, after what was asked for before."""
        self.at(self.now_ms, action)

    def run(self, until_ms: Optional[int]) -> None:
        """Go on until nothing is left to happen, or to a time."""
        rounds = 0
        while self._queue and (until_ms is None or self._queue[0][0] <= until_ms):
            at_ms, _, cell = heapq.heappop(self._queue)
            if not cell:
                continue
            rounds += 1
            if rounds > ROUNDS_MAX:
                passed = format_duration(self.now_ms - self.start_ms)
                msg = (
                    f"it goes on without an end: {ROUNDS_MAX:,} things have happened, and {passed} have passed: "
                    'tell FunctionTest when to stop, such as within="30d"'
                )
                raise UsageError(msg)
            self.now_ms = at_ms
            cell.pop()()
        if until_ms is not None:
            self.now_ms = until_ms

    # What happens to instances.

    def start(self, name: str, instance_id: str, arguments: bytes, parent: Optional[Parent] = None) -> None:
        """Start an instance, or what the function's `id_reuse` says where there is one."""
        function = self._callees.get(name)
        address = f"{name}/{instance_id}"
        if not isinstance(function, DurableFunction):
            known = ", ".join(one for one, callee in self._callees.items() if isinstance(callee, DurableFunction))
            self._refuse(address, parent, f"there is no function {name!r}: there are {known or 'none'}")
            return
        run = 0
        row = self.rows.get(address)
        if row is not None and (row.forgotten_at_ms is None or row.forgotten_at_ms > self.now_ms):
            policy, status = function.id_reuse, row.instance.status
            if (
                row.is_running
                or policy in ("return", "reject")
                or (policy == "new_after_failure" and status is Status.COMPLETED)
            ):
                self._has_started(row, parent, policy)
                return
            run = row.identity.run + 1
        deadline_ms = None if function.deadline_ms is None else self.now_ms + function.deadline_ms
        self._begin(function, Identity(name, instance_id, run), Started(self.now_ms, arguments, parent, deadline_ms))

    def tell(self, address: str, happening: Callable[[int], Happening], what: str) -> None:
        """Something happens to an instance that should be there; where it is not, that is `unclaimed`."""
        row = self.rows.get(address)
        if row is None:
            self.unclaimed.append((address, f"{what}: there is no such instance"))
        elif not row.is_running:
            self.unclaimed.append((address, f"{what}: it is {row.instance.status.value}"))
        else:
            self._take(row, happening(self.now_ms))

    def resolve(self, identity: Identity, call: int, value: bytes, failure: Optional[Failure]) -> None:
        """A call of a run has its end."""
        row = self.rows.get(f"{identity.name}/{identity.id}")
        if row is None or row.identity != identity or not row.is_running:
            return
        found = row.open.pop(call, None)
        if found is not None:
            made = found[0]
            made.ended_after_ms = self.now_ms - self.start_ms
            made.outcome = "answered" if failure is None else "failed"
            made.failure = failure
            made.value = _decode(value) if failure is None else None
        now_ms = self.now_ms
        self._take(row, Answered(now_ms, call, value) if failure is None else Failed(now_ms, call, failure))

    def _begin(
        self, function: DurableFunction[Any], identity: Identity, started: Started, before: Optional[Row] = None
    ) -> None:
        row = Row(function, identity, self._callees)
        row.parent = started.parent
        if before is not None:
            row.waiters, row.answers = before.waiters, before.answers
        self.rows[row.address] = row
        self._take(row, started)

    def _has_started(self, row: Row, parent: Optional[Parent], policy: str) -> None:
        if policy != "return":
            reason = f"{row.address} is {row.instance.status.value} already, and ids are used once"
            self._refuse(row.address, parent, f"{reason} (id_reuse={policy!r})")
        elif parent is not None and row.is_running:
            row.waiters.append(parent)
        elif parent is not None:
            self._answer(parent, row)

    def _refuse(self, address: str, parent: Optional[Parent], reason: str) -> None:
        self.unclaimed.append((address, reason))
        if parent is not None:
            failure = Failure("StartRefused", reason, non_retryable=True)
            self.soon(lambda: self.resolve(parent.identity, parent.call, b"null", failure))

    def _take(self, row: Row, happening: Happening) -> None:
        if isinstance(happening, UpdateAsked):
            refused = row.instance.refusal(happening)
            if refused is not None:
                row.answers[happening.update_id] = refused
                return
        with self.watch:
            entries = row.instance.take(happening)
        row.entries += entries
        self.told += [(self.now_ms, row.address, entry) for entry in entries]
        if entries:
            row.state = dict(row.instance.state)
        for entry in entries:
            self._perform(row, entry)

    # What instances do.

    def _perform(self, row: Row, entry: Entry) -> None:
        if isinstance(entry, Called):
            self._called(row, entry)
        elif isinstance(entry, TimerSet):
            identity, number = row.identity, entry.number
            self.at(entry.at_ms, lambda: self._fire(row, identity, number))
        elif isinstance(entry, CallCancelled):
            self._cancelled(row, entry)
        elif isinstance(entry, UpdateAnswered):
            row.answers[entry.update_id] = _decode(entry.value) if entry.failure is None else entry.failure
        elif isinstance(entry, Continued):
            self._end(row)
            identity = Identity(row.identity.name, row.identity.id, row.identity.run + 1)
            following = Started(self.now_ms, entry.arguments, row.parent, signals=entry.signals)
            self._begin(row.function, identity, following, row)
        elif row.instance.outcome is entry:
            self._end(row)
            row.forgotten_at_ms = self.now_ms + row.function.retention_ms
            for parent in row.waiters if row.parent is None else [row.parent, *row.waiters]:
                self._answer(parent, row)

    def _fire(self, row: Row, identity: Identity, number: int) -> None:
        if self.rows.get(row.address) is row and row.identity == identity and row.is_running:
            self._take(row, Fired(self.now_ms, number))

    def _called(self, row: Row, called: Called) -> None:
        made = CallMade(
            caller=row.address,
            number=called.number,
            kind=called.kind,
            name=called.name,
            arguments=_decode(called.arguments),
            to=called.to,
            after_ms=self.now_ms - self.start_ms,
        )
        self.calls.append(made)
        identity, number = row.identity, called.number
        attempts: Optional[Attempts] = None

        def answer(value: bytes, failure: Optional[Failure]) -> None:
            self.resolve(identity, number, value, failure)

        if called.kind == "step" or (called.kind in ("function", "start") and self._fakes.has(called.name)):
            attempts = self._attempts(called, made, answer)
        row.open[number] = (made, called, attempts)
        if attempts is not None or called.kind == "token":
            return
        if called.kind == "function":
            parent = Parent(identity, number)
            self.soon(lambda: self.start(called.name, called.to, called.arguments, parent))
        elif called.kind == "start":
            self.soon(lambda: self.start(called.name, called.to, called.arguments))
            self.soon(lambda: answer(b"null", None))
        elif called.kind == "signal":
            key = f"{identity}.{number}"
            self.soon(
                lambda: self.tell(
                    called.to,
                    lambda now_ms: Signalled(now_ms, called.name, called.arguments, key),
                    f"signal {called.name!r}",
                )
            )
            self.soon(lambda: answer(b"null", None))
        else:
            self.soon(lambda: answer(*self._looked_up(called.name, _decode(called.arguments))))

    def _attempts(self, called: Called, made: CallMade, answer: Callable[[bytes, Optional[Failure]], None]) -> Attempts:
        callee = self._callees.get(called.name)
        decode: Callable[[bytes], Any] = _decode
        if callee is not None and called.kind != "start":
            decode = callee.decode_result
        return Attempts(self, self._fakes, called, made, answer, decode=decode, twice=self._twice)

    def _looked_up(self, view: str, key: Any) -> tuple[bytes, Optional[Failure]]:
        found = self._views.get(view)
        if found is None:
            msg = f"nothing stands in for view {view!r}: give FunctionTest views={{{view!r}: {{{key!r}: ...}}}}"
            raise UsageError(msg)
        value = found(key) if callable(found) else found.get(key)
        return msgspec.json.encode(value), None

    def _cancelled(self, row: Row, entry: CallCancelled) -> None:
        found = row.open.pop(entry.number, None)
        if found is None:
            # Only started, and answered long ago.
            called = next((one for one in row.entries if isinstance(one, Called) and one.number == entry.number), None)
            attempts = None
        else:
            made, called, attempts = found
            made.outcome = "cancelled"
            made.ended_after_ms = self.now_ms - self.start_ms
        if attempts is not None:
            attempts.cancel()
        elif called is not None and called.kind in ("function", "start") and called.parent_close != "abandon":
            reason = f"{row.address} has ended"
            terminates = called.parent_close == "terminate"
            address = f"{called.name}/{called.to}"
            self.soon(lambda: self._close_child(address, reason, terminates=terminates))

    def _close_child(self, address: str, reason: str, *, terminates: bool) -> None:
        row = self.rows.get(address)
        if row is not None and row.is_running:
            now_ms = self.now_ms
            self._take(row, TerminateAsked(now_ms, reason) if terminates else CancelAsked(now_ms, reason))

    def _end(self, row: Row) -> None:
        self.recorded.append(Recorded(row.identity, tuple(row.entries)))
        row.instance.close()

    def _answer(self, parent: Parent, row: Row) -> None:
        value, failure = end_of(row.entries[-1])
        self.soon(lambda: self.resolve(parent.identity, parent.call, value, failure))
