"""A shop of which every metric can be seen: posts, late and unusable events, timers, losses, a view, and a target."""

import headway as hw


class Order(hw.Event):
    cart: str
    at: hw.Time
    cents: int = 0


class Cart(hw.State):
    n: int = 0
    cents: int = 0


class Total(hw.Operator[Order, Cart, Order]):
    """Adds up; counts as lost what is beyond ten orders, and fails on an order of a negative amount."""

    losses = {"overflow": "nothing: this is a test"}
    sides = {"overflow": Order}

    def on_event(self, state: Cart, event: Order, ctx: hw.Context[Order]) -> None:
        if event.cents < 0:
            raise ValueError(event.cents)
        state.n += 1
        state.cents += event.cents
        if state.n > 10:
            ctx.lose("overflow", 1)
        ctx.timer("quiet", after="1h")
        ctx.emit(event)

    def on_timer(self, state: Cart, timer: hw.Timer, ctx: hw.Context[Order]) -> None:
        state.n = 0


async def remind(trigger: hw.Trigger[Order]) -> None:
    """Refuses a cart for good, fails on another one, and takes the rest."""
    if trigger.key == "never":
        reason = "this cart is closed"
        raise hw.NeverDeliver(reason)
    if trigger.key == "later":
        raise ConnectionError(trigger.key)


flow = hw.Flow("shop")
orders = flow.source("orders", Order, hw.http_source("/orders"), time="at", out_of_order="1s", on_error="dead-letter")
totals = orders.key_by("cart").process("total", Total())
flow.serve("carts", hw.state_of(totals), index="cents")
totals.trigger("ordered", hw.call(remind), on_failure="skip")
