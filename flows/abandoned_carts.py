"""Abandoned carts: something was put into a cart, nothing happened for a while, and no checkout came.

    headway run flows/abandoned_carts.py --drain
    headway run flows/abandoned_carts.py --set input='events/shop-*.jsonl' --set after=1h --workers 2

Without `input` the flow reads a synthetic shop stream of 100,000 events, made at its first start. With `--set
webhook=https://shop.example/hooks` the triggers are posted there and not written; that needs `headway[http]`.
"""

from typing import Literal

import headway as hw
from headway.generate.demo import shop_events


class Shop(hw.Event):
    """What happens in the shop."""

    user: str
    kind: Literal["view", "add", "remove", "checkout"]
    at: hw.Time
    sku: str = ""
    price: float = 0.0


class Cart(hw.State):
    """What is in the cart of one user."""

    items: dict[str, int] = {}
    cents: int = 0


class AbandonedCart(hw.Event):
    """The trigger's data."""

    items: dict[str, int]
    total: float


class Abandonment(hw.Operator[Shop, Cart, AbandonedCart]):
    """Waits `after_ms` from the last add or remove for a checkout."""

    def __init__(self, after_ms: int) -> None:
        self.after_ms = after_ms

    def on_event(self, cart: Cart, event: Shop, ctx: hw.Context[AbandonedCart]) -> None:
        """Keep the cart, and the timer that runs while something is in it."""
        if event.kind == "add":
            cart.items[event.sku] = cart.items.get(event.sku, 0) + 1
            cart.cents += round(event.price * 100)
        elif event.kind == "remove" and event.sku in cart.items:
            cart.items[event.sku] -= 1
            cart.cents -= round(event.price * 100)
            if not cart.items[event.sku]:
                del cart.items[event.sku]
        elif event.kind == "checkout":
            cart.items.clear()
        else:
            return
        if cart.items:
            ctx.timer("abandoned", after=self.after_ms)
        else:
            ctx.forget()

    def on_timer(self, cart: Cart, timer: hw.Timer, ctx: hw.Context[AbandonedCart]) -> None:
        """Nothing came: tell, and start over."""
        ctx.emit(AbandonedCart(items=cart.items, total=cart.cents / 100))
        ctx.forget()


flow = hw.Flow("abandoned-carts")
events = flow.param(
    "input", "", help="files of shop events, such as 'events/shop-*.jsonl'; a generated stream if empty"
)
output = flow.param("output", "triggers.jsonl", help="file for the triggers, CloudEvents one a line")
webhook = flow.param("webhook", "", help="where to post the triggers instead, such as https://shop.example/hooks")
after = flow.param("after", "30m", help="how long nothing may happen to a cart")
out_of_order = flow.param("out_of_order", "2s", help="how far behind the latest event of its file an event may come")

# What is written and what is delivered are two outputs, each with a name of its own.
target = hw.webhook(webhook) if webhook else hw.to_jsonl(output)

source = hw.files(events) if events else shop_events()
shop = flow.source("shop", Shop, source, time="at", out_of_order=out_of_order, idle_after="1m")
changes = shop.filter(hw.where(kind=("add", "remove", "checkout")), name="changes")
carts = changes.key_by("user").process("abandonment", Abandonment(hw.duration_ms(after)))
carts.trigger("cart.abandoned", target, name="webhook" if webhook else None)
