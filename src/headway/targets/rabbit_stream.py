"""Triggers into a stream of RabbitMQ, exact: the stream itself keeps how far each publisher is.

A publisher of a stream may have a name, and its messages numbers that grow. The server passes over what is not above
the last number of the name, and keeps that number with the messages, in the stream. So each place of an outbox is a
publisher, named after it, and a trigger's number is its place's number: what comes again after an answer that was lost
is confirmed and not written. When a publisher is declared its last number is read back; that of the names from before
the key groups were divided otherwise says what of a place is in already.

Two things are to be minded. One frame of a publisher is under way at a time: behind a frame that failed nothing must
get in, as what has failed would then be passed over. And whether a message is too large must not depend on the server,
whose limit may be another one tomorrow: one that was refused then comes again, below the last number, and would seem
to be in.

Rejected: to answer DONE for what is not above the number that was read back. A leader says what it has, and not what
its copies have; when it is lost before they do, those triggers would be, too. What is sent again is confirmed only when
it is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final, Optional

from headway.basics.needed import needed
from headway.basics.times import Duration
from headway.connectors.amqp import message_of
from headway.connectors.rabbit_link import FRAME_BYTES, StreamLink, check_name, place_of
from headway.connectors.server_url import STREAMS, ServerUrl
from headway.connectors.wording import wording
from headway.errors import InputError, OutputError, UsageError
from headway.targets.base import DONE, Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.cloudevents import attributes
from headway.targets.limits import limits_of
from headway.targets.positions import answers_placed, by_place

__all__ = ["RabbitStream", "to_rabbitmq_stream"]

_OVERHEAD: Final = 64
"""Bytes of a frame beside its messages, at most; and of each message."""
_MESSAGE_MOST: Final = FRAME_BYTES - 2 * _OVERHEAD


def to_rabbitmq_stream(
    url: str,
    stream: str,
    *,
    batch: int = 500,
    concurrency: int = 4,
    rate: Optional[float] = None,
    timeout: Duration = "20s",
    advertised: bool = True,
    name: Optional[str] = None,
) -> RabbitStream:
    """Write triggers to a stream of RabbitMQ, each exactly once, as far as the stream's copies keep it.

    A message is of AMQP 1.0: its body is the value as JSON, the attributes of the CloudEvent are application properties
    `cloudEvents:id`, `cloudEvents:type` and so on, and its message id is the trigger's id. The stream has to be there.
    `batch` triggers are one frame. A message of more than a megabyte goes to the dead letters. `url` and `advertised`
    are as for `hw.rabbitmq_stream`. Needs the extra `rabbitmq`. Raises `UsageError` for an option that cannot be.

    >>> to_rabbitmq_stream("rabbitmq-stream://localhost:5552", "abandoned-carts")
    <RabbitStream rabbitmq stream localhost:5552 abandoned-carts>
    """
    limits = limits_of(
        concurrency=concurrency,
        rate=rate,
        timeout=timeout,
        batch=batch,
        concurrency_most=100,
        timeout_least_ms=100,
    )
    address = ServerUrl(url, "to_rabbitmq_stream(...)", STREAMS)
    if address.reference is None:
        place_of(address)
    return RabbitStream(address, stream, limits, uses_advertised=advertised, name=name)


class RabbitStream(Target):
    """A stream that takes triggers; made by `hw.to_rabbitmq_stream`."""

    guarantee = Guarantee.EXACT
    in_order = True

    def __init__(
        self,
        address: ServerUrl,
        stream: str,
        limits: Limits,
        *,
        uses_advertised: bool = True,
        name: Optional[str] = None,
    ) -> None:
        self.limits = limits
        self._address = address
        self._stream = check_name(stream, "to_rabbitmq_stream(...): the name of the stream")
        self._uses_advertised = uses_advertised
        self._name = name or f"rabbitmq stream {address.shown} {stream}"
        self._publishers: dict[str, _Publisher] = {}
        """By place."""

    @property
    def name(self) -> str:
        """`rabbitmq stream`, the server and the stream."""
        return self._name

    def check(self) -> None:
        """Look whether the library and the URL are there."""
        needed("rstream", "rabbitmq", "hw.to_rabbitmq_stream(...)")
        place_of(self._address)

    async def open(self) -> None:
        """Look whether the library is there; connections are made when they are needed."""
        self.check()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Publish the batch, each place in it by its own publisher."""
        answers: dict[str, Sequence[Answer]] = {}
        for place, deliveries in by_place(batch).items():
            answers[place] = await self._publishers.setdefault(place, _Publisher(self, place)).write(deliveries)
        return answers_placed(batch, answers)

    async def look(self) -> str:
        """Ask whether the stream is there."""
        try:
            link = await self._connected()
        except LookupError as error:
            msg = f"there is no stream {self._stream}: make it"
            raise OutputError(msg) from error
        except (InputError, UsageError, OSError, asyncio.TimeoutError) as error:
            reason = wording(error)
            raise OutputError(self._address.without_secrets(reason)) from error
        await link.close()
        return f"the stream {self._stream} is there"

    async def close(self) -> None:
        """End all connections."""
        publishers, self._publishers = self._publishers, {}
        for publisher in publishers.values():
            await publisher.close()

    async def _connected(self) -> StreamLink:
        """A connection to the node that leads the stream. Raises `LookupError` where there is no stream."""
        place = place_of(self._address)
        link = await StreamLink.open(place, self._name)
        try:
            node = await link.node_of(self._stream, self._name, is_leader=True)
            if node is None:
                raise LookupError(self._stream)
            if not self._uses_advertised or node == (place.host, place.port):
                return link
        except BaseException:
            await link.close()
            raise
        await link.close()
        return await StreamLink.open(place._replace(host=node[0], port=node[1]), self._name)


class _Publisher:
    """What writes the triggers of one place."""

    def __init__(self, target: RabbitStream, place: str) -> None:
        self._target = target
        self._place = place
        self._link: Optional[StreamLink] = None
        self._passed = 0
        """The last number that the stream has of the place under the names that it had before."""
        self._lock = asyncio.Lock()

    async def write(self, batch: Sequence[Delivery]) -> list[Answer]:
        """Write deliveries of the place; answers in their order."""
        answers: dict[int, Answer] = {}
        reason = ""
        async with self._lock:
            try:
                link = await self._linked(batch[0].former_places)
                for frame in self._frames(batch, answers):
                    await link.publish([(number, message) for number, message in frame.items()])
                    answers |= dict.fromkeys(frame, DONE)
            except LookupError:
                reason = f"there is no stream {self._target._stream}: make it"
            except (InputError, UsageError) as error:
                reason = str(error)
            except (OSError, asyncio.TimeoutError) as error:
                reason = wording(error)
            except asyncio.CancelledError:
                await self._end()  # What is under way may get in; another connection learns that.
                raise
            if reason:
                await self._end()
        rest = Answer(Outcome.RETRY, self._target._address.without_secrets(reason))
        found = [answers.get(one.number + 1, rest) for one in batch]
        # Behind the first one that comes again, all come again.
        first = found.index(rest) if rest in found else len(found)
        return found[:first] + [rest] * (len(found) - first)

    async def close(self) -> None:
        """End the connection."""
        async with self._lock:
            await self._end()

    def _frames(self, batch: Sequence[Delivery], answers: dict[int, Answer]) -> Iterator[dict[int, bytes]]:
        """Messages by their numbers, as many together as a frame takes; answers for those that are not sent."""
        frame: dict[int, bytes] = {}
        size = _OVERHEAD
        for delivery in batch:
            number = delivery.number + 1  # The server's numbers begin at 1: 0 is for none.
            if number <= self._passed:
                answers[number] = DONE
                continue
            found = {f"cloudEvents:{name}": value for name, value in attributes(delivery).items()}
            message = message_of(delivery.data, found, delivery.id, "application/json")
            if len(message) > _MESSAGE_MOST:
                told = f"{len(message)} bytes are more than a message of a stream may have: {_MESSAGE_MOST}"
                answers[number] = Answer(Outcome.NEVER, told)
                continue
            if size + len(message) + _OVERHEAD > FRAME_BYTES:
                yield frame
                frame, size = {}, _OVERHEAD
            frame[number] = message
            size += len(message) + _OVERHEAD
        if frame:
            yield frame

    async def _linked(self, former_places: Sequence[str]) -> StreamLink:
        link = self._link
        if link is not None and not link.gone.done():
            return link
        await self._end()
        target = self._target
        self._link = link = await target._connected()
        last = await link.publisher(target._stream, _reference(self._place), target._name)
        if last == 0:
            for former in former_places:
                number = await link.last_number(target._stream, _reference(former), target._name)
                self._passed = max(self._passed, number)
        return link

    async def _end(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()


def _reference(place: str) -> str:
    """The name of a place's publisher: names have at most 255 characters."""
    return f"headway-{blake2b(place.encode(), digest_size=16).hexdigest()}"
