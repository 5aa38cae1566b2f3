"""The services of the demo's shop: one takes webhooks and checks them, others do what the steps of a function ask for.

All are one HTTP server on loopback, in a thread. Each call has a key, and has its effect once: one that comes again is
answered as the first time. That is what any service does that is called by something which survives crashes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from headway.errors import SignatureError
from headway.targets.verifying import verify_webhook

__all__ = ["HOOKS", "Heard", "Services"]

HOOKS = "hooks"
_BODY_MAX = 1 << 20


class Heard(NamedTuple):
    """A call that came."""

    service: str
    """Which one was called: `hooks`, or the name of a step."""
    key: str
    """By which a repeat is known: the id of a webhook, the idempotency key of a step."""
    data: dict[str, Any]
    is_repeat: bool
    """Whether it has come before, and had its effect then."""
    is_signed: bool
    """Whether it is a webhook with the right signature."""
    status: int
    """What is answered."""


class Services:
    """`hear` is called for each call on a thread of the server, before the answer: it may wait there."""

    def __init__(self, secret: str, hear: Callable[[Heard], None], *, failures: int = 0) -> None:
        """`secret` is that of the webhooks; `failures` is how many of the first ones are answered with 503."""
        self.effects: dict[str, Heard] = {}
        """What was done, by key: once for each."""
        self.calls = 0
        """How many calls of steps have come, repeats included."""
        self._secret = secret
        self._hear = hear
        self._failures = failures
        self._lock = threading.Lock()
        services = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = min(int(self.headers.get("content-length") or 0), _BODY_MAX)
                body = self.rfile.read(length)
                heard = services._take(self.path.strip("/"), dict(self.headers.items()), body)
                services._hear(heard)
                said = json.dumps({"coupon": f"SAVE-{heard.data['cents_off']}"} if "cents_off" in heard.data else {})
                self.send_response(heard.status)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said.encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base's.
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: whoever called was killed before the answer."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="demo-services", daemon=True).start()

    def close(self) -> None:
        """Take no more calls."""
        self._server.shutdown()
        self._server.server_close()

    def _take(self, service: str, headers: dict[str, str], body: bytes) -> Heard:
        found = {name.lower(): value for name, value in headers.items()}
        is_hook = service == HOOKS
        key = found.get("webhook-id" if is_hook else "idempotency-key", "")
        with self._lock:
            self.calls += not is_hook
            is_failing = is_hook and self._failures > 0
            self._failures -= is_failing
            is_repeat = key in self.effects
            status = 503 if is_failing else 200
            is_signed = is_hook and self._is_genuine(found, body)
            heard = Heard(service, key, json.loads(body), is_repeat, is_signed, status)
            if not is_failing and not is_repeat:
                self.effects[key] = heard
        return heard

    def _is_genuine(self, headers: dict[str, str], body: bytes) -> bool:
        try:
            verify_webhook(headers, body, self._secret)
        except SignatureError:
            return False
        return True
