"""A flow that starts workflows of another engine, which ask it back before they decide.

    headway run win_back.py --listen 127.0.0.1:8080 --serve 127.0.0.1:8090 \
        --set engine=temporal --set to=localhost:7233 --set after=1m

Services post what visitors do to `/steps`. When nothing has happened to a cart for a while, a workflow starts: with
`temporal_worker.py`, `restate_service.py` or `dbos_worker.py` beside it. A workflow may begin late, so it does not go
by the cart of the time at which it was started: it asks the view `carts` for the cart of now.
"""

from __future__ import annotations

from typing import Literal

import headway as hw


class Step(hw.Event):
    """What a visitor does."""

    user: str
    kind: Literal["add", "checkout"]
    cents: int = 0


class Cart(hw.State):
    """What a visitor has put into the cart."""

    items: int = 0
    cents: int = 0


class Carts(hw.Operator[Step, Cart, hw.Json]):
    """Keeps carts until they are bought, and tells of one to which nothing has happened for `after_ms`."""

    def __init__(self, after_ms: int) -> None:
        self.after_ms = after_ms

    def on_event(self, cart: Cart, step: Step, ctx: hw.Context[hw.Json]) -> None:
        """Keep the cart, and the timer that runs while something is in it."""
        if step.kind == "checkout":
            ctx.forget()
            return
        cart.items += 1
        cart.cents += step.cents
        ctx.timer("abandoned", after=self.after_ms)

    def on_timer(self, cart: Cart, timer: hw.Timer, ctx: hw.Context[hw.Json]) -> None:
        """No checkout came."""
        ctx.emit({"user": ctx.key})


def target_of(engine: str, to: str) -> hw.Target:
    """Where a workflow `WinBack` is started, or a handler of that name is called."""
    if engine == "temporal":
        return hw.to_temporal(to, workflow="WinBack", task_queue="shop", workflow_id="win-back-{key}-{id}")
    if engine == "restate":
        return hw.to_restate(to, workflow="WinBack", key="win-back-{key}-{id}")
    return hw.to_dbos(to, workflow="WinBack", queue="shop", workflow_id="win-back-{key}-{id}")


flow = hw.Flow("win-back")
engine = flow.param("engine", "temporal", help="temporal, restate or dbos")
to = flow.param("to", "localhost:7233", help="its address, ingress, or system database")
after = flow.param("after", "30m", help="how long nothing may happen to a cart")

steps = flow.source("steps", Step, hw.http_source("/steps"), time=hw.INGESTION_TIME)
carts = steps.key_by("user").process("carts", Carts(hw.duration_ms(after)))
carts.trigger("cart.abandoned", target_of(engine, to))
flow.serve("carts", hw.state_of(carts), fields=("items", "cents"))
