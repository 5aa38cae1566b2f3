"""One connection that all deliveries of a target share: whoever needs it first has it made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Optional

__all__ = ["Connecting"]

_CLOSING_S: Final = 2.0


class Connecting:
    """Has a connection made by `connect`, again when `is_there` says that it has ended. Used on one event loop."""

    def __init__(self, connect: Callable[[], Awaitable[None]], is_there: Callable[[], bool]) -> None:
        self._connect = connect
        self._is_there = is_there
        self._making: Optional[asyncio.Future[None]] = None

    async def made(self) -> None:
        """Return when the connection is there. Raises what `connect` raises."""
        if not self._is_there():
            if self._making is None or self._making.done():
                self._making = asyncio.ensure_future(self._connect())
            # Whoever is cancelled does not leave a connection that is half made.
            await asyncio.shield(self._making)

    async def ended(self) -> None:
        """Return when none is being made; it gets a little time to be there, so that it can be ended."""
        making, self._making = self._making, None
        if making is not None:
            await asyncio.wait([making], timeout=_CLOSING_S)
            making.cancel()
            await asyncio.wait([making])
            if not making.cancelled():
                making.exception()
