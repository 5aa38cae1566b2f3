"""The client of views for ordinary code, and its connections: none is lost, and no answer takes longer than it may."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headway.client import Client
from headway.client.protocol import Request
from headway.errors import ServiceError, UsageError


class Greeter(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *told: Any) -> None:
        """Nothing."""


def test_no_connection_is_lost_where_nothing_is_asked_or_somebody_interrupts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("mine")
    asking = Request("GET", "/", {})
    opened: list[socket.socket] = []
    connect = socket.create_connection

    def noted(*given: Any, **named: Any) -> socket.socket:
        opened.append(connect(*given, **named))
        return opened[-1]

    def interrupted(*given: Any) -> bytes:
        raise KeyboardInterrupt

    with ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        monkeypatch.setattr("socket.create_connection", noted)
        with Client(f"http://127.0.0.1:{server.server_port}", token=f"file:{file}") as client:
            assert client.ask(asking).status == 200
            file.unlink()
            with pytest.raises(UsageError):
                client.ask(asking)
            file.write_text("mine")
            assert client.ask(asking).status == 200
            assert len(opened) == 1, "it was kept"
            monkeypatch.setattr("http.client.HTTPResponse.read", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.ask(asking)
            assert opened[0].fileno() == -1, "it is closed"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"])
def test_who_answers_byte_by_byte_has_no_more_time(begin: bytes) -> None:
    is_over = threading.Event()

    def drip(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):
            client.recv(4_096)
            client.sendall(begin)
            while not is_over.wait(0.02):
                client.sendall(b".")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=drip, args=(listener,))
        serving.start()
        watchdog = threading.Timer(20.0, is_over.set)
        watchdog.start()
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3)
        with pytest.raises(ServiceError, match="gives no answer: timed out"):
            client.ask(Request("GET", "/", {}))
        assert not is_over.is_set(), "the server would have dripped on"
        is_over.set()
        watchdog.cancel()
        serving.join()


def test_an_answer_that_is_cut_off_is_none() -> None:
    def cut(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(4_096)
            client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=cut, args=(listener,))
        serving.start()
        with pytest.raises(ServiceError, match="IncompleteRead"):
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}").ask(Request("GET", "/", {}))
        serving.join()
