"""Steps as they are declared: Python functions that durable functions call by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, Optional, TypeVar, overload

from headway.basics.declaring import declaring, fail
from headway.basics.times import Duration
from headway.functions.history import CallKind
from headway.functions.options import STEP_OPTIONS, CallOptions, RetryPolicy
from headway.functions.signature import Signature
from headway.steps.places import place_of
from headway.steps.queues import DEFAULT, PROCESSES

__all__ = ["DeclaresSteps", "RegisteredStep", "RunsIn", "Steps"]

RunsIn = Literal["async", "thread", "process"]
"""Where the code of a step runs: on an event loop, in a thread, or in a process that is kept for the next one."""

C = TypeVar("C", bound=Callable[..., Any])


class RegisteredStep:
    """A Python function that durable functions call by its name."""

    kind: CallKind = "step"
    takes: Sequence[str] = STEP_OPTIONS

    def __init__(
        self, code: Callable[..., Any], name: str, options: CallOptions, runs_in: Optional[RunsIn] = None
    ) -> None:
        is_async = inspect.iscoroutinefunction(code)
        self.code = code
        self.name = name
        self.runs_in: RunsIn = runs_in or ("async" if is_async else "thread")
        if self.runs_in not in ("async", "thread", "process"):
            fail(f'step {name!r}: runs_in={runs_in!r}: expected "async", "thread" or "process"')
        if (self.runs_in == "async") != is_async and self.runs_in != "process":
            wanted = "an `async def`" if self.runs_in == "async" else "an ordinary function"
            fail(f'step {name!r}: runs_in="{self.runs_in}" is for {wanted}')
        if self.runs_in == "process":
            self.place = place_of(code, name)
            """Where a process finds the code."""
            options = options if options.queue else CallOptions(queue=PROCESSES).over(options)
        self.options = options
        self.signature = Signature(code, f"step {name!r}")

    @property
    def queue(self) -> str:
        """The queue in which its calls wait that name none."""
        return self.options.queue or DEFAULT

    def encode_arguments(self, *arguments: Any, **keywords: Any) -> bytes:
        """The arguments as JSON. Raises `UsageError`."""
        return self.signature.encode(arguments, keywords)

    def decode_result(self, data: bytes) -> Any:
        """The result of a call from JSON."""
        return self.signature.decode_result(data)


class DeclaresSteps:
    """What `hw.Functions` and `hw.Steps` have in common: the decorator."""

    _queue: Optional[str] = None
    """Of steps that name none."""

    @overload
    def step(self, code: C, /) -> C: ...

    @overload
    def step(
        self,
        code: None = None,
        /,
        *,
        name: Optional[str] = None,
        runs_in: Optional[RunsIn] = None,
        queue: Optional[str] = None,
        priority: int = 0,
        retry: Optional[RetryPolicy] = None,
        attempt_timeout: Optional[Duration] = None,
        timeout: Optional[Duration] = None,
        start_timeout: Optional[Duration] = None,
        heartbeat_timeout: Optional[Duration] = None,
    ) -> Callable[[C], C]: ...

    def step(
        self,
        code: Optional[Any] = None,
        /,
        *,
        name: Optional[str] = None,
        runs_in: Optional[RunsIn] = None,
        queue: Optional[str] = None,
        priority: int = 0,
        retry: Optional[RetryPolicy] = None,
        attempt_timeout: Optional[Duration] = None,
        timeout: Optional[Duration] = None,
        start_timeout: Optional[Duration] = None,
        heartbeat_timeout: Optional[Duration] = None,
    ) -> Any:
        """Register a Python function as a step that functions call by its name.

        `runs_in` is where its code runs: `"async"` for an `async def`, `"thread"` for an ordinary function, or
        `"process"`, for either, so that it computes beside the flow and may crash without harm. `queue` is where its
        calls wait, and those of a smaller `priority` go first there. `retry` says what follows an error;
        `attempt_timeout` bounds one attempt, `timeout` the whole call with all its attempts and pauses,
        `start_timeout` the wait for an attempt to begin, and `heartbeat_timeout` the silence between two calls of
        `hw.step_info().heartbeat()`. What a call says in its `hw.CallOptions` goes before all of these.
        """
        with declaring():
            options = CallOptions(
                retry=retry,
                attempt_timeout=attempt_timeout,
                timeout=timeout,
                heartbeat_timeout=heartbeat_timeout,
                start_timeout=start_timeout,
                queue=queue or self._queue or "",
                priority=priority,
            )

        def register(found: C) -> C:
            self._take_step(RegisteredStep(found, found.__name__ if name is None else name, options, runs_in))
            return found

        return register if code is None else register(code)

    def _take_step(self, step: Any) -> None:
        raise NotImplementedError


class Steps(DeclaresSteps):
    """Steps that belong together, in a file of their own: for several flows, or for `headway worker`.

    `queue` is that of those which name none. A group of functions takes them in with `hw.Functions(..., steps=[...])`.

    >>> import headway as hw
    >>> payments = hw.Steps(queue="payments")
    >>> @payments.step(heartbeat_timeout="10s")
    ... def charge(order_id: str, cents: int) -> str:
    ...     return f"charged {cents} for {order_id} ({hw.step_info().key})"
    >>> payments
    Steps('charge')
    """

    def __init__(self, *, queue: Optional[str] = None) -> None:
        self.registered: dict[str, Any] = {}
        """By their names."""
        self._queue = queue

    def _take_step(self, step: Any) -> None:
        if step.name in self.registered:
            fail(f"two steps are called {step.name!r}: give one of them another name=")
        self.registered[step.name] = step

    def __repr__(self) -> str:
        return f"Steps({', '.join(map(repr, self.registered))})"
