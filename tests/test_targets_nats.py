"""NATS as a target when its connection ends at a bad moment."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.servers import nats_server
from tests.targets_harness import delivery_of, run, with_target

import headway as hw
from headway.targets.base import Outcome, Target

NAMES = itertools.count()


def test_a_client_that_is_closed_cancels_no_delivery() -> None:
    """Whoever connects again closes the client of before, and others may still wait for what they have published."""
    import nats

    server, subject = nats_server(), f"silent{next(NAMES)}"

    async def connected_again(target: Any) -> None:
        async with await nats.connect(server.url) as listener:
            heard = await listener.subscribe(subject)  # It takes the message, and does not answer.
            await listener.flush()
            waiting = asyncio.ensure_future(target.deliver([delivery_of(0)]))
            await heard.next_msg(10)
            await target._connect()
            [answer] = await waiting
            assert answer.outcome is Outcome.RETRY
            assert answer.reason == "the connection has ended"

    with_target(hw.to_nats(server.url, subject), connected_again)


def cutting(listener: socket.socket, greeting: bytes) -> None:
    """A server that greets, and closes."""
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client:
                client.sendall(greeting)
                client.settimeout(5)
                client.recv(1)


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n", b'INFO {"version":"2"}\r\n', b"INFO {\r\n"])
@pytest.mark.filterwarnings("error")
def test_a_connection_that_is_cut_in_its_handshake_is_closed(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nats", reason="nats-py is not installed: pip install 'headway[nats]'")
    opened: list[asyncio.StreamWriter] = []
    opening: Callable[..., Any] = asyncio.open_connection

    async def noted(*given: Any, **named: Any) -> Any:
        reader, writer = await opening(*given, **named)
        opened.append(writer)
        return reader, writer

    monkeypatch.setattr("asyncio.open_connection", noted)

    async def deliver(target: Target) -> None:
        [answer] = await target.deliver([delivery_of(0)])
        assert answer.outcome is Outcome.RETRY and answer.reason
        assert opened and all(writer.is_closing() for writer in opened)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=cutting, args=(listener, greeting))
        serving.start()
        try:
            with_target(hw.to_nats(f"nats://127.0.0.1:{listener.getsockname()[1]}", "a", timeout="1s"), deliver)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.join()


def test_a_connection_that_is_given_up_is_closed() -> None:
    """A server that says nothing: the delivery is cancelled, and the target is closed."""
    pytest.importorskip("nats", reason="nats-py is not installed: pip install 'headway[nats]'")
    with socket.create_server(("127.0.0.1", 0)) as silent:

        async def given_up() -> None:
            target = hw.to_nats(f"nats://127.0.0.1:{silent.getsockname()[1]}", "a")
            await target.open()
            task = asyncio.ensure_future(target.deliver([delivery_of(0)]))
            accepted, _ = await asyncio.get_running_loop().run_in_executor(None, silent.accept)
            with accepted:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await target.close()
                accepted.settimeout(5)
                while await asyncio.get_running_loop().run_in_executor(None, accepted.recv, 4_096):
                    pass  # Until it is closed from the other side.

        run(given_up())
