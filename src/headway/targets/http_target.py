"""What targets of one HTTP service have in common: its name, what is looked at before a run, and what failures mean."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Optional

from headway.targets.base import Answer, Guarantee, Limits, Outcome, Target
from headway.targets.http_receiver import HttpReceiver
from headway.targets.naming import NamelessError

if TYPE_CHECKING:
    from headway.targets.http_connection import Response

__all__ = ["HttpTarget"]


class HttpTarget(Target):
    """A service that takes triggers by HTTP. `now_s` is the wall clock, in epoch seconds."""

    guarantee = Guarantee.BY_ID

    def __init__(
        self, receiver: HttpReceiver, limits: Limits, name: str, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self.limits = limits
        self._receiver = receiver
        self._name = name
        self._now_s = now_s

    @property
    def name(self) -> str:
        """The kind of service and its address, without what may be secret in it."""
        return self._name

    def check(self) -> None:
        """Look whether secrets and certificates are there and can be used."""
        self._receiver.check(self.name)

    async def open(self) -> None:
        """Get ready; no connection is opened yet."""
        await self._receiver.open()

    async def look(self) -> str:
        """Dial it; nothing is sent."""
        return await self._receiver.look()

    async def close(self) -> None:
        """Close all connections."""
        await self._receiver.close()

    def _until_s(self) -> float:
        """Until when an attempt that begins now may take, by the clock of the event loop."""
        return asyncio.get_running_loop().time() + self.limits.timeout_s

    def _unanswered(self, error: Exception) -> Answer:
        """What becomes of a trigger that was not sent, or has no answer. Raises an error of ours again."""
        if isinstance(error, NamelessError):
            return error.answer
        return Answer(Outcome.RETRY, self._receiver.reason(error, self.limits.timeout_s))

    def _answered(
        self, response: Response, own: Optional[Mapping[int, Outcome]] = None, status: Optional[int] = None
    ) -> Answer:
        """What an answer means, by its status or by the one that is given; `own` is as in `answer_for`."""
        return self._receiver.answer(response, self._now_s(), own, status)
