"""The triggers of a state directory that are delivered, from outside: what waits, what was given up, and changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.delivery.offline import carry_out_all
from headway.delivery.requests import Action, Answered, Counts, Request, Requests, trigger_id
from headway.delivery.stats import DeliveryStats
from headway.errors import LockedStateError, StateError, UsageError
from headway.runtime.directory import StateDirectory
from headway.runtime.opening import settled_manifest
from headway.state.delivery_queue import DeliveryQueue
from headway.state.delivery_rows import Dead, DeliveryRow, Lane
from headway.state.groups import group_of
from headway.state.lock import LOCK_NAME
from headway.state.manifest import OutputEntry
from headway.state.reader import StateReader

__all__ = ["OutputTriggers", "StoredTrigger", "Triggerbox", "Wanted"]

_ANSWER_S: Final = 30.0
"""How long a change waits for a run that has the directory."""
_LOOK_S: Final = 2.0
_POLL_S: Final = 0.05
_TRY_LOCK_EVERY: Final = 10
"""Polls after which the lock is tried again: the run may have ended."""
_FRESH: Final = Lane()


class OutputTriggers(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with one output. Counts are over the life of the state directory."""

    output: str
    target: str
    edge: str
    in_flow: bool
    """Whether the flow has it still; else what waits is delivered to nobody."""
    waiting: int
    retried_keys: int
    """Keys, or logs of a target that takes them in order, whose first trigger has failed and is tried again."""
    next_attempt_ms: Optional[int]
    """When the earliest of them is tried, in epoch milliseconds."""
    dead: int
    delivered: int
    dropped: int
    stopped: str
    """Why the target wants nothing more; empty where it does."""
    breaker: Optional[str] = None
    """`closed`, `open` or `half open`, as a running flow says; None where none answers."""
    reason: str = ""
    """Why the last attempt failed of those that did, as a running flow says; empty where none has."""
    running: bool = False


class StoredTrigger(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger that waits, or that was given up."""

    id: str
    output: str
    status: str
    """`waiting`, `retried` (it has failed and is tried again), `behind` (another one of its key is) or `dead`."""
    type: str
    key: str
    time_ms: int
    attempts: int
    next_attempt_ms: Optional[int] = None
    died_ms: Optional[int] = None
    reason: str = ""
    """Why it failed last, or was given up."""
    head: str = ""
    """The beginning of what the receiver answered."""
    event: Any
    """The CloudEvent."""


class Wanted(NamedTuple):
    """Which triggers are meant: all of them where nothing is given."""

    output: Optional[str] = None
    key: Optional[str] = None
    ids: Optional[list[str]] = None


class Triggerbox:
    """What waits for delivery in a state directory, also while a run is using it; a context manager.

    What is shown is as of when it was opened, and committed. Raises `StateError` where there is no state.
    """

    def __init__(self, state_dir: Path) -> None:
        self._directory = StateDirectory(state_dir)
        self._reader = StateReader(state_dir)
        manifest = self._reader.manifest
        known = {**manifest.outputs, **manifest.retired.outputs}
        self._outputs: dict[str, OutputEntry] = {name: entry for name, entry in known.items() if entry.delivered}

    def __enter__(self) -> Triggerbox:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()

    def outputs(self, only: Optional[str] = None) -> list[OutputTriggers]:
        """How it stands with each output that is delivered; a running flow is asked for its breakers."""
        chosen = self._chosen(only)
        answers = self._look(chosen)
        return [self._summary(name, entry, answers.get(entry.id)) for name, entry in chosen.items()]

    def waiting(self, wanted: Wanted) -> Iterator[StoredTrigger]:
        """What waits, output by output: first what has failed and what is behind it, then what has not been tried."""
        for name, queue in self._queues(wanted):
            yield from _of(wanted, _waiting(name, queue, wanted.key))

    def dead(self, wanted: Wanted) -> Iterator[StoredTrigger]:
        """What was given up."""
        for name, queue in self._queues(wanted):
            found = (_trigger(name, "dead", dead.row, dead=dead) for _, dead in queue.dead() if _is_of(dead, wanted))
            yield from _of(wanted, found)

    def find(self, trigger: str) -> Optional[StoredTrigger]:
        """The trigger with an id; None where none waits or was given up. Reads all of them."""
        wanted = Wanted(ids=[trigger])
        return next(self.waiting(wanted), None) or next(self.dead(wanted), None)

    def change(self, action: Action, wanted: Wanted) -> Counts:
        """Do something to all that is meant, or let the run do it that has the directory; returns what was done.

        Raises `StateError` where that run does not answer: the request stays, and is carried out by it or the next.
        """
        chosen = self._chosen(wanted.output)
        request, awaited = self._request(action, wanted, chosen)
        try:
            return self._change_here(request)
        except LockedStateError:
            gone = [name for name in chosen if name not in self._reader.manifest.outputs]
            if wanted.output in gone:
                msg = f"the flow that is running has no output {wanted.output!r} any more: stop it first, and try again"
                raise UsageError(msg) from None
        present = {entry.id for name, entry in chosen.items() if name not in gone}
        return self._change_there(request, {place for place in awaited if place[0] in present})

    def _chosen(self, only: Optional[str]) -> dict[str, OutputEntry]:
        if only is None:
            return self._outputs
        if only not in self._outputs:
            known = ", ".join(self._outputs) or "none at all"
            msg = f"{self._directory} delivers no output {only!r}: expected one of {known}"
            raise UsageError(msg)
        return {only: self._outputs[only]}

    def _queues(self, wanted: Wanted) -> Iterator[tuple[str, DeliveryQueue]]:
        for name, entry in self._chosen(wanted.output).items():
            for queue in self._reader.deliveries(entry.id):
                if wanted.key is None or queue.group == group_of(wanted.key, self._reader.manifest.key_groups):
                    yield name, queue

    def _summary(self, name: str, entry: OutputEntry, stats: Optional[DeliveryStats]) -> OutputTriggers:
        manifest = self._reader.manifest
        step = manifest.steps.get(name) or manifest.retired.steps.get(name)
        parameters = {} if step is None else step.parameters
        queues = list(self._reader.deliveries(entry.id))
        failed = [lane for queue in queues for lane in _failed(queue)]
        totals = [queue.totals for queue in queues]
        return OutputTriggers(
            output=name,
            target=parameters.get("target", ""),
            edge=parameters.get("edge", ""),
            in_flow=name in manifest.outputs,
            waiting=sum(queue.waiting for queue in queues),
            retried_keys=len(failed),
            next_attempt_ms=min((lane.due_ms for lane in failed), default=None),
            dead=sum(total.died for total in totals),
            delivered=sum(total.delivered for total in totals),
            dropped=sum(total.dropped for total in totals),
            stopped=next((total.stopped for total in totals if total.stopped), ""),
            breaker=None if stats is None else stats.breaker,
            reason="" if stats is None else stats.reason,
            running=stats is not None,
        )

    def _request(
        self, action: Action, wanted: Wanted, chosen: dict[str, OutputEntry]
    ) -> tuple[Request, set[tuple[int, int]]]:
        """The request, and the outputs and groups in which there is something to do."""
        made_ms = round(time.time() * 1_000)
        outputs: dict[int, dict[int, int]] = {}
        awaited: set[tuple[int, int]] = set()
        for name, queue in self._queues(wanted):
            number = chosen[name].id
            outputs.setdefault(number, {})[queue.group] = queue.next
            if queue.totals.died if action in ("redrive", "forget") else queue.waiting:
                awaited.add((number, queue.group))
            if action in ("redrive", "forget"):
                # Also where the clock has been set back since.
                made_ms = max([made_ms, *(dead.died_ms for _, dead in queue.dead())])
        return Request(action=action, made_ms=made_ms, outputs=outputs, key=wanted.key, ids=wanted.ids), awaited

    def _change_here(self, request: Request) -> Counts:
        with self._directory.locked():
            manifest = settled_manifest(self._directory)
            assert manifest is not None, "the reader has seen it"
            return carry_out_all(self._directory.path, manifest, [request])

    def _change_there(self, request: Request, awaited: set[tuple[int, int]]) -> Counts:
        """Ask the run, and carry it out here when that ends before it has answered."""
        requests = Requests(self._directory.path)
        name = requests.put(request)
        polls = 0

        def is_over() -> bool:
            nonlocal polls
            polls += 1
            if not requests.is_there(name):
                return True  # Whoever has opened the directory since has carried it out.
            if polls % _TRY_LOCK_EVERY:
                return False
            try:
                with self._directory.locked():
                    # Before anything else it does what is left of all requests; what that was is not told.
                    return settled_manifest(self._directory) is not None
            except LockedStateError:
                return False

        answers = _answers(requests, name, awaited, _ANSWER_S, is_over)
        if answers is None:
            msg = (
                f"the run that has {self._directory} has not answered for {_ANSWER_S:.0f} s: what was asked for stays, "
                "and is done by it or by the next run; see headway triggers ls"
            )
            raise StateError(msg)
        requests.remove(name)
        counts = Counts()
        for answered in answers:
            counts = counts.plus(answered.counts)
        return counts

    def _look(self, chosen: dict[str, OutputEntry]) -> dict[int, DeliveryStats]:
        """What a running flow says of itself, by output; nothing where none answers soon."""
        if not chosen or not self._is_used():
            return {}
        requests = Requests(self._directory.path)
        outputs: dict[int, dict[int, int]] = {entry.id: {} for entry in chosen.values()}
        name = requests.put(Request(action="look", made_ms=round(time.time() * 1_000), outputs=outputs))
        groups = range(self._reader.manifest.key_groups)
        present = [entry.id for output, entry in chosen.items() if output in self._reader.manifest.outputs]
        try:
            _answers(requests, name, {(number, group) for number in present for group in groups}, _LOOK_S)
            found: dict[int, DeliveryStats] = {}
            for answered in requests.answers(name):
                if answered.stats is not None:
                    known = found.get(answered.output)
                    found[answered.output] = answered.stats if known is None else known.plus(answered.stats)
            return found
        finally:
            requests.remove(name)

    def _is_used(self) -> bool:
        """Whether the process may live that has the lock, or had it last.

        The lock itself is not tried: a run that starts at this moment would find it taken.
        """
        try:
            os.kill(int((self._directory.path / LOCK_NAME).read_text()), 0)
        except (ProcessLookupError, ValueError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True


def _answers(
    requests: Requests,
    name: str,
    awaited: set[tuple[int, int]],
    within_s: float,
    is_over: Callable[[], bool] = lambda: False,
) -> Optional[list[Answered]]:
    """The answers once all are there, or nobody is there to give more; None where they do not come in time."""
    until_s = time.monotonic() + within_s
    while True:
        answers = requests.answers(name)
        if awaited <= {(one.output, group) for one in answers for group in one.groups} or is_over():
            return answers
        if time.monotonic() > until_s:
            return None
        time.sleep(_POLL_S)


def _failed(queue: DeliveryQueue) -> Iterator[Lane]:
    """How it stands with what is tried again."""
    if queue.totals.log.attempts:
        yield queue.totals.log
    yield from (lane for _, lane in queue.lanes() if lane.attempts)


def _waiting(output: str, queue: DeliveryQueue, key: Optional[str]) -> Iterator[StoredTrigger]:
    """What waits in one queue, of one key or of all."""
    head: Optional[str] = None
    lane: Lane = _FRESH
    is_first_of_log = True
    for row in queue.rows():
        name = row.row.lane
        if row.is_parked:
            is_first = name != head
            if is_first:
                head, lane = name, queue.lane(name) or _FRESH
        else:
            is_first, lane = is_first_of_log, queue.totals.log
            is_first_of_log = False
        if key is None or name == key:
            if lane.attempts:
                yield _trigger(output, "retried" if is_first else "behind", row.row, lane=lane if is_first else _FRESH)
            else:
                yield _trigger(output, "waiting", row.row)


def _trigger(
    output: str, status: str, row: DeliveryRow, *, lane: Lane = _FRESH, dead: Optional[Dead] = None
) -> StoredTrigger:
    event = msgspec.json.decode(row.line)
    return StoredTrigger(
        id=event.get("id", ""),
        output=output,
        status=status,
        type=event.get("type", ""),
        key=row.lane,
        time_ms=row.time_ms,
        attempts=dead.attempts if dead is not None else lane.attempts,
        next_attempt_ms=lane.due_ms if lane.attempts else None,
        died_ms=None if dead is None else dead.died_ms,
        reason=lane.reason if dead is None else dead.reason,
        head=lane.head if dead is None else dead.head,
        event=event,
    )


def _is_of(dead: Dead, wanted: Wanted) -> bool:
    return (wanted.key is None or dead.row.lane == wanted.key) and (
        wanted.ids is None or trigger_id(dead.row.line) in wanted.ids
    )


def _of(wanted: Wanted, triggers: Iterator[StoredTrigger]) -> Iterator[StoredTrigger]:
    return (trigger for trigger in triggers if wanted.ids is None or trigger.id in wanted.ids)
