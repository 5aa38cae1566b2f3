"""Where calls of steps come together with whoever runs them: the queues of one process of a flow.

A call is handed over by the delivery of its outbox row (`headway.durable.target`), and waits here until its turn has
come. Then its code runs in this process, or a worker elsewhere that asks for work gets it under a lease. Whatever
happens to it, the call has one answer: the first outcome of the attempt that is under way counts, and what comes after
it is refused. All of it is memory: what was not answered when the process ends is a row still, and comes again.

Runs on one event loop. What is decided by rule and time alone is in `room`, `under_way` and `policy`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Optional
from uuid import uuid4

from headway.errors import UsageError
from headway.functions.history import Failure
from headway.functions.options import CallOptions
from headway.steps.attempt import Outcome, Ran, StepCall, Work, outcome_of
from headway.steps.clock import Clock, LoopClock
from headway.steps.http import HttpStep
from headway.steps.leases import LeaseBook
from headway.steps.local import Local, Running, is_run
from headway.steps.policy import late, left_ms, ran_of
from headway.steps.queues import BUILT_IN, DEFAULT, Queue
from headway.steps.room import Room
from headway.steps.shared import SharedLimits
from headway.steps.under_way import UnderWay, cancelled
from headway.steps.wakes import Wakes
from headway.targets.figures import QueueFigures

__all__ = ["Callees", "Hub", "Leased"]

Callees = Mapping[str, Any]
"""What can be called, by name: also what is not run here, as functions and steps that are answered by messages."""
_CLOSE_S: Final = 2.0
_CANCELLED_MOST: Final = 200_000


class Leased(NamedTuple):
    """An attempt that a worker has from now on, for as long as it is heard of."""

    lease: str
    work: Work
    lease_ms: int


class Hub:
    """The queues of one process. `queues` may grow until it is opened; those built in are there without being given."""

    def __init__(
        self,
        callees: Callees,
        queues: Mapping[str, Queue] = {},
        clock: Callable[[], Clock] = LoopClock,
    ) -> None:
        self._callees = callees
        self._queues = queues
        self._make_clock = clock
        self._users = 0
        self._place: Optional[tuple[Path, int]] = None
        self._workers = 1
        self._book: Optional[LeaseBook] = None
        self._rooms: dict[str, Room[UnderWay]] = {}
        self._attempts: dict[str, UnderWay] = {}
        """By the keys of their calls."""
        self._cancelled: dict[str, None] = {}
        """Keys of calls that nobody waits for and that have not come, in their order."""
        self._leases: dict[str, UnderWay] = {}
        self._running: set[Running] = set()
        """Whose code has not come to its end in this process, also where nobody waits for it any more."""
        self._wanted: list[Callable[[str], bool]] = []
        """Told of a queue in which there is work for workers; each says whether it takes it."""

    def place(self, state_dir: Path, worker: int, workers: int = 1) -> None:
        """Say which of the processes of a flow this is: there it notes which attempts workers have."""
        self._place = (state_dir / "run", worker)
        self._workers = workers

    def open(self) -> None:
        """Get ready, on the event loop that runs. Opened several times, it is closed as often."""
        self._users += 1
        if self._users > 1:
            return
        self._clock = self._make_clock()
        now_ms = self._clock.now_ms()
        queues = {queue.name: queue for queue in BUILT_IN} | dict(self._queues)
        self._rooms = {name: Room(queue, now_ms, self._shared(queue, now_ms)) for name, queue in queues.items()}
        self._local = Local(sum(queue.concurrency for queue in queues.values() if queue.runs_on == "flow"))
        self._alarms = Wakes[str](self._clock, self._look)
        self._rates = Wakes[str](self._clock, lambda queue: self._pump(self._rooms[queue]))
        self._book = LeaseBook(*self._place) if self._place is not None and self.worker_queues else None

    async def close(self) -> None:
        """Wait no longer for anything: async steps and processes are ended, threads left alone."""
        self._users -= 1
        if self._users:
            return
        self._alarms.stop()
        self._rates.stop()
        self._rooms, rooms = {}, self._rooms
        for running in self._running:
            running.abandon()
        self._local.close()
        if self._book is not None:
            self._book.close()
        if self._running:
            await asyncio.wait([running.task for running in self._running], timeout=_CLOSE_S)
        for step in self._services:
            await step.close()
        for room in rooms.values():
            room.close()
        assert not any(room.waiting for room in rooms.values()), "whoever waits for a call is ended before"

    async def run(self, call: StepCall, attempt: int, last_details: str = "") -> Ran:
        """Make one attempt, as soon as its turn has come. What the step raises is part of the answer."""
        if call.key in self._cancelled:
            del self._cancelled[call.key]
            return Ran(failure=cancelled().failure)
        callee = self._callees.get(call.name)
        known = callee if is_run(callee) else None
        options = _chosen(call.options, None if known is None else known.options)
        room = self._rooms.get(options.queue or DEFAULT)
        if room is None:
            told = f"step {call.name!r}: there is no queue {options.queue!r}: there are {', '.join(self._rooms)}"
            return Ran(failure=Failure("UsageError", told, non_retryable=True))
        if known is None and (callee is not None or room.queue.runs_on == "flow"):
            return Ran(failure=self._unknown(call.name))
        left = left_ms(call.at_ms, options, self._clock.wall_ms())
        if left is not None and left <= 0:
            return Ran(failure=late(options))
        under_way = UnderWay(
            call,
            known,
            options,
            attempt,
            room,
            last_details,
            wall_ms=self._clock.wall_ms(),
            now_ms=self._clock.now_ms(),
        )
        self._attempts[call.key] = under_way
        former = "" if self._book is None else self._book.former(call.key, attempt)
        if former and room.queue.runs_on == "workers":
            # A worker has had it since before this process was started, and is about to be heard of.
            room.admit()
            self._lend(under_way, former)
        else:
            self._wait(under_way)
            self._pump(room)
        try:
            outcome = await under_way.outcome
        finally:
            self._forget(under_way)
        left = left_ms(call.at_ms, options, self._clock.wall_ms())
        return ran_of(outcome, options, attempt, left, under_way.details)

    def cancel(self, key: str) -> None:
        """Nobody waits any more for the call of this key, which may be about to come, from the disk."""
        attempt = self._attempts.get(key)
        if attempt is not None:
            self._settle(attempt, cancelled())
            return
        self._cancelled[key] = None
        if len(self._cancelled) > _CANCELLED_MOST:
            del self._cancelled[next(iter(self._cancelled))]

    def figures(self, queue: str) -> Optional[QueueFigures]:
        """How it stands with a queue; None while nothing runs. Called by any thread."""
        room = self._rooms.get(queue)
        return None if room is None else room.figures()

    def resting(self, queue: str) -> int:
        """How many attempts of a queue the end of a run need not wait for. Called by any thread."""
        room = self._rooms.get(queue)
        if room is None:
            return 0
        return room.waiting + (room.running if room.queue.runs_on == "workers" else 0)

    def check(self) -> None:
        """Look for what can be known to be wrong before anything runs. Raises `UsageError`."""
        for step in self._services:
            step.check()

    # For workers elsewhere.

    def lease(self, queues: Sequence[str], most: int) -> list[Leased]:
        """Hand over up to so many attempts of some queues, those named first before the others."""
        found: list[Leased] = []
        for name in queues:
            room = self._rooms.get(name)
            while room is not None and room.queue.runs_on == "workers" and len(found) < most:
                attempt = room.take(self._clock.now_ms())
                if attempt is None:
                    self._set_rate(room)
                    break
                found.append(Leased(*self._lend(attempt, uuid4().hex), room.queue.lease_ms))
        return found

    def _lend(self, attempt: UnderWay, lease: str) -> tuple[str, Work]:
        attempt.lease = lease
        self._leases[lease] = attempt
        if self._book is not None:
            self._book.note(attempt.call.key, attempt.number, lease, self._clock.wall_ms())
        return lease, self._begin(attempt)

    def heard(self, lease: str) -> bool:
        """The worker of a lease is there; whether it still has it."""
        attempt = self._leases.get(lease)
        if attempt is None:
            return False
        attempt.heard_ms = self._clock.now_ms()
        self._set_alarm(attempt)
        return True

    def beaten(self, lease: str, details: bytes) -> None:
        """The step itself, of a lease that is `heard` of, tells that it is alive."""
        attempt = self._leases.get(lease)
        if attempt is not None:
            self._beat(attempt, details)

    def complete(self, lease: str, outcome: Outcome) -> bool:
        """A worker has an outcome; whether it counts. Its value is checked as that of a step here."""
        attempt = self._leases.get(lease)
        if attempt is None:
            return False
        if outcome.failure is None and attempt.step is not None:
            try:
                attempt.step.decode_result(outcome.value)
            except UsageError as error:
                outcome = Outcome(failure=Failure("UsageError", str(error), non_retryable=True))
        self._settle(attempt, outcome)
        return True

    def give_back(self, lease: str) -> None:
        """A worker has not begun with what it was given: it waits again, and no attempt was made."""
        attempt = self._leases.pop(lease, None)
        if attempt is not None:
            attempt.lease = ""
            self._note_over(attempt)
            attempt.room.untake()
            self._wait(attempt)
            self._pump(attempt.room)

    def want(self, wanted: Callable[[str], bool]) -> Callable[[], None]:
        """Have somebody told of queues in which there is work for workers, until what is returned is called."""
        self._wanted.append(wanted)

        def unwanted() -> None:
            self._wanted.remove(wanted)
            # It may have been told of something that it did not come to take.
            for room in self._rooms.values():
                self._pump(room)

        return unwanted

    @property
    def worker_queues(self) -> list[str]:
        """The queues whose steps run on workers."""
        return [queue.name for queue in self._queues.values() if queue.runs_on == "workers"]

    # Inside.

    def _shared(self, queue: Queue, now_ms: int) -> Optional[SharedLimits]:
        if self._place is None or self._workers == 1:
            return None
        directory, worker = self._place
        return SharedLimits(directory, queue, worker, self._workers, now_ms)

    @property
    def _services(self) -> list[HttpStep]:
        return [step for step in self._callees.values() if isinstance(step, HttpStep)]

    def _unknown(self, name: str) -> Failure:
        callee = self._callees.get(name)
        if callee is not None:
            told = f"step {name!r} is run no longer: the flow has {callee!r} now, and this call was made before"
        else:
            known = ", ".join(one for one, callee in self._callees.items() if callee.kind == "step") or "none"
            told = f"there is no step {name!r}: there are {known}"
        return Failure("UnknownStep", told, non_retryable=True)

    def _wait(self, attempt: UnderWay) -> None:
        options = attempt.options
        attempt.ticket = attempt.room.put(attempt, options.priority, options.fairness)
        self._set_alarm(attempt)

    def _pump(self, room: Room[UnderWay]) -> None:
        """Let begin whoever may."""
        if room.queue.runs_on == "workers":
            if room.waiting and room.running < room.queue.concurrency:
                for wanted in self._wanted:
                    if wanted(room.queue.name):
                        break
            return
        while (attempt := room.take(self._clock.now_ms())) is not None:
            self._run_here(attempt)
        self._set_rate(room)

    def _run_here(self, attempt: UnderWay) -> None:
        work = self._begin(attempt)
        try:
            running = self._local.start(attempt.step, work, lambda details: self._beat(attempt, details))
        except Exception as error:
            # Whoever has asked for the next attempt to begin need not be the one that has called this step.
            attempt.room.release()
            self._settle(attempt, outcome_of(error))
            return
        attempt.running = running
        self._running.add(running)

        def ended(task: Any) -> None:
            self._running.discard(running)
            attempt.room.release()
            if not task.cancelled():
                self._settle(attempt, task.result())
            if self._rooms:
                self._pump(attempt.room)

        running.task.add_done_callback(ended)

    def _begin(self, attempt: UnderWay) -> Work:
        now_ms = self._clock.now_ms()
        attempt.room.to_start.observe((now_ms - attempt.queued_ms) / 1_000)
        work = attempt.begin(now_ms)
        self._set_alarm(attempt)
        return work

    def _beat(self, attempt: UnderWay, details: bytes) -> None:
        if attempt.outcome.done():
            return
        attempt.beaten_ms = self._clock.now_ms()
        if details:
            attempt.details = details.decode()
        self._set_alarm(attempt)

    def _settle(self, attempt: UnderWay, outcome: Outcome) -> None:
        """The outcome of an attempt: the first one counts."""
        if attempt.outcome.done():
            return
        if attempt.ticket is None:
            attempt.room.to_end.observe((self._clock.now_ms() - attempt.began_ms) / 1_000)
        attempt.outcome.set_result(outcome)
        self._note_over(attempt)
        self._forget(attempt)

    def _note_over(self, attempt: UnderWay) -> None:
        if self._book is not None:
            self._book.drop(attempt.call.key, self._clock.wall_ms())

    def _forget(self, attempt: UnderWay) -> None:
        """Nobody waits for an attempt any more; its code may still run, and then has its place until it ends."""
        if self._attempts.get(attempt.call.key) is attempt:
            del self._attempts[attempt.call.key]
            self._alarms.clear(attempt.call.key)
        if attempt.ticket is not None:
            attempt.room.leave(attempt.ticket)
            attempt.ticket = None
        if attempt.lease:
            # The worker hears of it when it is heard of next. Nothing else is known of where its code stands.
            self._leases.pop(attempt.lease, None)
            attempt.lease = ""
            attempt.room.release()
            self._pump(attempt.room)
        if attempt.running is not None and not attempt.running.task.done():
            attempt.running.cancel()
            attempt.running = None

    # Time.

    def _set_alarm(self, attempt: UnderWay) -> None:
        self._alarms.set(attempt.call.key, attempt.look_at_ms)

    def _set_rate(self, room: Room[UnderWay]) -> None:
        if room.queue.per_second is None and self._workers == 1:
            return
        now_ms = self._clock.now_ms()
        wait_ms = room.wait_ms(now_ms)
        self._rates.set(room.queue.name, None if wait_ms is None else now_ms + wait_ms)

    def _look(self, key: str) -> None:
        attempt = self._attempts.get(key)
        if attempt is None:  # What was looked at before it has ended it.
            return
        outcome = attempt.overdue(self._clock.now_ms())
        if outcome is None:
            self._set_alarm(attempt)
        else:
            self._settle(attempt, outcome)


def _chosen(called: Optional[CallOptions], declared: Optional[CallOptions]) -> CallOptions:
    """The options of a call over those of its step. Mostly they are the same, as the call was made with them."""
    if declared is None or called == declared:
        return called or CallOptions()
    return declared if called is None else called.over(declared)
