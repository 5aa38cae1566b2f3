"""Orders as sagas: a state machine with a deadline for each state, and what to undo when an order fails.

    headway run flows/order_saga.py --drain
    headway run flows/order_saga.py --set input='orders/orders-*.jsonl' --set pay_within=1h --workers 2

Without `input` the flow reads synthetic orders, made at its first start; `headway generate orders DIR` makes others.
Without `--drain`, `headway state ls flows/order_saga.py life` shows the orders under way, and those just ended.
"""

from collections.abc import Iterator
from typing import Literal

import headway as hw
from headway.generate.stories import story_events
from headway.results import IllegalEvent, Transition


class OrderEvent(hw.Event):
    """What happens to an order."""

    order: str
    kind: Literal["placed", "paid", "packed", "shipped", "delivered", "cancelled", "refused"]
    at: hw.Time
    cents: int = 0


class Order(hw.State):
    """What is remembered of an order."""

    cents: int = 0


Action = Literal["cancelled", "refund", "restock"]


class Compensation(hw.Event):
    """A trigger's data: what is to be done, how far the order had come, and what ended it."""

    action: Action
    reached: str
    cause: str
    cents: int


class IllegalStep(hw.Event):
    """A trigger's data: what cannot happen to an order in this state."""

    kind: str
    state: str


UNDO: dict[str, tuple[Action, ...]] = {
    "placed": ("cancelled",),
    "paid": ("cancelled", "refund"),
    "packed": ("cancelled", "refund", "restock"),
    "shipped": ("cancelled", "refund", "restock"),
}
"""What a failed order needs, by the state that it had reached; what got lost on its way is not put back."""
FAILED = ("unpaid", "stuck", "lost", "cancelled", "refused")


def note_price(event: OrderEvent, order: Order) -> None:
    """Remember what may have to be paid back."""
    order.cents = event.cents


def compensations(step: Transition[OrderEvent, Order]) -> Iterator[Compensation]:
    """What a failed order needs; nothing for other steps."""
    if step.to_state in FAILED and step.data is not None:
        for action in UNDO[step.from_state]:
            if not (action == "restock" and step.to_state == "lost"):
                yield Compensation(action=action, reached=step.from_state, cause=step.to_state, cents=step.data.cents)


def as_illegal_step(illegal: IllegalEvent[OrderEvent]) -> IllegalStep:
    """What came, and where the order was."""
    return IllegalStep(kind=illegal.event.kind, state=illegal.state)


flow = hw.Flow("order-saga")
path = flow.param("input", "", help="files of order events, such as 'orders/orders-*.jsonl'; generated if empty")
output = flow.param("output", "order", help="what the names of the files begin with: order-refund.jsonl and so on")
pay_within = flow.param("pay_within", "30m", help="how long an order waits to be paid")
pack_within = flow.param("pack_within", "1d", help="how long a paid order waits to be packed")
ship_within = flow.param("ship_within", "2d", help="how long a packed order waits to be shipped")
deliver_within = flow.param("deliver_within", "7d", help="how long a parcel is on its way")
out_of_order = flow.param("out_of_order", "2s", help="how far behind the latest event of its file an event may come")

life = (
    hw.StateMachine(
        "order",
        states=("new", "placed", "paid", "packed", "shipped", "delivered", *FAILED),
        initial="new",
        events="kind",
        final=("delivered", *FAILED),
        data=Order,
    )
    .on("new", "placed", to="placed", do=note_price)
    .on("placed", "paid", to="paid")
    .on("paid", "packed", to="packed")
    .on("packed", "shipped", to="shipped")
    .on("shipped", "delivered", to="delivered")
    .on("shipped", "refused", to="refused")
    .on(("placed", "paid", "packed"), "cancelled", to="cancelled")
    .timeout("placed", after=pay_within, to="unpaid")
    .timeout("paid", after=pack_within, to="stuck")
    .timeout("packed", after=ship_within, to="stuck")
    .timeout("shipped", after=deliver_within, to="lost")
)

source = hw.files(path) if path else story_events("orders")
orders = flow.source("orders", OrderEvent, source, time="at", out_of_order=out_of_order, idle_after="1m")
# Ended orders are kept for a while, so that what comes too late is told apart from an order that never was.
steps = orders.key_by("order").state_machine("life", life, keep_final="1d")
undo = steps.flat_map(compensations, into=Compensation, name="compensations")
for action in ("cancelled", "refund", "restock"):
    undo.filter(hw.where(action=action)).trigger(f"order.{action}", hw.to_jsonl(f"{output}-{action}.jsonl"))
steps.side("illegal").map(as_illegal_step).trigger("order.illegal", hw.to_jsonl(f"{output}-illegal.jsonl"))
