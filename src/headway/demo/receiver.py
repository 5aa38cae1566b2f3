"""The service of the demo that receives webhooks: it checks signatures, and is away at first."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

__all__ = ["Received", "Receiver"]

_BODY_MAX = 1 << 20


class Received(NamedTuple):
    """A webhook that came."""

    id: str
    data: dict[str, Any]
    is_signed: bool
    """Whether the signature is that of the shared secret."""
    status: int
    """What was answered."""


class Receiver:
    """An HTTP server on loopback, in a thread. `heard` is called for each webhook, on a thread of the server."""

    def __init__(self, key: bytes, heard: Callable[[Received], None], *, failures: int) -> None:
        """`failures` is how many of the first webhooks are answered with 503."""
        self._key = key
        self._heard = heard
        self._failures = failures
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = min(int(self.headers.get("content-length") or 0), _BODY_MAX)
                status = receiver._take(dict(self.headers.items()), self.rfile.read(length))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base's.
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hooks"
        threading.Thread(target=self._server.serve_forever, name="demo-receiver", daemon=True).start()

    def close(self) -> None:
        """Receive nothing more."""
        self._server.shutdown()
        self._server.server_close()

    def _take(self, headers: dict[str, str], body: bytes) -> int:
        found = {name.lower(): value for name, value in headers.items()}
        message_id, seconds = found.get("webhook-id", ""), found.get("webhook-timestamp", "")
        signed = f"{message_id}.{seconds}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        is_signed = any(hmac.compare_digest(expected, one) for one in found.get("webhook-signature", "").split())
        with self._lock:
            status = 503 if self._failures else 204
            self._failures = max(0, self._failures - 1)
        self._heard(Received(found.get("ce-id", message_id), json.loads(body), is_signed, status))
        return status
