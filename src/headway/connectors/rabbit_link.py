"""A connection to RabbitMQ by its protocol for streams: with `rstream`, and so that whoever waits hears of its end.

The client's own consumer and producer connect again by themselves, and do not say what became of a request when the
connection ended. Here its plain connection is used: a connection that has ended stays so, and whoever waits for an
answer gets a `ConnectionError` at once. What the server refuses for good is an `InputError`; all else may go well when
it is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Final, NamedTuple, Optional, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from headway.connectors.answered import answered
from headway.connectors.server_url import ServerUrl
from headway.errors import InputError, UsageError

__all__ = ["Place", "StreamLink", "check_name", "place_of"]

_Answered = TypeVar("_Answered")

FRAME_BYTES: Final = 1 << 20
"""The largest frame, that of messages too; brokers have the same by default."""
_HEARTBEAT_S: Final = 10
_GOODBYE_S: Final = 1.0
_PARTITIONS: Final = b"\x00\x19"
_SUBSCRIPTIONS: Final = 256
_REFUSED: Final = ("AuthenticationFailure", "SASLError", "VirtualHostAccessFailure", "AccessRefused")


class Place(NamedTuple):
    """Where a server is, and how one is let in."""

    host: str
    port: int
    user: str
    password: str
    vhost: str
    tls: Optional[dict[str, str]]
    """The files of TLS by their names in the URL; None without TLS."""


def place_of(url: ServerUrl) -> Place:
    """What a URL says. Raises `UsageError`."""
    text = url.read()
    try:
        found = urlsplit(text)
        port = found.port
    except ValueError as error:
        msg = f"{url!r}: {url.without_secrets(str(error))}"
        raise UsageError(msg) from None
    is_tls = found.scheme.endswith("+tls")
    files = {name: values[0] for name, values in parse_qs(found.query).items()}
    unknown = set(files) - ({"cafile", "certfile", "keyfile"} if is_tls else set())
    if unknown:
        msg = f"{url!r}: {min(unknown)!r} in the URL is not known: expected cafile, certfile or keyfile, with +tls://"
        raise UsageError(msg)
    return Place(
        found.hostname or "localhost",
        port or (5551 if is_tls else 5552),
        unquote(found.username or "guest"),
        unquote(found.password or "guest"),
        check_name(unquote(found.path[1:]) or "/", "the virtual host"),
        files if is_tls else None,
    )


def check_name(name: str, what: str) -> str:
    """A name that the client can send. Raises `UsageError` for one that it cannot."""
    if not isinstance(name, str) or not name or not name.isascii() or len(name) > 255:
        msg = f"{what} is {name!r}: expected up to 255 ASCII characters, as the client library sends no others"
        raise UsageError(msg)
    return name


class StreamLink:
    """One connection; made by `StreamLink.open`, used on one event loop."""

    def __init__(self, client: Any, gone: asyncio.Future[str]) -> None:
        self.client = client
        """An `rstream.client.Client`."""
        self.gone = gone
        """Done when the connection has ended, or a stream that is used here has moved."""
        self._subscribed: dict[int, Callable[[Any], None]] = {}
        """Who takes the chunks of each subscription, by its number."""
        self._waiting: set[int] = set()
        self._published: Optional[asyncio.Future[None]] = None

    @classmethod
    async def open(cls, place: Place, described: str) -> StreamLink:
        """Connect and log in. Raises `InputError`, `OSError` or `asyncio.TimeoutError`."""
        gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        client = _client_class()(
            place.host,
            place.port,
            ssl_context=_context(place, described),
            frame_max=FRAME_BYTES,
            heartbeat=_HEARTBEAT_S,
            connection_name="headway",
            connection_closed_handler=lambda about: None,
        )

        def lost() -> None:
            if not gone.done():
                gone.set_result("the connection has ended")

        client.on_lost = lost
        link = cls(client, gone)
        client.on_chunk = link._delivered
        client.add_handler(_schema().MetadataUpdate, lambda update: lost(), name="moved")
        try:
            with _translated(described):
                await client.start()
                await link.ask(client.authenticate(place.vhost, place.user, place.password))
        except BaseException:
            await link.close()
            raise
        return link

    async def ask(self, answer: Awaitable[_Answered]) -> _Answered:
        """The answer; a `ConnectionError` when the connection ends before it."""
        return await answered(answer, self.gone)

    async def stream_exists(self, stream: str, described: str) -> bool:
        """Whether a stream is there. What was sent before this has been done when the answer comes."""
        with _translated(described):
            return bool(await self.ask(self.client.stream_exists(stream)))

    async def partitions(self, super_stream: str, described: str) -> list[str]:
        """The streams of a super stream; none where there is no such thing."""
        with _translated(described):
            return list(await self.ask(self.client.partitions(super_stream)))

    async def node_of(self, stream: str, described: str, *, is_leader: bool) -> Optional[tuple[str, int]]:
        """Host and port of a node that has a stream: its leader, or rather a copy; None where there is no stream."""
        from rstream.exceptions import StreamDoesNotExist

        with _translated(described):
            try:
                leader, copies = await self.ask(self.client.query_leader_and_replicas(stream))
            except StreamDoesNotExist:
                return None
        node = leader if is_leader or not copies else copies[0]
        return str(node.host), int(node.port)

    async def subscribe(
        self, stream: str, spec: Any, credit: int, described: str, take: Callable[[Any], None]
    ) -> Optional[int]:
        """Have chunks of a stream given to `take`; returns a number to `credit` with, None where there is no stream.

        Returns when the first of them have come, as far as there are any. The protocol has 256 numbers for the
        subscriptions of a connection: one is free again after `unsubscribe`.
        """
        from rstream.exceptions import StreamDoesNotExist

        number = next((free for free in range(_SUBSCRIPTIONS) if free not in self._subscribed), None)
        if number is None:
            msg = f"{described} cannot be read: {_SUBSCRIPTIONS} streams are read by this connection; use more workers"
            raise InputError(msg)
        self._subscribed[number] = take
        with _translated(described):
            try:
                await self.ask(self.client.subscribe(stream, number, spec, initial_credit=credit))
            except StreamDoesNotExist:
                del self._subscribed[number]
                return None
        # The server answers in order, and sends what a new subscription can get before it looks at what is next.
        await self.stream_exists(stream, described)
        return number

    async def unsubscribe(self, number: int, described: str) -> None:
        """End a subscription: its chunks no longer come once this has returned, and its number is free."""
        with _translated(described):
            await self.ask(self.client.unsubscribe(number))
        del self._subscribed[number]

    async def first_chunk(self, stream: str, spec: Any, described: str) -> Any:
        """The chunk with which a subscription would begin now; None where it would wait for one."""
        found: list[Any] = []
        number = await self.subscribe(stream, spec, 1, described, found.append)
        if number is not None:
            await self.unsubscribe(number, described)
        return found[0] if found else None

    def _delivered(self, chunk: Any) -> None:
        """Give a chunk to the subscription that it was sent for, and to no other one of this connection."""
        take = self._subscribed.get(chunk.subscription_id)
        if take is not None:
            take(chunk)

    async def credit(self, number: int) -> None:
        """Ask for one more chunk."""
        await self.ask(self.client.credit(number, 1))

    async def publisher(self, stream: str, reference: str, described: str) -> int:
        """Publish to a stream under a name from now on; returns the last number that the stream has of this name.

        0 where it has none. Raises `LookupError` where there is no stream. One for each connection.
        """
        from rstream import schema
        from rstream.exceptions import StreamDoesNotExist

        client = self.client
        client.add_handler(schema.PublishConfirm, self._confirmed, name="0")
        client.add_handler(schema.PublishError, self._not_published, name="0")
        with _translated(described):
            try:
                await self.ask(client.declare_publisher(stream, reference, 0))
            except StreamDoesNotExist as error:
                raise LookupError(stream) from error
        return await self.last_number(stream, reference, described)

    async def last_number(self, stream: str, reference: str, described: str) -> int:
        """The last number that a stream has of a name; 0 where it has none."""
        with _translated(described):
            return int(await self.ask(self.client.query_publisher_sequence(stream, reference)))

    async def publish(self, messages: Sequence[tuple[int, bytes]]) -> None:
        """Publish messages with numbers that grow, in one frame; returns when the stream has them all.

        Those whose number is not above the last one of the publisher are passed over by the server, and confirmed. One
        frame is under way at a time. Raises `ConnectionError` when nobody knows what of it is in the stream.
        """
        from rstream import schema

        self._waiting = {number for number, _ in messages}
        self._published = asyncio.get_running_loop().create_future()
        frame = schema.Publish(0, [schema.Message(number, None, data) for number, data in messages])
        await self.ask(self.client.send_publish_frame(frame))
        await self.ask(self._published)

    def _confirmed(self, frame: Any) -> None:
        self._waiting.difference_update(frame.publishing_ids)
        if not self._waiting and self._published is not None and not self._published.done():
            self._published.set_result(None)

    def _not_published(self, frame: Any) -> None:
        codes = sorted({error.response_code for error in frame.errors})
        if self._published is not None and not self._published.done():
            self._published.set_exception(ConnectionError(f"the server does not take messages (codes {codes})"))

    async def close(self) -> None:
        """End the connection, whatever state it is in."""
        with suppress(Exception):
            await self.client.close()


def _schema() -> Any:
    from rstream import schema

    return schema


@cache
def _client_class() -> Any:
    """The client's connection, that says when it is lost. A class of a library that may not be there.

    It hands each chunk on as it is read. The client itself would give every chunk to all subscriptions.
    """
    from rstream import schema
    from rstream.client import Client
    from rstream.encoding import decode_frame

    # What it logs is raised here as well: without a handler of the user's it need not be on the terminal.
    logging.getLogger("rstream").addHandler(logging.NullHandler())

    class _Client(Client):
        on_lost: Callable[[], Any] = staticmethod(lambda: None)
        on_chunk: Callable[[Any], Any] = staticmethod(lambda chunk: None)

        async def start(self) -> None:
            await super().start()
            # Nothing was read yet: the listener runs when this waits for something.
            connection = self._conn
            assert connection is not None

            async def read_frame() -> schema.Frame:
                data = await connection._read_frame_raw()
                if data[:2] == _PARTITIONS:  # RabbitMQ before 3.11 forgets to say that this is an answer.
                    data[0] |= 0x80
                frame = decode_frame(bytes(data))
                if isinstance(frame, schema.Deliver):
                    self.on_chunk(frame)
                return frame

            setattr(connection, "read_frame", read_frame)  # noqa: B010 - mypy lets nobody assign a method.

        async def _listener(self) -> None:
            try:
                await super()._listener()
            except Exception:  # Such as a frame that is damaged, or of a kind that it does not know.
                logging.getLogger("rstream").debug("a frame cannot be read", exc_info=True)
            finally:
                self._is_not_closed = False
                self.on_lost()

        async def query_publisher_sequence(self, stream: str, reference: str) -> int:
            # The client takes an error for 0.
            query = schema.QueryPublisherSequence(self._corr_id_seq.next(), publisher_ref=reference, stream=stream)
            return int((await self.sync_request(query, schema.QueryPublisherSequenceResponse)).sequence)

        async def close(self) -> None:
            # The client's own way takes a fifth of a second, and leaves open what has ended on the other side.
            try:
                if self.is_connection_alive() and self.is_started:
                    goodbye = schema.Close(self._corr_id_seq.next(), code=1, reason="OK")
                    with suppress(Exception):
                        await asyncio.wait_for(self.sync_request(goodbye, schema.CloseResponse), _GOODBYE_S)
            finally:  # Also where whoever waits for the end is cancelled.
                self._is_not_closed = False
                for task in self._tasks.values():
                    task.cancel()
                connection, self._conn = self._conn, None
                if connection is not None:
                    with suppress(OSError):
                        await connection.close()

    return _Client


@contextmanager
def _translated(described: str) -> Iterator[None]:
    """Errors of the client as those of this module; but `StreamDoesNotExist`, which means something to who asks."""
    from rstream import exceptions

    try:
        yield
    except exceptions.StreamDoesNotExist:
        raise
    except (exceptions.ServerError, exceptions.ClientError) as error:
        kind = type(error).__name__
        if kind in _REFUSED:
            msg = f"{described} refuses to let us in ({kind}): check user, password, virtual host and permissions"
            raise InputError(msg) from error
        msg = f"the server says {kind}"
        raise ConnectionError(msg) from error
    except ssl.SSLError as error:
        msg = f"{described}: TLS fails: {error.reason or error}; check cafile, certfile and keyfile in the URL"
        raise InputError(msg) from error


def _context(place: Place, described: str) -> Optional[ssl.SSLContext]:
    if place.tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=place.tls.get("cafile"))
        if "certfile" in place.tls:
            context.load_cert_chain(place.tls["certfile"], place.tls.get("keyfile"))
    except OSError as error:
        msg = f"{described}: the files of TLS cannot be read: {error}"
        raise InputError(msg) from error
    return context
