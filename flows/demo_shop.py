"""The shop of `headway demo`: carts by HTTP, a webhook where one is abandoned, and a view of what is in them.

    headway run headway.flows.demo_shop --listen 127.0.0.1:8080 --serve 127.0.0.1:8090 --set after=1m

A service posts what its visitors do. The flow keeps their carts, and posts a signed trigger when nothing has happened
to one for a while. Other services ask for a cart before they decide. Needs the extras `http` and `serve`.
"""

from typing import Literal

import headway as hw


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
    """The trigger's data."""

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
        ctx.emit(Abandoned(user=ctx.key, items=cart.items, cents=cart.cents))
        ctx.forget()


flow = hw.Flow("demo-shop")
after = flow.param("after", "30m", help="how long nothing may happen to a cart")
webhook = flow.param("webhook", "http://127.0.0.1:8099/hooks", help="where triggers are posted")
secret = flow.param("secret", "", help="what signs them, such as env:SHOP_SECRET; unsigned if empty")

steps = flow.source("steps", Step, hw.http_source("/steps"), time=hw.INGESTION_TIME)
carts = steps.key_by("user").process("carts", Carts(hw.duration_ms(after)))
carts.trigger("cart.abandoned", hw.webhook(webhook, secret=secret or None))
flow.serve("carts", hw.state_of(carts), fields=("items", "cents"), index="cents")
