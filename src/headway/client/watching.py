"""Watching one key of a view, without a network and without a clock.

A server holds the answer back until the key has another version than the one whose ETag it is given. Where no ETag
comes, as from behind a proxy that takes it away, nothing is held back: then versions are told apart by what they say,
and there is a pause between two looks. The same pause keeps those apart who ask from a server that holds nothing back
although it knows the version.
"""

from __future__ import annotations

from typing import Final, Generic, Optional, TypeVar

from headway.client.protocol import WAIT_MOST_S, Answer, Reply, Request, ViewProtocol

__all__ = ["LOOK_S", "Watch"]

T = TypeVar("T")
LOOK_S: Final = 1.0
"""How long after one look the next one begins, in seconds, where the server does not hold its answer back."""


class Watch(Generic[T]):
    """What is known of a key, and so what is asked next. `after` is the ETag of a version that is known."""

    def __init__(self, protocol: ViewProtocol[T], key: str, after: str) -> None:
        self._protocol = protocol
        self._key = key
        self._after = after
        self._said: Optional[tuple[int, bytes]] = None
        """Status and body of the last version."""
        self._is_to_pause = False

    def request(self) -> Request:
        """The next look."""
        wait_s = WAIT_MOST_S if self._after else 0.0
        return self._protocol.read(self._key, at_least=None, wait=0, after=self._after, default_wait_s=wait_s)

    def heard(self, reply: Reply) -> Optional[Answer[T]]:
        """What the reply to the last look says; None where that is nothing new. Raises as `View.read`."""
        answer = self._protocol.one(self._key, reply)
        is_news = False
        if answer is not None:
            said = reply.status, reply.body
            is_news = said != self._said and (not answer.etag or answer.etag != self._after)
            self._after, self._said = answer.etag, said
        self._is_to_pause = not (is_news and self._after)
        return answer if is_news else None

    def pause_s(self, gone_s: float) -> float:
        """How long to pause before the next look, where so many seconds have gone by since the last one began."""
        return max(0.0, LOOK_S - gone_s) if self._is_to_pause else 0.0
