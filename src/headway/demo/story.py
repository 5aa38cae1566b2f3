"""What happens in the demo, step by step, and what is said about it.

Everything is real: the flow is a run of its own, its servers are processes, the webhook is received by a server here,
and the run is killed with SIGKILL in the middle.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from headway.client import Client, NotYetError, ServiceError
from headway.demo.receiver import Received, Receiver
from headway.errors import ClusterError
from headway.web.addresses import Address, listen

__all__ = ["tell_story"]

_AFTER_S: Final = 8
_START_S: Final = 60.0
_HOOK_S: Final = 60.0
_SECRET_NAME: Final = "HEADWAY_DEMO_SECRET"

Say = Callable[[str], None]


class _Shop:
    """The run of the flow, and how it is asked."""

    def __init__(self, place: Path, webhook: str, secret: str) -> None:
        self._place = place
        self._environment = {**os.environ, _SECRET_NAME: secret}
        self._webhook = webhook
        self.post_at, self.views_at = _free_address(), _free_address()
        self.views = Client(f"http://{self.views_at}")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """The run, as a person would start it."""
        return [
            *("headway", "run", "headway.flows.demo_shop", "--listen", str(self.post_at)),
            *("--serve", str(self.views_at), "--set", f"after={_AFTER_S}s", "--set", f"webhook={self._webhook}"),
            *("--set", f"secret=env:{_SECRET_NAME}", "--epoch", "100ms", "--state", str(self._place / "state")),
        ]

    def start(self) -> None:
        """Start the run, and return once it takes posts and answers. Raises `ClusterError` when it does not."""
        with (self._place / "run.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.command, "--quiet"],
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        until_s = time.monotonic() + _START_S
        while not (self._is_ready(self.post_at) and self._is_ready(self.views_at)):
            if self._process.poll() is not None or time.monotonic() > until_s:
                log_text = (self._place / "run.log").read_text(errors="replace").strip()
                msg = f"the shop of the demo has not started: {log_text or 'it says nothing'}"
                raise ClusterError(msg)
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: the run, and with it what it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """End the run as Ctrl-C would."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self.views.close()

    def post(self, key: str, **step: Any) -> dict[str, Any]:
        """Post a step, as any service would; returns the receipt."""
        connection = http.client.HTTPConnection(self.post_at.host, self.post_at.port, timeout=10)
        headers = {"content-type": "application/json", "idempotency-key": key}
        connection.request("POST", "/steps", json.dumps(step), headers)
        answer = connection.getresponse()
        told: dict[str, Any] = json.loads(answer.read())
        connection.close()
        if answer.status != 200:
            msg = f"the shop has refused {step}: {told}"
            raise ClusterError(msg)
        return told

    def cart(self, user: str, receipt: dict[str, Any]) -> tuple[Any, float]:
        """What is in a cart, with all that was posted up to `receipt`; and how long the answer took, in seconds."""
        began_s = time.monotonic()
        until_s = began_s + 10
        while True:
            try:
                value = self.views.view("carts").get(user, at_least=receipt, wait="5s")
            except (NotYetError, ServiceError):
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.05)
            else:
                return value, time.monotonic() - began_s

    @staticmethod
    def _is_ready(address: Address) -> bool:
        try:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=2)
            connection.request("GET", "/readyz")
            ready = connection.getresponse().status == 200
            connection.close()
        except OSError:
            return False
        return ready


def tell_story(say: Say) -> None:
    """Show it all, in half a minute. Ends everything that it has started, also on Ctrl-C."""
    with ExitStack() as held:
        place = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="headway-demo-")))
        key = secrets.token_bytes(32)
        hooks: queue.Queue[Received] = queue.Queue()
        receiver = Receiver(key, hooks.put, failures=1)
        held.callback(receiver.close)
        shop = _Shop(place, receiver.url, "whsec_" + base64.b64encode(key).decode())
        with _running(shop, say):
            _tell(shop, hooks, say)


@contextmanager
def _running(shop: _Shop, say: Say) -> Iterator[None]:
    say("A shop posts what its visitors do to a flow, and wants to hear of carts that are abandoned.")
    say("The flow is flows/demo_shop.py, 30 lines. It runs with:")
    say("  $ " + _shortened(shop.command))
    try:
        shop.start()
        yield
    finally:
        shop.stop()


def _tell(shop: _Shop, hooks: queue.Queue[Received], say: Say) -> None:
    say("")
    say("1. Events in, by HTTP. Each is answered when it is durable.")
    receipt = shop.post("s1", user="ann", kind="add", sku="lamp", cents=4_900)
    say(f"   POST ann adds a lamp        -> {_receipt(receipt)}")
    again = shop.post("s1", user="ann", kind="add", sku="lamp", cents=4_900)
    say(f"   POST the same once more     -> {_receipt(again)}: it is in the flow once")
    for number, user in enumerate(("ben", "cleo", "dan"), 2):
        receipt = shop.post(f"s{number}", user=user, kind="add", sku="mug", cents=900)
    receipt = shop.post("s5", user="ben", kind="checkout")
    say("   POST ben, cleo and dan each add a mug; ben pays")
    say("")
    say("2. A decision, asked for. The answer includes what was just posted.")
    for user in ("ann", "ben"):
        value, took_s = shop.cart(user, receipt)
        say(f"   GET /v1/views/carts/{user:<4} -> {_cart(value)}   ({1_000 * took_s:.0f} ms)")
    say("")
    say("3. kill -9, in the middle of everything; and started again.")
    shop.kill()
    began_s = time.monotonic()
    shop.start()
    say(f"   it goes on after {time.monotonic() - began_s:.1f} s, with all carts and their timers")
    value, took_s = shop.cart("ann", receipt)
    say(f"   GET /v1/views/carts/ann  -> {_cart(value)}")
    say("")
    say(f"4. Triggers out. Nothing happens to three carts for {_AFTER_S} s: a signed webhook for each.")
    _await_hooks(hooks, {"ann", "cleo", "dan"}, say)
    value, _ = shop.cart("ann", receipt)
    say("")
    say("That was: durable ingest, exactly-once state, timers that survive, triggers that arrive, decisions in")
    say("milliseconds; no broker, no database. Read on: docs/ingest.md, docs/triggers.md, docs/decisions.md.")


def _await_hooks(hooks: queue.Queue[Received], users: set[str], say: Say) -> None:
    missing = set(users)
    until_s = time.monotonic() + _HOOK_S
    while missing:
        try:
            hook = hooks.get(timeout=max(0.1, until_s - time.monotonic()))
        except queue.Empty:
            msg = f"no webhook came within {_HOOK_S:.0f} s for {', '.join(sorted(missing))}; please report this"
            raise ClusterError(msg) from None
        user = hook.data["user"]
        signed = "its signature is right" if hook.is_signed else "ITS SIGNATURE IS WRONG"
        if hook.status == 204:
            missing.discard(user)
            answered = "taken"
        else:
            answered = f"the receiver says {hook.status}: it comes again, with the same id"
        say(f"   cart.abandoned {user:<4} {hook.data['items']}, id {hook.id[:8]}..., {signed}; {answered}")


def _free_address() -> Address:
    """An address that is free now. Somebody else may take it before it is used: then the start says so."""
    address = Address("127.0.0.1", 0)
    with listen(address, "the demo") as sock:
        return Address(*sock.getsockname()[:2])


def _shortened(command: list[str]) -> str:
    shown = [part for part in command if not part.startswith("secret=")]
    text = " ".join(shown).replace(" --set --epoch", " --epoch")
    return text.split(" --state")[0]


def _receipt(told: dict[str, Any]) -> str:
    return f"200 {told['log']}@{told['position']}" + (", duplicate" if told["duplicate"] else "")


def _cart(value: Any) -> str:
    return "no cart" if value is None else f"{', '.join(value['items'])} for {value['cents'] / 100:.2f}"
