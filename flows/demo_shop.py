"""The shop of `headway demo`: carts by HTTP; one that is abandoned sends a webhook, and starts a durable function.

    headway run headway.flows.demo_shop --listen 127.0.0.1:8080 --serve 127.0.0.1:8090 --set after=1m

A service posts what its visitors do. The flow keeps their carts. When nothing has happened to one for a while, it posts
a signed trigger and starts `recover_cart`, which goes on from there: a coupon, a mail, some patience, a person. Other
services ask for a cart before they decide. Needs the extras `http` and `serve`.
"""

import json
from typing import Any, Literal
from urllib.request import Request, urlopen

import headway as hw
from headway import durable_workflow


class Step(hw.Event):
    """What a visitor does."""

    user: str
    kind: Literal["add", "checkout"]
    sku: str = ""
    cents: int = 0


class Cart(hw.State):
    """What is in the cart of one visitor."""

    items: list[str] = []
    cents: int = 0


class Abandoned(hw.Event):
    """The trigger's data, and what the function is given."""

    id: str
    user: str
    items: list[str]
    cents: int


class Carts(hw.Operator[Step, Cart, Abandoned]):
    """Keeps carts, and waits `after_ms` from the last step for a checkout."""

    def __init__(self, after_ms: int) -> None:
        self.after_ms = after_ms

    def on_event(self, cart: Cart, step: Step, ctx: hw.Context[Abandoned]) -> None:
        """Keep the cart, and the timer that runs while something is in it."""
        if step.kind == "checkout":
            ctx.forget()
            return
        cart.items.append(step.sku)
        cart.cents += step.cents
        ctx.timer("abandoned", after=self.after_ms)

    def on_timer(self, cart: Cart, timer: hw.Timer, ctx: hw.Context[Abandoned]) -> None:
        """No checkout came: tell, and start over."""
        ctx.emit(Abandoned(id=f"{ctx.key}-{timer.at}", user=ctx.key, items=cart.items, cents=cart.cents))
        ctx.forget()


@durable_workflow
async def recover_cart(context: Any, cart: Abandoned, patience: str) -> str:
    """Reserve a coupon, mail it, wait for the signal `bought`; take the coupon back and ask a person if none comes."""
    coupon = await context.call("reserve_coupon", cart.id, cart.user, cart.cents)
    await context.call("send_mail", cart.id, cart.user, coupon)
    try:
        await context.wait("bought", timeout=patience)
    except TimeoutError:
        await context.call("release_coupon", cart.id, cart.user)
        await context.call("ask_person", cart.id, cart.user)
        return "a person was asked"
    return f"bought with {coupon}"


flow = hw.Functions("demo-shop", [recover_cart])
after = flow.param("after", "30m", help="how long nothing may happen to a cart")
patience = flow.param("patience", "1d", help="how long a visitor has to come back before a person is asked")
webhook = flow.param("webhook", "http://127.0.0.1:8099/hooks", help="where triggers are posted")
secret = flow.param("secret", "", help="what signs them, such as env:SHOP_SECRET; unsigned if empty")
services = flow.param("services", "", help="URL of the services that steps call; stand-ins if empty")


@flow.step
def reserve_coupon(cart: str, user: str, cents: int) -> str:
    """Take a tenth off the cart; gives the coupon's code."""
    return ask("reserve_coupon", cart, user, cents_off=cents // 10).get("coupon", "a coupon")


@flow.step
def send_mail(cart: str, user: str, coupon: str) -> None:
    """Remind the visitor."""
    ask("send_mail", cart, user, coupon=coupon)


@flow.step
def release_coupon(cart: str, user: str) -> None:
    """Nobody has used it."""
    ask("release_coupon", cart, user)


@flow.step
def ask_person(cart: str, user: str) -> None:
    """Have somebody call the visitor."""
    ask("ask_person", cart, user)


def ask(service: str, cart: str, user: str, **what: Any) -> dict[str, str]:
    """Call a service, with a key by which it knows the call if that comes again. What it raises is tried again."""
    if not services:
        return {}
    headers = {"content-type": "application/json", "idempotency-key": f"{cart}/{service}"}
    with urlopen(
        Request(f"{services}/{service}", json.dumps({"user": user, **what}).encode(), headers), timeout=10
    ) as said:
        found: dict[str, str] = json.loads(said.read())
        return found


steps = flow.source("steps", Step, hw.http_source("/steps"), time=hw.INGESTION_TIME)
carts = steps.key_by("user").process("carts", Carts(hw.duration_ms(after)))
carts.trigger("cart.abandoned", hw.webhook(webhook, secret=secret or None))
carts.start(recover_cart, id="id", args=lambda cart: (cart, patience))
flow.serve("carts", hw.state_of(carts), fields=("items", "cents"), index="cents")
