"""The guards of every server, through real sockets: who may ask, how much, how slowly."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest
from tests.web_harness import ask, connect, is_closed, read_answer, request_bytes, served

from headway.errors import UsageError
from headway.web.addresses import Address, listen, parse_address, refuse_open
from headway.web.limits import ConnectionLimits
from headway.web.middleware import Gate, guarded, host_names, read_body
from headway.web.problems import ProblemError, Receive, Scope, Send, answer
from headway.web.tokens import Tokens

TOKEN = "correct-horse-battery-staple"
LOOPBACK = host_names(Address("127.0.0.1", 0))


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await read_body(receive)
    if scope["path"] == "/fails":
        msg = f"secret {body!r}"
        raise ValueError(msg)
    await answer(send, 200, body or b"none", b"text/plain")


def test_who_may_ask() -> None:
    gate = Gate()
    with served(guarded(echo, gate=gate, tokens=Tokens([TOKEN]), hosts=LOOPBACK), gate=gate) as at:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert ask(at, "POST", "/", b"hello", bearer).body == b"hello"
        assert ask(at, "POST", "/", b"hello", {"authorization": f"bearer  {TOKEN}"}).status == 200
        for wrong in (
            "Bearer ",
            "Bearer x",
            TOKEN,
            f"Basic {TOKEN}",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "\xff",
        ):
            found = ask(at, "POST", "/", b"hello", {"authorization": wrong})
            assert found.status == 401
            assert found.headers["www-authenticate"] == "Bearer"
            assert found.headers["content-type"] == "application/problem+json"
            assert TOKEN not in found.body.decode()
        for host in ("evil.example", "localhost.evil.example", "127.0.0.2", "", "[::2]:80"):
            assert ask(at, "POST", "/", b"", bearer, host=host).status == 421
        for host in ("localhost:80", "LOCALHOST", "127.0.0.1:1", "[::1]:80"):
            assert ask(at, "POST", "/", b"", bearer, host=host).status == 200
        assert ask(at, "GET", "/healthz", host="evil.example").status == 200
        assert ask(at, "GET", "/readyz").status == 200
        gate.not_ready = lambda: "the disk is full"
        assert ask(at, "GET", "/readyz").json["detail"] == "the disk is full"
        gate.drain()
        assert ask(at, "POST", "/", b"hello", bearer).status == 503
        assert ask(at, "GET", "/readyz").status == 503


def test_sizes() -> None:
    with served(guarded(echo, max_body=1_000)) as at:
        assert ask(at, "POST", "/", b"x" * 1_000).status == 200
        assert ask(at, "POST", "/", b"x" * 1_001).json["limit"] == 1_000
        # More than the buffers of both sockets hold: the answer is read although the body was not.
        assert ask(at, "POST", "/", b"x" * 900_000).status == 413
        chunk = b"%x\r\n%s\r\n" % (600, b"x" * 600)
        chunked = {"transfer-encoding": "chunked"}
        assert ask(at, "POST", "/", chunk + b"0\r\n\r\n", chunked).body == b"x" * 600
        assert ask(at, "POST", "/", 2 * chunk + b"0\r\n\r\n", chunked).status == 413
        with connect(at) as sock:
            sock.sendall(request_bytes("POST", "/", None, {"content-length": "99999", "expect": "100-continue"}))
            assert read_answer(sock).status == 413
            assert is_closed(sock)
        with connect(at) as sock:
            sock.sendall(request_bytes("POST", "/", None, {"content-length": "5", "expect": "100-continue"}))
            assert read_answer(sock).status == 100
            sock.sendall(b"hello")
            assert read_answer(sock).body == b"hello"


def test_lies_about_lengths() -> None:
    with served(guarded(echo, max_body=1_000), limits=ConnectionLimits(body_s=0.2)) as at:
        for value in ("-1", "1x", "99999999999999999999999", "5, 6"):
            assert ask(at, "POST", "/", b"hello", {"content-length": value}).status in (400, 413)
        both = {"content-length": "5", "transfer-encoding": "chunked"}
        assert ask(at, "POST", "/", b"hello", both).status == 400
        with connect(at) as sock:
            sock.sendall(request_bytes("POST", "/", b"half", {"content-length": "1000"}))
            assert read_answer(sock).status == 408
        with connect(at) as sock:  # Endless chunks after the answer are not read for ever.
            sock.sendall(request_bytes("POST", "/", None, {"transfer-encoding": "chunked"}))
            piece = b"%x\r\n%s\r\n" % (60_000, b"x" * 60_000)
            with pytest.raises(OSError):
                while True:
                    sock.sendall(piece)


def test_slow_and_idle() -> None:
    with served(guarded(echo), limits=ConnectionLimits(head_s=0.2, body_s=0.2)) as at:
        for sent in (b"", b"POST / HT", request_bytes("GET", "/")):
            with connect(at) as sock:
                sock.sendall(sent)
                assert is_closed(sock)


def test_idle_ones_make_room() -> None:
    with served(guarded(echo), limits=ConnectionLimits(connections=200)) as at:
        idle = [connect(at) for _ in range(1_000)]
        with connect(at) as sock:
            for _ in range(3):
                sock.sendall(request_bytes("POST", "/", b"hello"))
                assert read_answer(sock).body == b"hello"
        assert is_closed(idle[0])
        for sock in idle:
            sock.close()


def test_floods_of_headers() -> None:
    with served(guarded(echo)) as at:
        assert ask(at, "GET", "/", None, {f"x-{number}": "y" for number in range(500)}).status == 431
        assert ask(at, "GET", "/", None, {"x": "y" * 200_000}).status == 431
        assert ask(at, "GET", "/" + "a" * 200_000).status == 431
        trailers = "".join(f"x-{number}: y\r\n" for number in range(500)).encode()
        assert ask(at, "POST", "/", b"0\r\n" + trailers + b"\r\n", {"transfer-encoding": "chunked"}).status in (
            431,
            200,
        )
        assert ask(at, "GET", "/", None, {"upgrade": "websocket", "connection": "upgrade"}).status == 200
        with connect(at) as sock:
            sock.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
            assert read_answer(sock).status == 400


def test_pipelined_requests_are_answered_in_order() -> None:
    with served(guarded(echo)) as at, connect(at) as sock:
        sock.sendall(b"".join(request_bytes("POST", "/", b"%d" % number) for number in range(20)))
        data = b""
        while data.count(b"HTTP/1.1") < 20 or not data.endswith(b"19"):
            data += sock.recv(65_536)
        assert [int(part.rpartition(b"\r\n")[2]) for part in data.split(b"HTTP/1.1")[1:-1] if part]


def test_too_many_at_once() -> None:
    gate = Gate()
    with served(guarded(echo, gate=gate, max_concurrency=1), gate=gate) as at, connect(at) as slow:
        slow.sendall(request_bytes("POST", "/", b"", {"content-length": "5", "expect": "100-continue"}))
        assert read_answer(slow).status == 100
        found = ask(at, "POST", "/", b"x" * 100_000)
        assert (found.status, found.headers["retry-after"]) == (429, "1")
        slow.sendall(b"hello")
        assert read_answer(slow).body == b"hello"
        assert ask(at, "POST", "/", b"x").status == 200
        assert gate.refused == 1


def test_what_fails_inside_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "headway"), served(guarded(echo)) as at:
        found = ask(at, "POST", "/fails", b"hello")
    assert found.status == 500
    assert b"secret" not in found.body
    assert "secret" in caplog.text


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "tokens"
    place.write_text(f"{TOKEN}\n\nanother-token-of-today\n")
    tokens = Tokens.load([f"file:{place}"], "--token")
    assert all(tokens.admit(f"Bearer {token}".encode()) for token in (TOKEN, "another-token-of-today"))
    assert TOKEN not in repr(tokens) + str(vars(tokens))
    monkeypatch.setenv("SHORT", "short")
    monkeypatch.delenv("UNSET", raising=False)
    for wrong in ("env:SHORT", "env:UNSET", f"file:{tmp_path}/none", TOKEN, "env:", f"file:{tmp_path}"):
        with pytest.raises(UsageError) as refused:
            Tokens.load([wrong], "--token")
        assert TOKEN not in str(refused.value)
    (tmp_path / "binary").write_bytes(os.urandom(64) + b"\xff")
    with pytest.raises(UsageError):
        Tokens.load([f"file:{tmp_path}/binary"], "--token")


@pytest.mark.parametrize("text", ["", "x", "1:2:3", "::1:80", "localhost:", "localhost:70000", "localhost:-1", "h:٣"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        parse_address(text, "--listen")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "shop.example", "127.1"])
def test_open_addresses_need_a_token(host: str) -> None:
    refuse_open(Address(host, 80), "--listen", has_token=True, option="--token")
    with pytest.raises(UsageError, match="--token env:"):
        refuse_open(Address(host, 80), "--listen", has_token=False, option="--token")


def test_a_port_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.web.addresses._FORMER_S", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="in use; give another"):
        listen(Address("127.0.0.1", taken.getsockname()[1]), "--listen")
    with pytest.raises(UsageError, match="cannot listen"):
        listen(Address("no-such-host.invalid", 0), "--listen")


def test_problems_carry_more() -> None:
    assert ProblemError(422, "wrong", field="$.at").body == (
        b'{"title":"Unprocessable Entity","status":422,"detail":"wrong","field":"$.at"}'
    )
