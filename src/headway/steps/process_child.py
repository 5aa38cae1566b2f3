"""The process that runs steps beside a flow: `python -m headway.steps.process_child`, one step after the other.

Orders come on its standard input, and it ends with that: when the flow's process is gone, however that ended, a step
that still runs is ended with it. What steps print goes to standard error.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, BinaryIO, Optional, Union

from headway.errors import UsageError
from headway.functions.history import Failure
from headway.functions.signature import Signature
from headway.steps.attempt import Outcome, outcome_of
from headway.steps.frames import framed, read_frame
from headway.steps.info import StepInfo, running_as
from headway.steps.places import CodePlace, found_code
from headway.steps.process_protocol import Beaten, Cancel, Do, Done, decode_order
from headway.targets.threads import as_exception

__all__: list[str] = []


class _Child:
    """Reads orders in a thread, so that a cancellation comes while a step runs; runs steps in the main thread."""

    def __init__(self, orders: BinaryIO, told: BinaryIO) -> None:
        self._orders = orders
        self._told = told
        self._writing = threading.Lock()
        self._todo: SimpleQueue[Do] = SimpleQueue()
        self._known: dict[CodePlace, tuple[Callable[..., Any], Signature]] = {}
        self._current: Optional[StepInfo] = None
        self._stop: Callable[[], object] = lambda: None

    def serve(self) -> None:
        threading.Thread(target=self._read, name="headway-orders", daemon=True).start()
        while True:
            order = self._todo.get()
            self._say(Done(self._outcome(order)))

    def _read(self) -> None:
        while (data := read_frame(self._orders)) is not None:
            order = decode_order(data)
            if isinstance(order, Do):
                self._todo.put(order)
            else:
                self._cancel(order)
        os._exit(0)

    def _cancel(self, order: Cancel) -> None:
        info = self._current
        if info is not None and (info.key, info.attempt) == (order.key, order.attempt):
            info.cancel()
            self._stop()

    def _say(self, message: Union[Beaten, Done]) -> None:
        with self._writing:
            self._told.write(framed(message))
            self._told.flush()

    def _outcome(self, order: Do) -> Outcome:
        try:
            sys.path.extend(place for place in order.search_path if place not in sys.path)
            if order.place not in self._known:
                code = found_code(order.place)
                self._known[order.place] = code, Signature(code, f"step {order.work.name!r}")
            code, signature = self._known[order.place]
            given, named = signature.decode(order.work.arguments.encode())
        except UsageError as error:
            return Outcome(failure=Failure("UsageError", str(error), non_retryable=True))
        except BaseException as error:
            return outcome_of(as_exception(error))
        info = self._current = StepInfo(order.work, lambda details: self._say(Beaten(details)))
        running_as(info)
        try:
            value = code(*given, **named)
            if inspect.isawaitable(value):
                value = asyncio.run(self._awaited(value, info))
        except BaseException as error:
            return outcome_of(as_exception(error))
        finally:
            self._current = None
            self._stop = lambda: None
        try:
            return Outcome(signature.encode_result(value))
        except UsageError as error:
            return Outcome(failure=Failure("UsageError", str(error), non_retryable=True))

    async def _awaited(self, awaitable: Any, info: StepInfo) -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(awaitable)
        self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
        if info.is_cancelled:
            task.cancel()
        return await task


def main() -> None:
    """Serve until the input ends."""
    # Ctrl-C in a terminal reaches all processes: the flow's decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders, told = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    _Child(orders, told).serve()


if __name__ == "__main__":
    main()
