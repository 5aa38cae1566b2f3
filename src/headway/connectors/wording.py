"""What is wrong with a connection, in words: libraries say it by numbers and by names of classes."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final, Optional

__all__ = ["wording"]

_REFUSED: Final = "the connection is refused: check host and port, and whether it runs"
_ENDED: Final = "the connection has ended"
_LATE: Final = "no answer in time: check host and port, and whether it runs"
_UNKNOWN: Final = "the name of the host is not known: check the address"
_SAID: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ConnectionRefusedError, _REFUSED),
    (ConnectionResetError, _ENDED),
    (BrokenPipeError, _ENDED),
    (socket.gaierror, _UNKNOWN),
)


def wording(error: BaseException) -> str:
    """The error for a person, on one line, by what the operating system has said below it.

    >>> wording(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 5672)"))
    'the connection is refused: check host and port, and whether it runs'
    >>> wording(ConnectionError("the stream has moved"))
    'the stream has moved'
    """
    own = " ".join(str(error).split())
    if type(error) is ConnectionError and own:  # Ours, which says more than what it was raised for.
        return own
    chain = list(_chain(error))
    for one in chain:
        for kind, said in _SAID:
            # Without a number it is no word of the operating system, but of whoever raised it, unless it is asyncio.
            if isinstance(one, kind) and (_is_numbered(one) or str(one) in ("", "Connection lost")):
                return said
        if isinstance(one, asyncio.IncompleteReadError):
            return _ENDED
        if isinstance(one, (TimeoutError, asyncio.TimeoutError)) and not own:
            return _LATE
    numbers = [one.errno for one in chain if isinstance(one, OSError) and _is_numbered(one)]
    return os.strerror(numbers[0] or 0) if numbers else own or type(error).__name__


def _is_numbered(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno is not None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, or because of."""
    found: list[BaseException] = []
    one: Optional[BaseException] = error
    while one is not None and one not in found and not isinstance(one, ssl.SSLError):
        found.append(one)
        yield one
        one = one.__cause__ or one.__context__
