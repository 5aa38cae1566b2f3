"""What happens in the demo, step by step, and what is said about it.

Everything is real: the flow is a run of its own, its servers are processes, the services that it calls are a server
here, and the run is killed with SIGKILL twice: while timers run, and while a step of a function is under way.
"""

from __future__ import annotations

import base64
import queue
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from headway.demo.services import HOOKS, Heard, Services
from headway.demo.shop import Shop
from headway.errors import ClusterError

__all__ = ["tell_story"]

_AFTER_S: Final = 12
"""Long enough for a slow machine to be up again after the first kill: the carts are looked at then."""
_PATIENCE_S: Final = 5
_HEAR_S: Final = 60.0
_CARTS: Final = ("ann", "cleo", "dan")
"""Whose carts are abandoned. Ann comes back, the mail to Cleo is interrupted, Dan is not heard of."""
_HELD: Final = {("send_mail", "ann"), ("send_mail", "cleo")}
"""Calls whose first answer waits until the story has come to them."""

Say = Callable[[str], None]


class _Ears:
    """What the services hear, for the one who tells the story."""

    def __init__(self) -> None:
        self.hooks: queue.Queue[Heard] = queue.Queue()
        self.calls: queue.Queue[Heard] = queue.Queue()
        self._held = {call: threading.Event() for call in _HELD}

    def hear(self, heard: Heard) -> None:
        """Note a call, before it is answered."""
        (self.hooks if heard.service == HOOKS else self.calls).put(heard)
        held = self._held.get((heard.service, heard.data["user"]))
        if held is not None:
            held.wait(_HEAR_S)

    def let_go(self, heard: Heard) -> None:
        """Answer a call that was held, and all that are like it from now on."""
        self._held[heard.service, heard.data["user"]].set()


def tell_story(say: Say) -> None:
    """Show it all, in half a minute. Ends everything that it has started, also on Ctrl-C."""
    with ExitStack() as held:
        place = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="headway-demo-")))
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        ears = _Ears()
        services = Services(secret, ears.hear, failures=1)
        held.callback(services.close)
        shop = Shop(place, services.url, secret, after=f"{_AFTER_S}s", patience=f"{_PATIENCE_S}s")
        with _running(shop, say):
            receipt = _post_and_ask(shop, say)
            _kill_carts(shop, receipt, say)
            ids = _await_hooks(ears.hooks, say)
            _follow_functions(shop, ears, say)
            _tell_end(shop, services, ids, say)
        say("")
        say(
            "That was: durable ingest, exactly-once state, timers that survive, triggers that arrive, functions that go"
        )
        say("on where they were, decisions in milliseconds; no broker, no database. Read on: docs/ingest.md,")
        say("docs/triggers.md, docs/functions.md, docs/decisions.md.")


@contextmanager
def _running(shop: Shop, say: Say) -> Iterator[None]:
    say("A shop posts what its visitors do to a flow, which is to win back the carts that they abandon.")
    say("The flow is flows/demo_shop.py. It runs with:")
    say("  $ " + _shortened(shop.command))
    try:
        shop.start()
        yield
    finally:
        shop.stop()


def _post_and_ask(shop: Shop, say: Say) -> dict[str, Any]:
    say("")
    say("1. Events in, by HTTP. Each is answered when it is durable.")
    lamp = {"user": "ann", "kind": "add", "sku": "lamp", "cents": 4_900}
    say(f"   POST ann adds a lamp        -> {_receipt(shop.post('/steps', 's1', lamp))}")
    say(f"   POST the same once more     -> {_receipt(shop.post('/steps', 's1', lamp))}: it is in the flow once")
    for number, user in enumerate(("ben", "cleo", "dan"), 2):
        shop.post("/steps", f"s{number}", {"user": user, "kind": "add", "sku": "mug", "cents": 900})
    receipt = shop.post("/steps", "s5", {"user": "ben", "kind": "checkout"})
    say("   POST ben, cleo and dan each add a mug; ben pays")
    say("")
    say("2. A decision, asked for. The answer includes what was just posted.")
    for user in ("ann", "ben"):
        value, took_s = shop.ask("carts", user, at_least=receipt, wait="5s")
        say(f"   GET /v1/views/carts/{user:<4} -> {_cart(value)}   ({1_000 * took_s:.0f} ms)")
    return receipt


def _kill_carts(shop: Shop, receipt: dict[str, Any], say: Say) -> None:
    say("")
    say("3. kill -9, in the middle of everything; and started again.")
    say(f"   {_killed_and_started(shop)}, with all carts and their timers")
    value, _ = shop.ask("carts", "ann", at_least=receipt, wait="5s")
    say(f"   GET /v1/views/carts/ann  -> {_cart(value)}")


def _await_hooks(hooks: queue.Queue[Heard], say: Say) -> dict[str, str]:
    """Wait for the webhooks; returns the ids of the carts, by user."""
    say("")
    say(f"4. Triggers out. Nothing happens to three carts for {_AFTER_S} s: a signed webhook for each.")
    ids: dict[str, str] = {}
    while len(ids) < len(_CARTS):
        hook = _next(hooks, f"a webhook for {', '.join(sorted(set(_CARTS) - set(ids)))}")
        user = hook.data["user"]
        signed = "its signature is right" if hook.is_signed else "ITS SIGNATURE IS WRONG"
        if hook.status == 200:
            ids[user] = hook.data["id"]
            answered = "taken"
        else:
            answered = f"the receiver says {hook.status}: it comes again, with the same id"
        say(f"   cart.abandoned {user:<4} {hook.data['items']}, id {hook.key[:8]}..., {signed}; {answered}")
    return ids


def _follow_functions(shop: Shop, ears: _Ears, say: Say) -> None:
    """Tell what the functions have services do, until each has done its last step."""
    say("")
    say("5. Work started. Each abandoned cart has started a durable function too, recover_cart: ordinary code that")
    say(f"   reserves a coupon, mails it, waits {_PATIENCE_S} s for the visitor, then takes it back and asks a person.")
    is_killed = False
    missing = {
        ("send_mail", "ann"),
        *((step, user) for user in ("cleo", "dan") for step in ("send_mail", "ask_person")),
    }
    while missing:
        call = _next(ears.calls, " and ".join(f"{step} for {user}" for step, user in sorted(missing)))
        step, user = call.service, call.data["user"]
        missing.discard((step, user))
        again = ": comes again, is known by its key, and done no second time" if call.is_repeat else ""
        say(f"   {step:<14} {user:<4} key {call.key}{again}")
        if (step, user) == ("send_mail", "ann") and not call.is_repeat:
            shop.post(f"/v1/functions/recover_cart/{call.key.rpartition('/')[0]}/signals/bought", "b1", "today")
            say("   POST ann has bought         -> 200: a signal to her function")
            ears.let_go(call)
        elif (step, user) == ("send_mail", "cleo") and not is_killed:
            is_killed = True
            say("   kill -9, while the mail is sent: nobody knows whether it has left")
            going_on = _killed_and_started(shop)
            ears.let_go(call)
            say(f"   {going_on}, with all functions where they were")


def _tell_end(shop: Shop, services: Services, ids: dict[str, str], say: Say) -> None:
    say("")
    say("6. The end, as if nothing had been killed.")
    for user, cart in sorted(ids.items()):
        say(f"   GET /v1/views/functions/recover_cart/{cart} -> {_ended(shop, cart, user)}")
    done = sum(one.service != HOOKS for one in services.effects.values())
    say(f"   {services.calls} calls of services with {done} keys: each key has had its effect once.")


def _ended(shop: Shop, cart: str, user: str) -> str:
    """How a function has ended, when it has."""
    until_s = time.monotonic() + _HEAR_S
    while True:
        value, _ = shop.ask("functions", f"recover_cart/{cart}")
        if value is not None and value["status"] != "running":
            return f"{value['status']}: {value['result']}"
        if time.monotonic() > until_s:
            msg = (
                f"the function of the cart of {user} has not ended within {_HEAR_S:.0f} s: {value}; please report this"
            )
            raise ClusterError(msg)
        time.sleep(0.05)


def _killed_and_started(shop: Shop) -> str:
    shop.kill()
    began_s = time.monotonic()
    shop.start()
    return f"it goes on after {time.monotonic() - began_s:.1f} s"


def _next(heard: queue.Queue[Heard], what: str) -> Heard:
    try:
        return heard.get(timeout=_HEAR_S)
    except queue.Empty:
        msg = f"{what} did not come within {_HEAR_S:.0f} s; please report this"
        raise ClusterError(msg) from None


def _shortened(command: list[str]) -> str:
    return " ".join(command).split(" --epoch")[0]


def _receipt(told: dict[str, Any]) -> str:
    return f"200 {told['log']}@{told['position']}" + (", duplicate" if told["duplicate"] else "")


def _cart(value: Any) -> str:
    return "no cart" if value is None else f"{', '.join(value['items'])} for {value['cents'] / 100:.2f}"
