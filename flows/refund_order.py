"""Refunds: imperative code that calls three services step by step, and survives crashes between any two of them.

    headway run flows/refund_order.py --follow
    headway functions ls flows/refund_order.py
    headway functions history flows/refund_order.py refund_order/o-3

The services are stand-ins: shipping answers late, the bank is down for some orders, and somebody is told then. Kill the
run at any moment and start it again: each refund goes on where it was.
"""

import asyncio
from typing import Any
from zlib import crc32

import headway as hw
from headway import durable_workflow


@durable_workflow
async def refund_order(context: Any, order_id: str) -> None:
    """Take an order back; where the bank does not, a person has to."""
    await context.call("cancel_shipping", order_id)
    try:
        await context.call("refund_payment", order_id)
    except:  # noqa: E722 - the point: nothing but the outcome of a call is ever raised here
        await context.call("escalate_issue", order_id)


flow = hw.Functions("refund-order", [refund_order])
orders = flow.param("orders", 20, help="how many orders to refund")
late_ms = flow.param("late_ms", 200, help="how long shipping takes to answer, in milliseconds")


@flow.step
async def cancel_shipping(order_id: str) -> None:
    """A service that answers late."""
    await asyncio.sleep(late_ms / 1_000)


@flow.step(retry=hw.RetryPolicy(initial="100ms", maximum_attempts=3))
def refund_payment(order_id: str) -> None:
    """A service that is down for every fourth order or so."""
    if crc32(order_id.encode()) % 4 == 0:
        msg = "the bank is down"
        raise ConnectionError(msg)


@flow.step
async def escalate_issue(order_id: str) -> str:
    """Somebody is told."""
    return f"a person looks after {order_id}"


requested = hw.items([{"at": number, "order": f"o-{number}"} for number in range(orders)])
refunds = flow.source("refunds", hw.Json, requested, time="at", idle_after="1s")
refunds.start(refund_order, id="order", args=lambda refund: (refund["order"],))
flow.ended.to("ended", hw.to_stdout())
