"""A server in a thread, and a client that speaks HTTP byte by byte."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from headway.web.addresses import Address, listen
from headway.web.host import serve
from headway.web.limits import ConnectionLimits
from headway.web.middleware import Gate
from headway.web.problems import App

TIMEOUT_S = 20.0


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextlib.contextmanager
def served(app: App, *, gate: Gate | None = None, limits: ConnectionLimits | None = None) -> Iterator[Address]:
    """Serve an application on a free port of loopback."""
    sock = listen(Address("127.0.0.1", 0), "the test")
    stop = threading.Event()

    def run() -> None:
        serve(app, [sock], gate=gate, limits=limits, stopping=stop.is_set, drain_s=1.0)

    thread = threading.Thread(target=run)
    address = Address("127.0.0.1", sock.getsockname()[1])
    thread.start()
    try:
        yield address
    finally:
        stop.set()
        thread.join()
        sock.close()


def connect(address: Address) -> socket.socket:
    return socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)


def request_bytes(
    method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, host: str = "localhost"
) -> bytes:
    fields = {"host": host, **(headers or {})}
    if body is not None and "transfer-encoding" not in fields:
        fields.setdefault("content-length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")


def read_answer(sock: socket.socket) -> Answer:
    """One response; of status 0 when the server has closed the connection instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = _receive(sock)
        if not piece:
            return Answer(0, {}, data)
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    status = int(lines[0].split()[1])
    size = int(headers.get("content-length", "0"))
    while len(body) < size and status >= 200:
        piece = _receive(sock)
        if not piece:
            break
        body += piece
    return Answer(status, headers, body)


def ask(
    address: Address,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    host: str = "localhost",
) -> Answer:
    """One request on a connection of its own."""
    with connect(address) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(request_bytes(method, path, body, headers, host))
        return read_answer(sock)


def is_closed(sock: socket.socket) -> bool:
    """Wait until the other side closes."""
    while True:
        if not _receive(sock):
            return True


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65_536)
    except ConnectionError:
        return b""
