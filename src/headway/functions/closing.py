"""Leaving coroutines for good, without a word of theirs being heard.

A coroutine that is left half-way has to be ended: the collector would do it otherwise, at another moment each time.
Something must be raised where it waits for that, and a bare `except:` catches it, as it catches everything, and goes on
to the next thing that it would do. That has no effect, since the loop is dead by then, and waits for ever. So the same
is raised again, there. A coroutine that catches everything in an endless loop never ends that way: after some times it
is kept for as long as the process lives, as the collector would try the same and complain.

`close` is not good enough for it. Where an inner coroutine goes on after `GeneratorExit`, Python tells the one that
awaits it with a `RuntimeError` and forgets the inner one, which is then collected, and goes on once more. Any other
exception reaches the innermost and leaves the chain whole.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any, Final

__all__ = ["close_coroutine", "close_generator", "parked_count"]

_ATTEMPTS_MAX: Final = 100


class _Left(BaseException):
    """Raised where a coroutine waits that was left."""


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
            coroutine.throw(_Left())
        if getattr(coroutine, "cr_frame", None) is None:
            return
    _park(coroutine, *beside)


def close_generator(generator: AsyncGenerator[Any, Any]) -> None:
    """Close an asynchronous generator that was left half-way, in the same way."""
    closing = generator.aclose()
    with suppress(BaseException):
        closing.send(None)
    for _ in range(_ATTEMPTS_MAX):
        if getattr(generator, "ag_frame", None) is None:
            return
        with suppress(BaseException):
            closing.throw(_Left())
    _park(generator)


def parked_count() -> int:
    """How many coroutines of this process refuse to end. Each keeps its memory."""
    return len(_parked)


def _park(*refusing: object) -> None:
    import ctypes

    _parked.append(refusing)
    # Also at the end of the process, when all modules are emptied.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_parked[-1]))
