"""Runs steps in the process of the flow: async functions on the dispatcher's loop, ordinary ones in threads."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any, Final

from headway.basics.times import format_duration
from headway.durable.calls import CallRecord, options_of
from headway.durable.target import Ran
from headway.errors import UsageError
from headway.functions.declared import Callee
from headway.functions.failures import failure_of
from headway.functions.history import CallKind, Failure
from headway.functions.options import CallOptions, RetryPolicy
from headway.functions.signature import Signature
from headway.targets.base import Answer, Outcome
from headway.targets.threads import Threads, as_exception

__all__ = ["LocalSteps", "RegisteredStep"]

_DEFAULT: Final = RetryPolicy()
_MS: Final = 1_000_000
_NOT_HERE: Final = ("heartbeat_timeout", "start_timeout", "queue", "priority", "fairness")
"""Options of calls that mean nothing without queues and workers: to pass over them would promise something."""


class RegisteredStep:
    """A Python function that functions call by its name."""

    kind: CallKind = "step"

    def __init__(self, code: Callable[..., Any], name: str, options: CallOptions) -> None:
        self.code = code
        self.name = name
        self.options = options
        self.is_async = inspect.iscoroutinefunction(code)
        self.signature = Signature(code, f"step {name!r}")

    def encode_arguments(self, *arguments: Any, **keywords: Any) -> bytes:
        """The arguments as JSON. Raises `UsageError`."""
        return self.signature.encode(arguments, keywords)

    def decode_result(self, data: bytes) -> Any:
        """The result of a call from JSON."""
        return self.signature.decode_result(data)


class LocalSteps:
    """The steps of a group."""

    def __init__(
        self, steps: Mapping[str, Callee], threads: int = 32, *, now_ms: Callable[[], int] = lambda: time_ns() // _MS
    ) -> None:
        self._steps = steps
        self._now_ms = now_ms
        self._most = threads
        self._threads: Threads | None = None
        self._running: dict[str, asyncio.Task[Any]] = {}

    async def open(self) -> None:
        """Make the threads, none of which is started yet."""
        self._threads = Threads(self._most, "headway-step")

    async def run(self, record: CallRecord, attempt: int) -> Ran:
        """Make one attempt. Its time limit is its own or what is left of the call's, whichever is shorter."""
        step = self._steps.get(record.name)
        if not isinstance(step, RegisteredStep):
            known = ", ".join(name for name, one in self._steps.items() if isinstance(one, RegisteredStep)) or "none"
            failure = Failure("UnknownStep", f"there is no step {record.name!r}: there are {known}", non_retryable=True)
            return Ran(failure=failure)
        options = (options_of(record) or CallOptions()).over(step.options)
        unknown = [name for name in _NOT_HERE if getattr(options, name)]
        if unknown:
            told = (
                f"step {record.name!r}: {', '.join(unknown)} cannot be had here: all steps run in this process at once"
            )
            return Ran(failure=Failure("UsageError", told, non_retryable=True))
        left_ms = self._left_ms(record, options)
        if left_ms is not None and left_ms <= 0:
            return Ran(failure=_late(options))
        limits_ms = [limit_ms for limit_ms in (left_ms, options.attempt_timeout_ms) if limit_ms is not None]
        try:
            given, named = step.signature.decode(record.arguments.encode())
            task = asyncio.ensure_future(self._call(step, given, named))
            self._running[record.key] = task
            try:
                value = await asyncio.wait_for(task, min(limits_ms) / 1_000 if limits_ms else None)
            finally:
                self._running.pop(record.key, None)
            return Ran(step.signature.encode_result(value))
        except UsageError as error:
            return Ran(failure=Failure("UsageError", str(error), non_retryable=True))
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            return Ran(failure=Failure("CancelledError", "nobody waits for it any more", non_retryable=True))
        except BaseException as raised:
            return self._failed(record, options, attempt, as_exception(raised))

    def _failed(self, record: CallRecord, options: CallOptions, attempt: int, error: BaseException) -> Ran:
        left_ms = self._left_ms(record, options)
        if left_ms is not None and left_ms <= 0:
            return Ran(failure=_late(options))
        policy = options.retry or _DEFAULT
        failure = failure_of(error)
        if failure.non_retryable or policy.gives_up(attempt, tuple(one.__name__ for one in type(error).__mro__)):
            return Ran(failure=failure)
        pause_ms = policy.pause_ms(attempt)
        after_ms = pause_ms if left_ms is None else min(pause_ms, left_ms)
        return Ran(retry=Answer(Outcome.RETRY, str(failure), retry_after_s=after_ms / 1_000))

    def _left_ms(self, record: CallRecord, options: CallOptions) -> int | None:
        """What is left of the time that all attempts have together."""
        return None if options.timeout_ms is None else record.at_ms + options.timeout_ms - self._now_ms()

    def cancel(self, key: str) -> None:
        """Cancel the task of a call."""
        task = self._running.get(key)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Let the threads end."""
        if self._threads is not None:
            self._threads.close()

    async def _call(self, step: RegisteredStep, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if step.is_async:
            return await step.code(*given, **named)
        assert self._threads is not None
        return await self._threads.run(lambda: step.code(*given, **named))


def _late(options: CallOptions) -> Failure:
    return Failure("TimeoutError", f"not done in {format_duration(options.timeout_ms or 0)}")
