"""Answers over a connection that may end before they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["answered"]

_Answer = TypeVar("_Answer")


async def answered(answer: Awaitable[_Answer], gone: asyncio.Future[str]) -> _Answer:
    """The answer; a `ConnectionError`, in the words of `gone`, when the connection ends before it.

    Clients leave whoever waits then in the dark until a timeout, or cancel them, which nobody asked for. What is
    cancelled here is cancelled, whatever the client makes of it.
    """
    asked: asyncio.Future[_Answer] = asyncio.ensure_future(answer)
    both: list[asyncio.Future[Any]] = [asked, gone]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if asked.done() and not asked.cancelled():
            return asked.result()
        raise ConnectionError(gone.result() if gone.done() else "the connection has ended before the answer")
    finally:
        if not asked.done():
            asked.cancel()
            await asyncio.wait([asked])
            if not asked.cancelled():
                asked.exception()
