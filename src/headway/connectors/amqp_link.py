"""A connection to RabbitMQ by AMQP 0.9.1, with `aio-pika`, that does not connect again by itself.

Whoever uses it sees that it has ended, and makes another one. What the server refuses for good is an `InputError`; all
else is one of `transient_errors`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from headway.connectors.server_url import ServerUrl
from headway.errors import InputError, UsageError

__all__ = ["ANSWER_S", "AmqpLink", "transient_errors", "translated"]

ANSWER_S: Final = 10.0
"""How long the server may take for an answer."""


def transient_errors() -> tuple[type[BaseException], ...]:
    """What the client raises when something may be well when it is tried again."""
    from aio_pika.exceptions import AMQPError
    from aiormq.exceptions import ChannelInvalidStateError

    return (AMQPError, ChannelInvalidStateError)


@contextmanager
def translated(described: str) -> Iterator[None]:
    """What the server refuses for good as an `InputError`, and what is no kind of error as a `ConnectionError`.

    The client raises a bare `Exception` in what waits for a connection that has ended.
    """
    from aio_pika.exceptions import ProbableAuthenticationError
    from aiormq.exceptions import ChannelAccessRefused, ConnectionNotAllowed

    try:
        yield
    except (ProbableAuthenticationError, ConnectionNotAllowed, ChannelAccessRefused) as error:
        msg = f"{described} refuses to let us in: check user, password, virtual host and permissions"
        raise InputError(msg) from error
    except UsageError as error:
        raise InputError(str(error)) from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        msg = "the connection has ended"
        raise ConnectionError(msg) from error


class AmqpLink:
    """One connection with one channel. `close` also ends one whose `open` has failed, or was cancelled."""

    def __init__(self, url: ServerUrl, described: str) -> None:
        self.channel: Any = None
        """An `aio_pika.Channel`."""
        self._url = url
        self._described = described
        self._connection: Any = None
        for name in ("aio_pika", "aiormq"):  # What they log is raised here as well.
            logging.getLogger(name).addHandler(logging.NullHandler())

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known."""
        return self.channel is not None and not self.channel.is_closed and not self._connection.is_closed

    async def open(self, *, confirms: bool, lost: Callable[[], None] = lambda: None) -> None:
        """Connect; `lost` is called when the connection or the channel has ended."""
        import aio_pika
        from aio_pika.connection import make_url

        with translated(self._described):
            self._connection = aio_pika.Connection(make_url(self._url.read()))
            await self._connection.connect(timeout=ANSWER_S)
            self._connection.close_callbacks.add(lambda *about: lost())
            self.channel = await self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
            self.channel.close_callbacks.add(lambda *about: lost())

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection, self.channel = self._connection, None, None
        if connection is not None:
            await connection.close()
