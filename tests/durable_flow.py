"""A group of functions that does a little of everything, for tests that kill its processes."""

from __future__ import annotations

import os
from typing import Any

import headway as hw
from headway import durable_workflow

PROMPT = hw.RetryPolicy(initial="20ms", maximum_attempts=3)


def effect(text: str) -> None:
    """One line in a file, whole or not at all."""
    file = os.open("effects.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\n".encode())
    os.close(file)


@durable_workflow
async def refund_order(context, order_id):  # type: ignore[no-untyped-def]
    await context.call("cancel_shipping", order_id)
    try:
        await context.call("refund_payment", order_id)
    except:  # noqa: E722 - what a user writes
        await context.call("escalate_issue", order_id)


@durable_workflow
async def total(context: Any, numbers: list[int]) -> int:
    parts = await context.gather(*(context.call("double", number) for number in numbers))
    await context.sleep("30ms")
    return sum(parts)


@durable_workflow
async def order(context: Any, number: int) -> dict[str, Any]:
    try:
        whole = await context.child(total, list(range(number % 5)))
        await context.child(refund_order, f"o-{number}")
        approved = await context.wait("approve", timeout="50ms") if number % 3 == 0 else None
    except TimeoutError:
        approved = "timed out"
    return {"total": whole, "approved": approved, "id": str(context.uuid()), "dice": context.random.randrange(1_000)}


flow = hw.Functions("orders", [refund_order, total, order], live_most=int(os.environ.get("LIVE", "1000")))


@flow.step
async def cancel_shipping(order_id: str) -> None:
    effect(f"cancel {order_id}")


@flow.step(retry=PROMPT)
def refund_payment(order_id: str) -> None:
    effect(f"refund {order_id}")
    if order_id.endswith("7"):
        raise OSError("the bank is down")


@flow.step
async def escalate_issue(order_id: str) -> None:
    effect(f"escalate {order_id}")


@flow.step
async def double(number: int) -> int:
    return 2 * number


flow.ended.to("ended", hw.to_jsonl("ended.jsonl"))
