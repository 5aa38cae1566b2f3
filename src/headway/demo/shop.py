"""The run of the demo's flow, and how it is started, killed and asked."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from headway.client import Client, NotYetError, ServiceError
from headway.errors import ClusterError
from headway.web.addresses import Address, listen

__all__ = ["Shop"]

_START_S: Final = 60.0
_ASK_S: Final = 30.0
_BEAT_S: Final = 0.05
_SECRET_NAME: Final = "HEADWAY_DEMO_SECRET"


class Shop:
    """`headway run` of the flow, with state and log in `place`; `services` is the URL of what it calls."""

    def __init__(self, place: Path, services: str, secret: str, *, after: str, patience: str) -> None:
        self._place = place
        self._environment = {**os.environ, _SECRET_NAME: secret}
        self._settings = {"after": after, "patience": patience, "webhook": f"{services}/hooks", "services": services}
        self.post_at, self.views_at = _free_address(), _free_address()
        self.views = Client(f"http://{self.views_at}")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def state_dir(self) -> Path:
        """Where it keeps its state."""
        return self._place / "state"

    @property
    def command(self) -> list[str]:
        """The run, as a person would start it."""
        settings = [part for name, value in self._settings.items() for part in ("--set", f"{name}={value}")]
        return [
            *("headway", "run", "headway.flows.demo_shop", "--listen", str(self.post_at)),
            *("--serve", str(self.views_at), *settings, "--epoch", "100ms", "--state", str(self.state_dir)),
            *("--set", f"secret=env:{_SECRET_NAME}"),
        ]

    def start(self) -> None:
        """Start the run, and return once it takes posts and answers. Raises `ClusterError` when it does not."""
        with (self._place / "run.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.command, "--quiet"],
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        until_s = time.monotonic() + _START_S
        while not (self._is_ready(self.post_at) and self._is_ready(self.views_at)):
            if self.process.poll() is not None or time.monotonic() > until_s:
                log_text = (self._place / "run.log").read_text(errors="replace").strip()
                msg = f"the shop of the demo has not started: {log_text or 'it says nothing'}"
                raise ClusterError(msg)
            time.sleep(_BEAT_S)

    def kill(self) -> None:
        """SIGKILL; returns when the run is gone, and its servers, which end by themselves when it does."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            until_s = time.monotonic() + _START_S
            while self._is_there(self.post_at) or self._is_there(self.views_at):
                if time.monotonic() > until_s:
                    msg = "the servers of the demo have not ended with the run that was killed; please report this"
                    raise ClusterError(msg)
                time.sleep(_BEAT_S / 5)

    def stop(self) -> None:
        """End the run as Ctrl-C would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self.views.close()

    def post(self, path: str, key: str, value: Any) -> dict[str, Any]:
        """Post to the flow, as any service would, again until it is taken; returns the receipt.

        The key makes a repeat harmless: who has got no answer does not know whether it was taken.
        """
        headers = {"content-type": "application/json", "idempotency-key": key}
        until_s = time.monotonic() + _ASK_S
        while True:
            connection = http.client.HTTPConnection(self.post_at.host, self.post_at.port, timeout=10)
            try:
                connection.request("POST", path, json.dumps(value), headers)
                answer = connection.getresponse()
                told: dict[str, Any] = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                if time.monotonic() > until_s:
                    raise
                time.sleep(_BEAT_S)
                continue
            finally:
                connection.close()
            if answer.status == 200:
                return told
            if answer.status < 500 or time.monotonic() > until_s:
                msg = f"the shop has refused {value}: {told}"
                raise ClusterError(msg)
            time.sleep(_BEAT_S)

    def ask(self, view: str, key: str, **options: Any) -> tuple[Any, float]:
        """What a view says of a key, asked again until there is an answer; and how long that took, in seconds."""
        began_s = time.monotonic()
        while True:
            try:
                return self.views.view(view).get(key, **options), time.monotonic() - began_s
            except (NotYetError, ServiceError):
                if time.monotonic() > began_s + _ASK_S:
                    raise
                time.sleep(_BEAT_S)

    @staticmethod
    def _is_ready(address: Address) -> bool:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @staticmethod
    def _is_there(address: Address) -> bool:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=2)
        try:
            connection.connect()
        except ConnectionError:
            return False
        except OSError:
            return True
        finally:
            connection.close()
        return True


def _free_address() -> Address:
    """An address that is free now. Somebody else may take it before it is used: then the start says so."""
    address = Address("127.0.0.1", 0)
    with listen(address, "the demo") as sock:
        return Address(*sock.getsockname()[:2])
