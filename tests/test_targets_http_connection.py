"""What the client makes of the bytes of an answer, however they are cut; and whether a connection serves again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hostile_server import HostileServer, Request, hang, raw, respond
from tests.targets_harness import run

pytest.importorskip("httptools", reason="httptools is not installed: pip install 'headway[http]'")

from headway.targets import http_client
from headway.targets.addresses import AddressPolicy
from headway.targets.http_client import HttpClient
from headway.targets.http_connection import BODY_MAX, Connection, NoAnswerError, Response
from headway.targets.urls import Address

LATE_S = 50.0


class Wire(asyncio.Transport):
    """Keeps what is written; nothing comes from it by itself."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.written = b""
        self.is_broken = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.is_broken

    def abort(self) -> None:
        self.is_broken = True


class Scripted(NamedTuple):
    """An answer as bytes, and what there is to know of it."""

    sent: bytes
    status: int
    body: bytes
    ends_by_itself: bool
    serves_again: bool


@st.composite
def scripted(draw: st.DrawFn) -> Scripted:
    version = draw(st.sampled_from(["1.0", "1.1"]))
    status = draw(st.sampled_from([200, 202, 204, 302, 400, 429, 503]))
    body = b"" if status == 204 else draw(st.binary(max_size=40)) * draw(st.sampled_from([1, 1, 1, 600]))
    framing = draw(st.sampled_from(["length", "chunked", "close"])) if status != 204 else "none"
    if framing == "chunked" and version == "1.0":
        framing = "length"
    said = draw(st.sampled_from(["", "connection: close\r\n", "connection: keep-alive\r\n"]))
    before = b"".join(
        f"HTTP/1.1 {early} Early\r\nlink: </x>\r\nretry-after: 99\r\n\r\n".encode()
        for early in draw(st.lists(st.sampled_from([100, 102, 103]), max_size=2))
    )
    head = f"HTTP/{version} {status} Whatever\r\nRetry-After: 7\r\n{said}"
    if framing == "length":
        payload, head = body, f"{head}Content-Length: {len(body)}\r\n"
    elif framing == "chunked":
        cuts = draw(st.integers(1, 50))
        parts = [body[at : at + cuts] for at in range(0, len(body), cuts)]
        payload = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\ntrailer: x\r\n\r\n"
        head += "Transfer-Encoding: chunked\r\n"
    else:
        payload = body
    keeps = "close" not in said if version == "1.1" else "keep-alive" in said
    # Where a body ends by the end of the connection, there is no connection left.
    serves_again = keeps and framing != "close" and len(body) < BODY_MAX
    ends = framing != "close" or len(body) >= BODY_MAX
    return Scripted(before + head.encode() + b"\r\n" + payload, status, body, ends, serves_again)


@contextmanager
def wired() -> Iterator[tuple[Connection, Wire]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = Wire(ours)
        connection = Connection(asyncio.get_running_loop(), set())
        connection.connection_made(wire)
        yield connection, wire


async def exchanged(connection: Connection, sent: bytes, cuts: list[int], *, ends: bool) -> Response:
    """What comes of a request that these bytes answer, cut into parts."""
    until_s = asyncio.get_running_loop().time() + LATE_S
    task = asyncio.ensure_future(connection.exchange(b"POST / HTTP/1.1\r\n\r\n", b"", until_s))
    await asyncio.sleep(0)
    places = sorted({cut % (len(sent) + 1) for cut in cuts} | {0, len(sent)})
    for begin, end in pairwise(places):
        if not task.done():
            connection.data_received(sent[begin:end])
            await asyncio.sleep(0)
    if not ends:
        connection.connection_lost(None)
    return await task


@given(st.lists(scripted(), min_size=1, max_size=3), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_answers_one_after_the_other(answers: list[Scripted], cuts: list[int]) -> None:
    """Against what was put into them; on one connection for as long as it serves."""

    async def check() -> None:
        with wired() as (connection, _):
            for answer in answers:
                found = await exchanged(connection, answer.sent, cuts, ends=answer.ends_by_itself)
                assert (found.status, found.body) == (answer.status, answer.body[:BODY_MAX])
                assert found.headers[b"retry-after"] == b"7" and b"link" not in found.headers
                assert connection.is_reusable is answer.serves_again
                if not answer.serves_again:
                    break

    run(check())


@given(scripted(), st.binary(min_size=1, max_size=30), st.integers(0, 1 << 20))
def test_what_comes_behind_an_answer(answer: Scripted, more: bytes, cut: int) -> None:
    """Whether at once or later: the answer counts, and the connection serves no other."""
    if not answer.ends_by_itself or not more.strip(b"\r\n"):
        return

    async def check() -> None:
        with wired() as (connection, wire):
            found = await exchanged(connection, answer.sent + more, [len(answer.sent)] if cut % 2 else [], ends=True)
            assert found.status == answer.status
            if connection.is_reusable:
                connection.data_received(more)
            assert wire.is_broken and not connection.is_silent()

    run(check())


@given(st.binary(max_size=200), st.lists(st.integers(0, 1 << 20), max_size=4))
def test_anything_at_all(sent: bytes, cuts: list[int]) -> None:
    """No bytes raise anything else, hang, or are taken for an answer without a status line."""

    async def check() -> None:
        with wired() as (connection, _):
            try:
                await exchanged(connection, sent, cuts, ends=False)
            except NoAnswerError:
                return
            assert sent.lstrip(b"\r\n").startswith(b"HTTP/")

    run(check())


def test_more_is_looked_for_on_the_wire() -> None:
    async def check() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            connection = Connection(asyncio.get_running_loop(), set())
            connection.connection_made(Wire(ours))
            assert connection.is_silent()
            theirs.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            assert not connection.is_silent()

    run(check())


def exchange_with(*requests: tuple[Any, bytes], until: float = 5.0) -> tuple[list[Any], HostileServer]:
    """What comes of requests, each with what the server does to it, over a real socket; and the server."""

    async def exchange() -> tuple[list[Any], HostileServer]:
        behaviours = [behaviour for behaviour, _ in requests]

        async def answer(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await behaviours.pop(0)(request, reader, writer)

        found: list[Any] = []
        async with HostileServer(answer) as server:
            client = HttpClient(AddressPolicy())
            for _, body in requests:
                head = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body)
                until_s = asyncio.get_running_loop().time() + until
                address = Address(False, "127.0.0.1", server.port, "x", "/")
                try:
                    found.append((await client.request(address, None, head, body, until_s)).status)
                except (NoAnswerError, asyncio.TimeoutError) as error:
                    found.append(error)
            await client.close()
            assert not client._open
        return found, server

    return run(exchange())


def test_a_connection_serves_again() -> None:
    found, server = exchange_with(*[(respond(), b"x")] * 5)
    assert found == [204] * 5 and server.connections == 1


@pytest.mark.parametrize(
    "first",
    [
        raw(b"HTTP/1.0 204 No Content\r\n\r\n", close=False),
        raw(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", close=False),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nand more", close=False),
        raw(b"HTTP/1.1 101 Other\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", close=False),
        respond(200, body=b"x" * BODY_MAX),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n", close=False),
    ],
    ids=["old", "close", "more than said", "another protocol", "a long body", "no chunk"],
)
def test_a_connection_does_not_serve_again(first: Any) -> None:
    found, server = exchange_with((first, b"x"), (respond(), b"x"))
    assert found[1] == 204 and server.connections == 2


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nx: 1\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 103 Early\r\n\r\n" * 5_000,
    ],
    ids=["length and chunks", "bare line feed", "space before colon", "signed length", "version", "status", "early"],
)
def test_what_two_readers_could_understand_in_two_ways(sent: bytes) -> None:
    [error], _ = exchange_with((raw(sent, close=False), b"x"))
    assert isinstance(error, NoAnswerError) and "no HTTP" in str(error), error


def test_time_is_up() -> None:
    [late, kept], server = exchange_with((hang(), b"x"), (respond(), b"x"), until=0.2)
    assert isinstance(late, asyncio.TimeoutError) and kept == 204 and server.connections == 2


def test_a_connection_that_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed although nobody asks for it."""
    monkeypatch.setattr(http_client, "_IDLE_S", 0.0)

    async def exchange() -> None:
        async with HostileServer() as server:
            client = HttpClient(AddressPolicy())
            address = Address(False, "127.0.0.1", server.port, "x", "/")
            until_s = asyncio.get_running_loop().time() + LATE_S
            await client.request(address, None, b"POST / HTTP/1.1\r\n\r\n", b"", until_s)
            [connection] = client._open
            await connection.closed
            assert not client._open and not client._idle
            await client.close()

    run(exchange())


@pytest.mark.parametrize("is_there", [True, False])
def test_an_address_that_hangs_holds_up_nothing(is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address of a name never answers, the second refuses, and the third may be there."""
    monkeypatch.setattr(http_client, "_STAGGER_S", 0.01)

    class Policy(AddressPolicy):
        def socket_for(self, addr_info: tuple[Any, ...]) -> socket.socket:
            dialled.append(addr_info[4][0])
            return super().socket_for(addr_info)

    dialled: list[str] = []

    async def exchange() -> Optional[Response]:
        async with HostileServer() as server:
            client = HttpClient(Policy(deny=["127.0.0.2"]))
            places = ["127.0.0.9", "127.0.0.2", "127.0.0.1"]
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, server.port)) for place in places]
            address = Address(False, "shop.example", server.port, "x", "/")
            loop = asyncio.get_running_loop()
            client._resolved = (address, loop.time() + LATE_S, found if is_there else found[:2])
            connect = loop.sock_connect

            async def sock_connect(sock: socket.socket, to: Any) -> None:
                if to[0] == "127.0.0.9":
                    await asyncio.Event().wait()
                await connect(sock, to)

            monkeypatch.setattr(loop, "sock_connect", sock_connect)
            try:
                until_s = loop.time() + (LATE_S if is_there else 0.2)
                return await client.request(address, None, b"POST / HTTP/1.1\r\n\r\n", b"", until_s)
            except asyncio.TimeoutError:
                return None
            finally:
                await client.close()

    found = run(exchange())
    assert (found is not None) is is_there
    assert dialled == (["127.0.0.9", "127.0.0.2", "127.0.0.1"] if is_there else ["127.0.0.9", "127.0.0.2"])
