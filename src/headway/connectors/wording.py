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
    (asyncio.IncompleteReadError, _ENDED),
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
    for one in _chain(error):
        for kind, said in _SAID:
            if isinstance(one, kind):
                return said
        if isinstance(one, (TimeoutError, asyncio.TimeoutError)) and not own:
            return _LATE
        if isinstance(one, OSError) and one.errno is not None and one.errno > 0:
            return os.strerror(one.errno)
    return own or type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, or because of."""
    found: list[BaseException] = []
    one: Optional[BaseException] = error
    while one is not None and one not in found and not isinstance(one, ssl.SSLError):
        found.append(one)
        yield one
        one = one.__cause__ or one.__context__
