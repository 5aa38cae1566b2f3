"""Orders as sagas: a state machine with a deadline for each state, and what to undo when an order fails.

    headway run flows/order_saga.py --drain
    headway run flows/order_saga.py --set input='orders/orders-*.jsonl' --workers 2

Without `input` the flow reads synthetic orders, made at its first start; `headway generate orders` makes others.
"""

from collections.abc import Iterator
from typing import Literal

import headway as hw
from headway.generate.stories import story_events


class OrderEvent(hw.Event):
    """What happens to an order."""

    order: str
    kind: Literal["placed", "paid", "packed", "shipped", "delivered", "cancelled", "refused"]
    at: hw.Time
    cents: int = 0


class Order(hw.State):
    """What is remembered of an order."""

    cents: int = 0


Action = Literal["release", "refund", "restock"]


class Compensation(hw.Event):
    """The trigger's data: what is to be undone, how far the order had come, and what ended it."""

    action: Action
    reached: str
    cause: str
    cents: int


UNDO: dict[str, tuple[Action, ...]] = {
    "placed": ("release",),
    "paid": ("refund",),
    "packed": ("refund", "restock"),
    "shipped": ("refund", "restock"),
}
"""What a failed order needs, by the state that it had reached; what got lost on its way is not put back."""
FAILED = ("unpaid", "stuck", "lost", "cancelled", "refused")


def note_price(event: OrderEvent, order: Order) -> None:
    """Remember what may have to be paid back."""
    order.cents = event.cents


def compensations(step: hw.Transition[OrderEvent, Order]) -> Iterator[Compensation]:
    """What a failed order needs; nothing for other steps."""
    if step.to_state in FAILED and step.data is not None:
        for action in UNDO[step.from_state]:
            if not (action == "restock" and step.to_state == "lost"):
                yield Compensation(action=action, reached=step.from_state, cause=step.to_state, cents=step.data.cents)


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
    .timeout("placed", after="30m", to="unpaid")
    .timeout("paid", after="1d", to="stuck")
    .timeout("packed", after="2d", to="stuck")
    .timeout("shipped", after="7d", to="lost")
)

flow = hw.Flow("order-saga")
path = flow.param("input", "", help="files of order events, such as 'orders/orders-*.jsonl'; generated if empty")
output = flow.param("output", "compensations.jsonl", help="file for the triggers, CloudEvents one a line")
illegal = flow.param("illegal", "illegal-steps.jsonl", help="file for events that the order's state does not allow")
out_of_order = flow.param("out_of_order", "2s", help="how far behind the latest event of its file an event may come")

source = hw.files(path) if path else story_events("orders")
orders = flow.source("orders", OrderEvent, source, time="at", out_of_order=out_of_order, idle_after="1m")
steps = orders.key_by("order").state_machine("life", life)
undo = steps.flat_map(compensations, into=Compensation, name="compensations")
for action in ("release", "refund", "restock"):
    undo.filter(hw.where(action=action)).trigger(
        f"order.{action}", hw.to_jsonl(output.replace(".jsonl", f"-{action}.jsonl"))
    )
steps.side("illegal").to("illegal-steps", hw.to_jsonl(illegal))
