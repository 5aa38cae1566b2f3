"""Declaring a group of durable functions: a flow whose sources are the logs of what happens to its instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Optional, Union

from headway.basics.declaring import fail
from headway.basics.times import Duration
from headway.declare.flow import Flow, dead_letter
from headway.declare.streams import KeyedStream
from headway.declare.views import state_of
from headway.durable.calls import CALLS, MESSAGES, CallRecord, FunctionEnded, Unclaimed
from headway.durable.inputs import requests
from headway.durable.messages import Message
from headway.durable.operator import UNCLAIMED, FunctionOperator
from headway.durable.schedule_log import ScheduleLog
from headway.durable.schedule_operator import ScheduleOperator, is_told_to_schedules
from headway.durable.schedules import CatchUp, Overlap, Schedule, declared
from headway.durable.starts import Starts
from headway.durable.target import AsidesTarget, MessagesTarget, StepsTarget
from headway.durable.topics import AreFor, Replies, Requests
from headway.errors import UsageError
from headway.functions.declared import Callee, DurableFunction, names_of_functions
from headway.graph import INGESTION_TIME
from headway.inbox.runlog import RunLogInput
from headway.operators.given import Given
from headway.steps.declared import DeclaresSteps, Steps
from headway.steps.hub import Hub
from headway.steps.queues import BUILT_IN, DEFAULT, Queue
from headway.steps.topic import TopicStep
from headway.targets.base import Target
from headway.targets.delivered import Delivered, Delivering
from headway.types.schema import Json

__all__ = ["SCHEDULES_STEP", "VIEW", "Functions"]

VIEW: Final = "functions"
SCHEDULES_STEP: Final = "schedules"
_SHOWN: Final = (
    *("status", "run", "started_ms", "ended_ms", "arguments", "result", "error"),
    *("waits", "variables", "search", "updates"),
)
_STEP: Final = "functions"
_BUILT_IN: Final = {queue.name: queue for queue in BUILT_IN}
_CALL: Final = "call"
_ASIDE: Final = "aside"
_MESSAGE: Final = "message"
_EARLY: Final = Delivering(leaves_early=True, retry_first_ms=1, retry_longest_ms=1, asked_longest_ms=366 * 86_400_000)
"""Pauses between attempts are those of the steps' policies."""
_ANY_NUMBER: Final = dead_letter(at_most=1 << 62)
"""Whatever others write into a topic of replies must not stop the flow."""


class _IsAside(Given):
    """Whether a call is none of a step: nobody waits for one any more, or it is a question to a view."""

    def __call__(self, record: CallRecord) -> bool:
        return record.kind != "step"


class _InQueue(Given):
    """Whether a call is of a step in a queue. Those in queues that are not there are in the default one.

    `callees` and `queues` may grow until the flow runs.
    """

    def __init__(self, queue: str, callees: Mapping[str, Callee], queues: Mapping[str, Queue]) -> None:
        self._queue = queue
        self._callees = callees
        self._queues = queues

    def arguments(self) -> dict[str, Any]:
        """The name of the queue."""
        return {"queue": self._queue}

    def __call__(self, record: CallRecord) -> bool:
        if record.kind != "step" or isinstance(self._callees.get(record.name), TopicStep):
            return False
        return self._queue == (record.queue if record.queue in self._queues else DEFAULT)


class _IsOf(Given):
    """Whether a call is one of a step that is answered by messages."""

    def __init__(self, step: str) -> None:
        self.step = step

    def __call__(self, record: CallRecord) -> bool:
        return record.name == self.step and record.kind == "step"


class Functions(Flow, DeclaresSteps):
    """A group of durable functions with their steps, as a flow that `headway run` runs like any other.

    What the flow declares besides, such as sources and patterns, runs beside them: `stream.start(FUNCTION, id=...)`
    starts a function for each value. `views` is the URL of a server of views, for `context.query`. Of `live_most`
    instances in each process the coroutines are kept in memory; others are made again from their histories.

    `queues` are those in which calls of steps wait, besides the one called `"default"`; a call names its own, or its
    step does. `steps` are groups of steps from elsewhere (`hw.Steps`), and steps that are services (`hw.http_step`) or
    that are answered by messages (`hw.topic_step`).

    >>> import headway as hw
    >>> @hw.durable_workflow
    ... async def greet(context, name: str) -> str:
    ...     return await context.call("fetch_greeting", name)
    >>> flow = hw.Functions("greetings", [greet])
    >>> @flow.step
    ... async def fetch_greeting(name: str) -> str:
    ...     return f"Hello, {name}!"
    >>> flow
    Functions('greetings', 1 function, 1 step)
    """

    def __init__(
        self,
        name: str,
        functions: Iterable[DurableFunction[Any]] = (),
        *,
        steps: Iterable[Union[Steps, Callee]] = (),
        queues: Iterable[Queue] = (),
        views: Optional[str] = None,
        live_most: int = 20_000,
    ) -> None:
        super().__init__(name)
        self.callees: dict[str, Callee] = {}
        """Functions and steps, by the names under which they are called."""
        self.schedules: dict[str, Schedule] = {}
        """Schedules by their names."""
        for function in functions:
            self.add(function)
        asked = self.source("requests", Message, requests(self.callees, self.schedules), time=INGESTION_TIME)
        log = RunLogInput("answers", "answers of steps and functions", is_awaited=True)
        answers = self.source("answers", Message, log, time=INGESTION_TIME)
        self._told = asked.merge(answers, name="messages")
        messages = self._told.key_by("to", name="instance")
        self._done = messages.process(_STEP, FunctionOperator(self.callees, live_most))
        self._messages = MessagesTarget(name, log)
        self._log = log
        self.queues: dict[str, Queue] = {}
        """Queues of steps, by their names."""
        self._hub = Hub(self.callees, self.queues)
        self._deliver(self._done.side(MESSAGES), _MESSAGE, self._messages)
        self._calls = self._done.side(CALLS)
        asides = self._calls.filter(_IsAside(), name=f"{_ASIDE}.calls")
        self._deliver(asides, _ASIDE, AsidesTarget(name, log, self._hub, views))
        for queue in queues:
            self._add_queue(queue)
        if DEFAULT not in self.queues:
            self._add_queue(_BUILT_IN[DEFAULT])
        for one in steps:
            self._add_steps(one)
        self.serve(VIEW, state_of(self._done), fields=_SHOWN)

    @property
    def ended(self) -> KeyedStream[FunctionEnded]:
        """Runs that have come to their end."""
        return self._done

    @property
    def unclaimed(self) -> KeyedStream[Unclaimed]:
        """What has come for instances that are not there, or have ended: a signal that was too late, for instance."""
        return self._done.side(UNCLAIMED)

    def add(self, function: DurableFunction[Any]) -> None:
        """Add a function. Raises `FlowError` for what is none, and for a name used twice."""
        if not isinstance(function, DurableFunction):
            fail(f"{self.name!r}: {function!r} is no durable function: decorate it with @hw.durable_workflow")
        if function.name.startswith("~"):
            fail(f'{self.name!r}: a function is called {function.name!r}: names do not begin with "~"')
        self._register(function)

    def schedule(
        self,
        name: str,
        function: DurableFunction[Any],
        *,
        cron: Optional[str] = None,
        every: Optional[Duration] = None,
        offset: Duration = 0,
        tz: str = "UTC",
        id: Optional[str] = None,  # noqa: A002 - what the id of a function is called everywhere
        args: Union[tuple[Any, ...], list[Any], dict[str, Any], Callable[[datetime], Any]] = (),
        overlap: Overlap = "skip",
        catch_up: CatchUp = "one",
        catch_up_window: Duration = "365d",
    ) -> None:
        """Start a function at the times that a cron expression names in a time zone, or every so often.

        The ids of those that are started are `id`, by default the schedule's name, a hyphen and the time that was due,
        in UTC: so none is started twice, however often the run is. `args` are its arguments, as a tuple by position, a
        dict by name, or a function of the time that was due, which must be pure. `every` counts from the beginning of
        1970 in UTC, and an `offset`.

        What is due while the one before still runs: `overlap="skip"` starts nothing then, `"buffer_one"` and
        `"buffer_all"` start it after its end, `"cancel"` and `"terminate"` end the one before first, `"allow"` lets
        both run. What was due while no run was there, and is found so more than a minute late: `catch_up="one"` starts
        once, for the last of these times, `"all"` for each, `"none"` for none; what was due before `catch_up_window`
        is left out. Raises `FlowError` for options that mean nothing.

        >>> import headway as hw
        >>> @hw.durable_workflow
        ... async def report(context, day: str) -> None: ...
        >>> flow = hw.Functions("reports", [report])
        >>> flow.schedule("nightly", report, cron="0 3 * * *", tz="Europe/Berlin", args=lambda due: str(due.date()))
        """
        self._check_function(function, f"schedule({name!r}, {function!r})")
        if name in self.schedules:
            fail(f"{self.name!r}: two schedules are called {name!r}: give one of them another name")
        try:
            found = declared(
                name,
                function,
                cron=cron,
                every=every,
                offset=offset,
                tz=tz,
                id=id,
                args=args,
                overlap=overlap,
                catch_up=catch_up,
                catch_up_window=catch_up_window,
            )
        except (ValueError, UsageError) as error:
            fail(f"schedule {name!r}: {error}")
        if not self.schedules:
            self._run_schedules()
        self.schedules[name] = found

    def _run_schedules(self) -> None:
        log = ScheduleLog("schedules", "what the code says of schedules", schedules=self.schedules)
        announced = self.source("timetables", Message, log, time=INGESTION_TIME)
        told = self._told.filter(is_told_to_schedules, name="schedules.told")
        messages = announced.merge(told, name="schedules.messages").key_by("to", name="schedule")
        starts = messages.process(SCHEDULES_STEP, ScheduleOperator(self.schedules)).side(MESSAGES)
        starts._sink("scheduled", Delivered(self._messages, _EARLY, has_keys=True), (), "scheduled")

    def _check_function(self, function: Any, where: str) -> None:
        if not isinstance(function, DurableFunction) or self.callees.get(function.name) is not function:
            fail(f"{where}: the functions of {self.name!r} are {names_of_functions(self.callees)}")

    def _start_from(self, stream: Any, function: Any, id_of: Any, args: Any, name: str, edge: Any) -> None:
        self._check_function(function, f"start({function!r})")
        if edge not in ("direct", "indirect"):
            fail(f'start({function!r}): edge={edge!r} must be "direct" or "indirect"')
        label = name or f"start-{function.name}"
        starts = stream.map(Starts(function, id_of, args), into=CallRecord, name=f"{label}.call")
        delivered = Delivered(self._messages, replace(_EARLY, edge=edge), has_keys=True)
        starts._sink(label, delivered, (), "start", port=starts._beside_its_key(label, ()))

    @staticmethod
    def _deliver(stream: KeyedStream[Any], label: str, target: Target) -> None:
        stream._sink(label, Delivered(target, _EARLY, has_keys=True), (), label, port=stream._beside_its_key(label, ()))

    def _add_queue(self, queue: Queue) -> None:
        """Give a queue an output of its own, so that what waits in it holds up no other one."""
        if not isinstance(queue, Queue):
            fail(f"{self.name!r}: {queue!r} is no queue: write hw.Queue(NAME, ...)")
        if queue.name in self.queues:
            fail(f"{self.name!r}: two queues are called {queue.name!r}")
        self.queues[queue.name] = queue
        label = _CALL if queue.name == DEFAULT else f"{_CALL}-{queue.name}"
        calls = self._calls.filter(_InQueue(queue.name, self.callees, self.queues), name=f"{label}.calls")
        self._deliver(calls, label, StepsTarget(self.name, self._log, self._hub, queue))

    def _add_steps(self, given: Any) -> None:
        if isinstance(given, Steps):
            for step in given.registered.values():
                self._take_step(step)
        elif getattr(given, "kind", "") == "step":
            self._take_step(given)
        else:
            fail(f"{self.name!r}: steps: {given!r} is neither hw.Steps nor a step: decorate functions with @flow.step")

    def _take_step(self, step: Any) -> None:
        if isinstance(step, TopicStep):
            self._register(step)
            self._add_topic(step)
            return
        queue = step.options.queue
        if queue and queue not in self.queues:
            if queue not in _BUILT_IN:
                known = ", ".join(self.queues)
                fail(
                    f"step {step.name!r}: there is no queue {queue!r}: give hw.Functions queues=[...] (it has {known})"
                )
            self._add_queue(_BUILT_IN[queue])
        self._register(step)

    def _add_topic(self, step: TopicStep) -> None:
        """Give a step that is answered by messages an output for its requests, and a source of its replies."""
        requests = self._calls.filter(_IsOf(step.name), name=f"{step.name}.asked")
        published = requests.map(Requests(step), into=Json, name=f"{step.name}.request")
        published.trigger(f"{step.name}.requested", step.to, name=f"{step.name}.requests")
        replies = self.source(f"{step.name}.replies", Json, step.replies, time=INGESTION_TIME, on_error=_ANY_NUMBER)
        told = replies.filter(AreFor(step, self.callees), name=f"{step.name}.told")
        answers = told.map(Replies(step, self.callees), into=CallRecord, name=f"{step.name}.reply")
        self._deliver(answers.key_by("to", name=f"{step.name}.caller"), f"{step.name}.answers", self._messages)

    def _register(self, callee: Callee) -> None:
        if callee.name in self.callees:
            fail(f"{self.name!r}: two functions or steps are called {callee.name!r}: give one of them another name=")
        self.callees[callee.name] = callee

    def __repr__(self) -> str:
        functions = sum(isinstance(one, DurableFunction) for one in self.callees.values())
        counts = [(functions, "function"), (len(self.callees) - functions, "step")]
        shown = ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for count, what in counts)
        return f"Functions({self.name!r}, {shown})"
