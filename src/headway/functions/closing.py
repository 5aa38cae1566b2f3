"""Leaving coroutines for good, without a word of theirs being heard.

Python offers one way to leave a coroutine half-way: `close` raises `GeneratorExit` where it waits. A bare `except:`
catches that too, as it catches everything, and goes on to the next thing that it would do; which has no effect, since
the loop is dead by then, and waits for ever. So it is closed again, there. A coroutine that catches everything in an
endless loop never ends that way: after some times it is kept for as long as the process lives, as the collector would
try the same and complain.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any, Final

__all__ = ["close_coroutine", "close_generator", "parked_count"]

_ATTEMPTS_MAX: Final = 100

_parked: Final[list[object]] = []


def close_coroutine(coroutine: Coroutine[Any, Any, Any], *beside: object) -> None:
    """Close a coroutine, as often as it takes; `beside` is kept with it if that is for ever.

    >>> async def stubborn() -> None:
    ...     while True:
    ...         try:
    ...             await asyncio.sleep(0)
    ...         except BaseException:
    ...             pass
    >>> import asyncio
    >>> coroutine, before = stubborn(), parked_count()
    >>> coroutine.send(None)
    >>> close_coroutine(coroutine)
    >>> parked_count() - before
    1
    """
    for _ in range(_ATTEMPTS_MAX):
        with suppress(BaseException):
            coroutine.close()
        if getattr(coroutine, "cr_frame", None) is None:
            return
    _park(coroutine, *beside)


def close_generator(generator: AsyncGenerator[Any, Any]) -> None:
    """Close an asynchronous generator that was left half-way, in the same way."""
    for _ in range(_ATTEMPTS_MAX):
        closing = generator.aclose()
        with suppress(BaseException):
            closing.send(None)
        if getattr(generator, "ag_frame", None) is None:
            return
        with suppress(BaseException):
            closing.close()
    _park(generator)


def parked_count() -> int:
    """How many coroutines of this process refuse to end. Each keeps its memory."""
    return len(_parked)


def _park(*refusing: object) -> None:
    import ctypes

    _parked.append(refusing)
    # Also at the end of the process, when all modules are emptied.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_parked[-1]))
