"""Flows to be changed, for the tests of changes: a source, and what a test adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import headway as hw
from headway.operators.windows.aligned import SingleWindow


class Shop(hw.Event):
    user: str
    kind: str
    at: hw.Time
    price: float = 0.0


class Cart(hw.State):
    items: int = 0


class FullCart(hw.State):
    items: str = ""
    coupon: str = ""


class Watch(hw.Operator[Shop, Cart, hw.Json]):
    sides = {"odd": hw.Json}

    def __init__(self, after: str = "30m", limit: int = 3, *, ask: Callable[[Any], bool] = bool) -> None:
        self.limit = limit

    def on_event(self, state: Cart, event: Shop, ctx: hw.Context[hw.Json]) -> None:
        state.items += 1


class Rewritten(hw.Operator[Shop, Cart, hw.Json]):
    sides = {"odd": hw.Json}

    def __init__(self, after: str = "30m", limit: int = 3) -> None:
        self.limit = limit

    def on_event(self, state: Cart, event: Shop, ctx: hw.Context[hw.Json]) -> None:
        state.items += 2


class Renamed(Watch):
    """The same under another name: what it adds to its base is nothing."""


class Holder(Watch):
    """Holds another operator."""

    def __init__(self, inner: hw.Operator[Any, Any, Any]) -> None:
        super().__init__()


class Hours(SingleWindow):
    """Windows with something of the flow's own."""


class Limits(hw.State):
    most: int = 5


class Told(hw.Operator[Shop, Cart, hw.Json]):
    broadcasts = {"limits": hw.Json}
    shared_type = Limits

    def on_event(self, state: Cart, event: Shop, ctx: hw.Context[hw.Json]) -> None: ...

    def on_limits(self, shared: Limits, event: Any, ctx: Any) -> None: ...


class Maker:
    """A flow in the making: a source, and whatever a row adds."""

    def __init__(self, name: str = "shop", **source: Any) -> None:
        self.flow = hw.Flow("carts")
        options = {"time": "at", "out_of_order": "2s", **source}
        event_type = options.pop("event_type", Shop)
        self.shop: Any = self.flow.source(name, event_type, options.pop("input", hw.items([])), **options)

    def by(self, key: Any = "user") -> Any:
        return self.shop.key_by(key)


def flow(build: Callable[[Maker], object] = lambda m: None, **source: Any) -> hw.Flow:
    made = Maker(**source)
    build(made)
    if len(made.flow.graph.nodes) == 1:
        watch(made)
    return made.flow


def watch(m: Maker, name: str = "cart", operator: Any = None, key: Any = "user", **options: Any) -> Any:
    found = m.by(key).process(name, operator or Watch(), **options)
    found.trigger("left", hw.to_list([]))
    return found


def step(build: Callable[[Any], Any]) -> hw.Flow:
    """A flow of one operator."""
    return flow(lambda m: build(m.by()).to("out", hw.to_list([])))


def watch_merged(m: Maker, other: Any) -> None:
    m.shop.merge(other).key_by("user").process("cart", Watch()).trigger("left", hw.to_list([]))


def watch_filtered(m: Maker, name: Any, kind: str = "buy") -> None:
    kept = m.shop.filter(hw.where(kind=kind), name=name)
    kept.key_by("user").process("cart", Watch()).trigger("left", hw.to_list([]))


def watch_two_keys(m: Maker, key: Any) -> None:
    merged = m.by(key).merge(m.by("user"))
    merged.process("cart", Watch()).trigger("left", hw.to_list([]))


def share(carts: Any) -> None:
    carts.process("cart", Watch()).trigger("left", hw.to_list([]))
    carts.silence("quiet", "1h").to("hush", hw.to_list([]))


def machine(*states: str) -> hw.StateMachine[None]:
    made = hw.StateMachine("life", states=("new", *states), initial="new", final=(states[-1],), events="kind")
    return made.on("new", "open", to=states[0]).on(states[0], "pay", to=states[-1])
