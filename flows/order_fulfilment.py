"""Orders as a saga in imperative code: reserve, charge, wait for the parcel, and take back what was done if it fails.

    headway run flows/order_fulfilment.py --follow
    headway functions signal flows/order_fulfilment.py fulfil_order/o-2 cancel '"changed my mind"'
    headway functions ls flows/order_fulfilment.py

An order that is cancelled while it is packed, or whose card is refused, gives back what it has reserved. Customers are
told over an indirect edge: a mail server that is down holds up no order.
"""

import asyncio
from typing import Any
from zlib import crc32

import headway as hw
from headway import durable_workflow


class Order(hw.Event):
    """What is ordered."""

    id: str
    item: str
    cents: int


@durable_workflow(retention="30d")
async def fulfil_order(context: Any, order: Order) -> str:
    """From the order to the parcel."""
    context.state["stage"] = "reserving"
    context.compensate("release_stock", order.id)
    await context.call("reserve_stock", order.id, order.item)
    context.state["stage"] = "charging"
    context.compensate("refund", order.id)
    await context.call("charge", order.id, order.cents)
    context.state["stage"] = "packing"
    packed = context.call("pack", order.id)
    cancelled = context.wait("cancel")
    await context.first(packed, cancelled)
    if cancelled.done() and not cancelled.cancelled():
        msg = f"cancelled by the customer: {cancelled.result()}"
        raise ValueError(msg)
    context.forget_compensations()
    context.state["stage"] = "shipped"
    return str(packed.result())


flow = hw.Functions("order-fulfilment", [fulfil_order])
count = flow.param("orders", 10, help="how many orders there are")
pack_ms = flow.param("pack_ms", 2_000, help="how long packing takes, in milliseconds")
output = flow.param("output", "", help="a file for what customers are told, in place of the terminal")


@flow.step
async def reserve_stock(order_id: str, item: str) -> None:
    """Put an item aside; a second time for the same order is the same."""


@flow.step
async def release_stock(order_id: str) -> None:
    """Put it back."""


@flow.step(retry=hw.RetryPolicy(maximum_attempts=1))
async def charge(order_id: str, cents: int) -> None:
    """Take the money; the cards of some are refused."""
    if crc32(order_id.encode()) % 5 == 0:
        msg = "the card is refused"
        raise PermissionError(msg)


@flow.step
async def refund(order_id: str) -> None:
    """Give the money back, if it was taken."""


@flow.step
async def pack(order_id: str) -> str:
    """Pack and hand over to the carrier; gives the parcel's number."""
    await asyncio.sleep(pack_ms / 1_000)
    return f"parcel-{order_id}"


placed = [{"at": number, "id": f"o-{number}", "item": "lamp", "cents": 4_900} for number in range(count)]
orders = flow.source("orders", hw.Json, hw.items(placed), time="at", idle_after="1s")
orders.start(fulfil_order, id="id", args=lambda order: (Order(order["id"], order["item"], order["cents"]),))
flow.ended.to("told", hw.to_jsonl(output) if output else hw.to_stdout())
