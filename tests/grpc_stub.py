"""A gRPC server that answers each call with what it is told, and keeps what it was asked with; over TLS if wanted."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import h2.config
import h2.connection
import h2.events


class GrpcStub:
    """Answers with `status` and `message`, a gRPC code and its text. An async context manager on a port of loopback."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status, self.message = 0, ""
        self.asked: list[dict[str, str]] = []
        """Headers of the calls."""
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        if tls is not None:
            tls.set_alpn_protocols(["h2"])

    async def __aenter__(self) -> GrpcStub:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        try:
            writer.write(connection.data_to_send())
            while data := await reader.read(65_536):
                for event in connection.receive_data(data):
                    self._answer(connection, event)
                writer.write(connection.data_to_send())
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    def _answer(self, connection: Any, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.asked.append({str(name): str(value) for name, value in event.headers})
        elif isinstance(event, h2.events.StreamEnded):
            stream = event.stream_id
            # What every client asks first is answered with an empty message: it says nothing of the server.
            is_info = self.asked[-1][":path"].endswith("GetSystemInfo")
            connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            connection.send_data(stream, b"\0\0\0\0\0")
            status = 0 if is_info else self.status
            trailers = [("grpc-status", str(status)), ("grpc-message", "" if is_info else self.message)]
            connection.send_headers(stream, trailers, end_stream=True)
