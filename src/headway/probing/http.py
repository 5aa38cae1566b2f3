"""Looking at a receiver of webhooks: whether it takes connections, and by which certificate. It is sent nothing."""

from __future__ import annotations

import asyncio

from headway.errors import InputError
from headway.probing.base import Look, Probe
from headway.targets.http import webhook

__all__ = ["HttpProbe"]


class HttpProbe(Probe):
    """An address that takes posts."""

    unit = "address"
    extra = "http"

    def __init__(self, url: str) -> None:
        self._target = webhook(url)
        self.shown = self._target.name.partition(" ")[2]

    def look(self) -> Look:
        """Dial it."""
        try:
            return Look(asyncio.run(self._look()), [])
        except InputError as error:
            msg = f"{self.shown}: {error}"
            raise InputError(msg) from error

    async def _look(self) -> str:
        self._target.check()
        await self._target.open()
        try:
            return await self._target.look()
        finally:
            await self._target.close()
