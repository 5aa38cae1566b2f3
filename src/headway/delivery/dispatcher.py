"""The dispatcher: hands triggers over to targets, in a thread of its own beside the engine's.

One event loop runs all targets of a process. The engine only says that an epoch with new rows is committed; everything
else happens here: reading rows, calling the target, noting what came of it. So a receiver that is slow or gone never
holds the engine's thread. Nothing is polled: a courier sleeps until rows are committed, an answer is there, or the time
of a retry has come.

A crash may come at any moment. Rows are removed when their answer is there, so what was under way is delivered again.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Optional, TypeVar

from headway.basics.crashpoints import reached
from headway.delivery.courier import Courier, Item
from headway.delivery.deliverable import delivery_of
from headway.delivery.desk import Desk
from headway.delivery.reports import Reports
from headway.delivery.requests import Answered, Counts, Request, Requests
from headway.delivery.spans import AttemptSpans
from headway.delivery.stats import DeliveryStats
from headway.errors import HeadwayError
from headway.state.delivery_queue import DeliveryQueue
from headway.state.delivery_rows import Undelivered
from headway.state.stage import StageStore
from headway.targets.base import Answer, Outcome, Target
from headway.targets.delivered import Delivered

__all__ = ["Dispatcher"]

T = TypeVar("T")

_LAST_ANSWERS_S: Final = 5.0
"""How long the end of a run that was told to stop waits for what is under way."""
_SLEEP_MAX_S: Final = 60.0
"""The longest sleep: the wall clock, by which retries are due, may have been moved meanwhile."""
_SLEEP_MIN_S: Final = 0.01
_BEAT_S: Final = 0.05
_CLOSE_S: Final = 10.0


class Dispatcher:
    """Delivers the triggers of all groups that one process runs. Methods are called on the engine's thread.

    `outputs` are those that are delivered, by number, with their names. `failed` takes what ends the run: an error of
    the state, or one in a target that is not the receiver's. `tell` takes what a person should know. `requests` is
    where commands leave what they ask for. `spans` hear of each attempt, and `reports`, by output, of each outcome.
    `place` gives a target its place in the state directory. `workers` is how many processes deliver.
    """

    def __init__(
        self,
        outputs: Mapping[int, tuple[str, Delivered]],
        wall_ms: Callable[[], int],
        failed: Callable[[BaseException], None],
        tell: Callable[[str], None],
        requests: Optional[Requests] = None,
        spans: Optional[AttemptSpans] = None,
        reports: Optional[Mapping[int, Reports]] = None,
        place: Callable[[Target], Target] = lambda target: target,
        workers: int = 1,
    ) -> None:
        self._wall_ms = wall_ms
        self._failed = failed
        self._tell = tell
        self._spans = spans
        self._routes = {
            number: _Route(
                Courier(name, place(output.target), output.delivering, wall_ms, random.random, tell, workers),
                is_direct=output.delivering.edge == "direct",
                reports=None if reports is None else reports.get(number),
            )
            for number, (name, output) in outputs.items()
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="headway-dispatcher", daemon=True)
        self._desk = None if requests is None else Desk(requests, self._places, self._carry_out, self._look)
        self._paused = False
        self._is_ending = False
        self._is_open = False
        self._is_cancelled = False
        self._told = self._heard = 0
        """How many calls were handed to the thread, and how many of them it has made."""
        self.failure: Optional[BaseException] = None
        """What ends the run."""

    def register(self, output: int, queue: DeliveryQueue) -> None:
        """Deliver what waits of an output in a group of this process, now and later."""
        if not self._is_open:
            self._is_open = True
            self._thread.start()
        self._call(self._add, output, queue)

    def attach(self, store: StageStore, outputs: Iterable[int]) -> None:
        """Deliver what waits of some outputs in the group of a stage, now and later."""
        for output in sorted(set(outputs)):
            self.register(output, store.delivery_queue(output))

    def committed(self, group: int, numbered: Mapping[int, int]) -> None:
        """An epoch is committed: for each output the number that its next row in this group gets."""
        self._call(self._note, group, dict(numbered))

    def leave_early(self, output: int, group: int, rows: Sequence[Undelivered]) -> None:
        """Deliver rows of an epoch that is not durable yet, of an output that says so."""
        self._call(self._take_early, output, group, rows)

    @property
    def is_pressing(self) -> bool:
        """Whether a direct edge has as many triggers waiting as may: then the flow should read nothing more."""
        return any(route.is_direct and route.courier.is_full for route in self._routes.values())

    def has_under_way(self, within_ms: int) -> bool:
        """Whether anything that comes back to the flow is being delivered, or is to be tried within that time."""
        if self._told != self._heard:
            return True
        until_ms = self._wall_ms() + within_ms
        return any(
            not route.rests or (route.courier.wake_at_ms() or until_ms) < until_ms
            for route in self._routes.values()
            if route.courier.target.comes_back
        )

    def statistics(self) -> dict[str, DeliveryStats]:
        """How it stands with each output. Some microseconds for each group."""
        now_ms = self._wall_ms()
        return {
            route.courier.output: route.statistics(now_ms, is_ending=self._is_ending) for route in self._routes.values()
        }

    def finish(self, stopping: Callable[[], bool], beat: Callable[[], None]) -> None:
        """The run ends: deliver what can be delivered now; what has to be retried waits for the next run.

        Once `stopping` says so, only what is under way is waited for, some seconds at most. `beat` is called meanwhile.
        """
        # What was said to the thread before must have been heard there: only then it can be known to rest.
        heard = threading.Event()
        self._call(heard.set)
        while self._is_open and self.failure is None and not heard.wait(_BEAT_S):
            beat()
        until_s: Optional[float] = None
        self._is_ending = True
        while self._is_open and self.failure is None and not all(route.rests for route in self._routes.values()):
            if stopping() and until_s is None:
                until_s = time.monotonic() + _LAST_ANSWERS_S
                self._paused = True
            if until_s is not None and (
                time.monotonic() > until_s or not any(route.is_busy for route in self._routes.values())
            ):
                return
            beat()
            time.sleep(_BEAT_S)
        self.check()

    def check(self) -> None:
        """Raise what has ended the thread."""
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """End the thread; what is under way is delivered again by the next run. Again does nothing."""
        if not self._is_open:
            if not self._loop.is_closed():
                self._loop.close()
            return
        self._is_open = False
        self._call(self._cancel)
        self._thread.join(_CLOSE_S)
        if self._spans is not None:
            self._spans.end()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # The loop is closed where an error has ended the thread: `check` raises that.
            self._told += 1
            self._loop.call_soon_threadsafe(self._make, function, arguments)

    def _make(self, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            function(*arguments)
        finally:
            self._heard += 1

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve_all())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.failure = error
            self._failed(error)
        finally:
            self._loop.close()

    async def _serve_all(self) -> None:
        self._tasks = [asyncio.ensure_future(self._serve(route)) for route in self._routes.values()]
        if self._desk is not None:
            self._tasks.append(asyncio.ensure_future(self._desk.serve()))
        try:
            await asyncio.gather(*self._tasks)
        finally:
            self._cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cancel(self) -> None:
        """End all tasks. Once: one that is cancelled while it ends would not close its target."""
        if not self._is_cancelled:
            self._is_cancelled = True
            for task in self._tasks:
                task.cancel()

    def _add(self, output: int, queue: DeliveryQueue) -> None:
        route = self._routes[output]
        route.courier.add(queue)
        route.queues[queue.group] = queue
        route.wake()

    def _take_early(self, output: int, group: int, rows: Sequence[Undelivered]) -> None:
        route = self._routes[output]
        route.courier.take_early(group, rows)
        route.wake()

    def _note(self, group: int, numbered: Mapping[int, int]) -> None:
        for output, number in numbered.items():
            route = self._routes[output]
            queue = route.queues.get(group)
            if queue is not None and queue.next != number:
                queue.next = number
                route.courier.committed(group)
                route.wake()

    def _places(self) -> list[tuple[int, int]]:
        return [(number, group) for number, route in self._routes.items() for group in route.queues]

    def _carry_out(self, request: Request) -> Iterator[tuple[tuple[int, int], Counts]]:
        for number, route in self._routes.items():
            if number in request.outputs:
                for group, counts in route.courier.carry_out(request):
                    yield (number, group), counts
                route.wake()

    def _look(self) -> list[Answered]:
        stats = self.statistics()
        return [
            Answered(output=number, groups=sorted(route.queues), stats=stats[route.courier.output])
            for number, route in self._routes.items()
        ]

    async def _serve(self, route: _Route) -> None:
        """Deliver the triggers of one output, until the task is cancelled."""
        courier = route.courier
        under_way: set[asyncio.Task[None]] = set()
        try:
            if route.reports is not None:
                route.reports.open()
                courier.on_overflow = route.reports.note_given_up
            await courier.target.open()
            while True:
                courier.give_way()
                items = [] if self._paused else courier.take()
                if items:
                    route.rests = False
                    task = asyncio.ensure_future(self._hand_over(route, items))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                    if not route.is_direct:
                        await asyncio.sleep(0)  # Direct edges take all that they can before an indirect one goes on.
                elif courier.has_more:
                    await asyncio.sleep(0)
                else:
                    await self._sleep(route)
                if route.failure is not None:
                    raise route.failure
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            await _closed(courier.target)
            if route.reports is not None:
                route.reports.close()

    async def _sleep(self, route: _Route) -> None:
        """Sleep until something has happened, or the time has come for what was put off."""
        courier = route.courier
        route.rests = courier.under_way == 0 and not route.event.is_set() and not courier.is_paced
        at_ms = courier.wake_at_ms()
        timeout_s: Optional[float] = None
        if at_ms is not None and not (courier.under_way and at_ms <= self._wall_ms()):
            timeout_s = min(_SLEEP_MAX_S, max(_SLEEP_MIN_S, (at_ms - self._wall_ms()) / 1_000))
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(route.event.wait(), timeout_s)
        route.event.clear()

    async def _hand_over(self, route: _Route, items: Sequence[Item]) -> None:
        courier = route.courier
        target = courier.target
        batch = [delivery_of(item) for item in items]
        timeout_s = target.limits.timeout_s + target.limits.spare_s
        span = None if self._spans is None else self._spans.begin(courier.output, target.describe(), batch)
        answers: Optional[list[Answer]] = None
        reached("attempt.before")
        try:
            answers = list(await _within(timeout_s, target.deliver(batch)))
            if len(answers) != len(batch) or not all(isinstance(answer, Answer) for answer in answers):
                reason = f"{target.describe()} has to give {len(batch)} answers, not {answers!r:.200}"
                answers = [Answer(Outcome.RETRY, reason)] * len(batch)
        except asyncio.TimeoutError:
            answers = [Answer(Outcome.RETRY, f"no answer within {timeout_s:g} s")] * len(batch)
        except HeadwayError as error:
            route.failure = error
            return
        except Exception as error:
            answers = [Answer(Outcome.RETRY, f"{type(error).__name__}: {error}")] * len(batch)
        finally:
            route.event.set()
            if self._spans is not None:
                self._spans.finish(span, batch, answers)
        reached("attempt.after")
        try:
            now_ms = self._wall_ms()
            if route.reports is not None:
                await route.reports.note(batch, answers, courier.fates(items, answers, now_ms))
            courier.answered(items, answers, now_ms)
        except Exception as error:
            route.failure = error
        finally:
            route.event.set()


class _Route:
    """One output's courier, and how its task is woken."""

    def __init__(self, courier: Courier, *, is_direct: bool, reports: Optional[Reports]) -> None:
        self.courier = courier
        self.is_direct = is_direct
        self.reports = reports
        self.queues: dict[int, DeliveryQueue] = {}
        self.event = asyncio.Event()
        self.rests = True
        """Whether there is nothing to do before something happens or a time has come."""
        self.failure: Optional[BaseException] = None
        self._oldest: tuple[int, int] = (-1, 0)

    @property
    def is_busy(self) -> bool:
        """Whether something is under way that the end of a run should wait for."""
        return self.courier.under_way > self.courier.target.resting

    def wake(self) -> None:
        """Something has happened."""
        self.rests = False
        self.event.set()

    def statistics(self, now_ms: int, *, is_ending: bool) -> DeliveryStats:
        courier = self.courier
        totals = [window.queue.totals for window in courier.windows]
        waiting = courier.waiting
        gone = sum(total.gone for total in totals)
        if not waiting:
            self._oldest = (-1, now_ms)
        elif self._oldest[0] != gone:
            # Something has left since: what waits now has waited since the last look at most.
            self._oldest = (gone, now_ms)
        return DeliveryStats(
            target=courier.target.describe(),
            edge=courier.delivering.edge,
            waiting=waiting,
            delivered=sum(total.delivered for total in totals),
            dead=sum(total.died for total in totals),
            dropped=sum(total.dropped for total in totals),
            attempts={outcome.value: count for outcome, count in courier.attempts.items()},
            breaker=courier.breaker.state(now_ms).value,
            reason=courier.reason,
            stopped=courier.stopped,
            oldest_ms=now_ms - self._oldest[1] if waiting else 0,
            waiting_max=courier.delivering.waiting_max,
            is_pressing=self.is_direct and courier.is_full,
            is_ending=is_ending and not self.rests,
            queue=courier.target.figures(),
        )


async def _within(timeout_s: float, work: Awaitable[T]) -> T:
    """The result of `work`; raises `asyncio.TimeoutError` when it takes longer."""
    if sys.version_info < (3, 11):
        return await asyncio.wait_for(work, timeout_s)
    async with asyncio.timeout(timeout_s):  # Without a task of its own, which costs as much as a tenth of a request.
        return await work


async def _closed(target: Target) -> None:
    with suppress(Exception):  # It is let go of: what it meets while closing changes nothing.
        await asyncio.wait_for(target.close(), _CLOSE_S)
