"""What tests of RabbitMQ share: streams that are made, filled and deleted by the client's own producer."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tests.servers import RabbitServer

NAMES = itertools.count()


def asked(server: RabbitServer, what: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """What a producer of streams answers. Streams are not there at once after a start of the server."""
    from rstream import Producer, ServerError

    async def ask() -> Any:
        for _ in range(600):
            producer = Producer("127.0.0.1", server.stream_port, username="guest", password="guest")
            try:
                return await what(producer)
            except ServerError as error:
                if type(error).__name__ != "StreamNotAvailable":
                    raise
                await asyncio.sleep(0.1)
            finally:
                await producer.close()
        raise AssertionError("the stream is not there after a minute")

    return asyncio.run(ask())


def stream_of(server: RabbitServer, name: str | None = None, **settings: Any) -> str:
    """A stream that is new."""
    name = name or f"orders-{next(NAMES)}"

    async def make(producer: Any) -> None:
        await producer.create_stream(name, arguments={key.replace("_", "-"): value for key, value in settings.items()})

    asked(server, make)
    return name


def delete(server: RabbitServer, stream: str) -> None:
    asked(server, lambda producer: producer.delete_stream(stream))


def put(server: RabbitServer, stream: str, messages: Sequence[Any], *, chunk: int = 4, packed: bool = False) -> None:
    """Publish messages, each so many in a chunk of the server's; `packed`: as one entry that is compressed."""

    async def publish(producer: Any) -> None:
        from rstream import CompressionType

        for begin in range(0, len(messages), chunk):
            part = list(messages[begin : begin + chunk])
            left = asyncio.Semaphore(0)

            def confirmed(status: Any, left: asyncio.Semaphore = left) -> None:
                assert status.is_confirmed
                left.release()

            if packed:
                gzip = CompressionType.Gzip
                await producer.send_sub_entry(stream, part, compression_type=gzip, on_publish_confirm=confirmed)
            else:
                await producer.send_batch(stream, part, on_publish_confirm=confirmed)
            for _ in part[:1] if packed else part:
                await asyncio.wait_for(left.acquire(), 10)

    asked(server, publish)


def message(n: int) -> Any:
    from rstream import AMQPMessage, Properties

    body = json.dumps({"n": n}).encode()
    return AMQPMessage(
        body=body, properties=Properties(message_id=str(n)), application_properties={"user": f"u{n}", "count": n}
    )


def messages(numbers: range) -> list[Any]:
    return [message(n) for n in numbers]


def plain(numbers: range) -> list[bytes]:
    return [json.dumps({"n": n}).encode() for n in numbers]
