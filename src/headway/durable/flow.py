"""Declaring a group of durable functions: a flow whose sources are the logs of what happens to its instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, Optional, TypeVar, overload

from headway.basics.declaring import fail
from headway.basics.times import Duration
from headway.declare.flow import Flow
from headway.declare.streams import KeyedStream
from headway.declare.views import state_of
from headway.durable.calls import CallRecord, FunctionEnded, Unclaimed
from headway.durable.inputs import requests
from headway.durable.messages import Message
from headway.durable.operator import CALLS, MESSAGES, UNCLAIMED, FunctionOperator
from headway.durable.starts import Starts
from headway.durable.steps import LocalSteps, RegisteredStep
from headway.durable.target import MessagesTarget, StepsTarget
from headway.functions.declared import Callee, DurableFunction, names_of_functions
from headway.functions.options import CallOptions, RetryPolicy
from headway.graph import INGESTION_TIME
from headway.inbox.runlog import RunLogInput
from headway.targets.delivered import Delivered, Delivering

__all__ = ["Functions"]

C = TypeVar("C", bound=Callable[..., Any])

VIEW: Final = "functions"
_SHOWN: Final = (
    *("status", "run", "started_ms", "ended_ms", "arguments", "result", "error"),
    *("waits", "variables", "updates"),
)
_STEP: Final = "functions"
_CALL: Final = "call"
_MESSAGE: Final = "message"
_EARLY: Final = Delivering(leaves_early=True, retry_first_ms=1, retry_longest_ms=1)
"""Pauses between attempts are those of the steps' policies."""


class Functions(Flow):
    """A group of durable functions with their steps, as a flow that `headway run` runs like any other.

    What the flow declares besides, such as sources and patterns, runs beside them: `stream.start(FUNCTION, id=...)`
    starts a function for each value. `views` is the URL of a server of views, for `context.query`. Of `live_most`
    instances in each process the coroutines are kept in memory; others are made again from their histories.

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
        views: Optional[str] = None,
        live_most: int = 20_000,
    ) -> None:
        super().__init__(name)
        self.callees: dict[str, Callee] = {}
        """Functions and steps, by the names under which they are called."""
        for function in functions:
            self.add(function)
        asked = self.source("requests", Message, requests(self.callees), time=INGESTION_TIME)
        log = RunLogInput("answers", "answers of steps and functions", is_awaited=True)
        answers = self.source("answers", Message, log, time=INGESTION_TIME)
        messages = asked.merge(answers, name="messages").key_by("to", name="instance")
        self._done = messages.process(_STEP, FunctionOperator(self.callees, live_most))
        self._messages = MessagesTarget(name, log)
        steps = StepsTarget(name, log, LocalSteps(self.callees), views)
        for side, label, target in ((CALLS, _CALL, steps), (MESSAGES, _MESSAGE, self._messages)):
            self._done.side(side)._sink(label, Delivered(target, _EARLY, has_keys=True), (), label)
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
        self._register(function)

    @overload
    def step(self, code: C, /) -> C: ...

    @overload
    def step(
        self,
        code: None = None,
        /,
        *,
        name: Optional[str] = None,
        retry: Optional[RetryPolicy] = None,
        attempt_timeout: Optional[Duration] = None,
        timeout: Optional[Duration] = None,
    ) -> Callable[[C], C]: ...

    def step(
        self,
        code: Optional[Any] = None,
        /,
        *,
        name: Optional[str] = None,
        retry: Optional[RetryPolicy] = None,
        attempt_timeout: Optional[Duration] = None,
        timeout: Optional[Duration] = None,
    ) -> Any:
        """Register a Python function as a step that functions call by its name."""
        options = CallOptions(retry=retry, attempt_timeout=attempt_timeout, timeout=timeout)

        def register(found: C) -> C:
            self._register(RegisteredStep(found, found.__name__ if name is None else name, options))
            return found

        return register if code is None else register(code)

    def _start_from(self, stream: Any, function: Any, id_of: Any, args: Any, name: str, edge: Any) -> None:
        if not isinstance(function, DurableFunction) or self.callees.get(function.name) is not function:
            fail(f"start({function!r}): the functions of {self.name!r} are {names_of_functions(self.callees)}")
        if edge not in ("direct", "indirect"):
            fail(f'start({function!r}): edge={edge!r} must be "direct" or "indirect"')
        label = name or f"start-{function.name}"
        starts = stream.map(Starts(function, id_of, args), into=CallRecord, name=f"{label}.call")
        delivered = Delivered(self._messages, replace(_EARLY, edge=edge), has_keys=True)
        starts._sink(label, delivered, (), "start", port=starts._beside_its_key(label, ()))

    def _register(self, callee: Callee) -> None:
        if callee.name in self.callees:
            fail(f"{self.name!r}: two functions or steps are called {callee.name!r}: give one of them another name=")
        self.callees[callee.name] = callee

    def __repr__(self) -> str:
        functions = sum(isinstance(one, DurableFunction) for one in self.callees.values())
        counts = [(functions, "function"), (len(self.callees) - functions, "step")]
        shown = ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for count, what in counts)
        return f"Functions({self.name!r}, {shown})"
