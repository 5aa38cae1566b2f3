"""A program that orders by a durable function of another process, changes its mind, and looks at what became of it.

    headway run headway.flows.order_fulfilment --follow --listen 127.0.0.1:8080 --serve 127.0.0.1:8090
    python docs/examples/order_desk.py

It knows the function by its name alone: the flow's code need not be installed here.
"""

from __future__ import annotations

import os

from headway.client import FunctionClient, FunctionFailed, NotYetError, ServiceError

LISTEN = os.environ.get("ORDERS_LISTEN", "http://127.0.0.1:8080")
SERVE = os.environ.get("ORDERS_SERVE", "http://127.0.0.1:8090")


def order_and_change_mind(client: FunctionClient) -> str:
    """Order something, and cancel it while it is packed."""
    orders = client.function("fulfil_order", returns=str)
    # With keys this may be run again, also after it was killed anywhere: it is the same order, cancelled once.
    order = orders.start("desk-1", {"id": "desk-1", "item": "lamp", "cents": 4_900}, key="desk-1")
    try:
        try:
            return f"already at the door: {order.result(timeout='200ms')}"
        except NotYetError:
            order.signal("cancel", "too bright", key="desk-1-cancel")
        return f"it was too late: {order.result(timeout='30s')}"
    except FunctionFailed as failed:
        return str(failed)


def main() -> None:
    """Print what comes of it."""
    with FunctionClient(listen=LISTEN, serve=SERVE) as client:
        print(order_and_change_mind(client))
        try:
            client.function("fulfil_order").start("desk-2", "lamp")
        except ServiceError as refused:
            print(refused)
        failed = [one.id for one in client.list("fulfil_order", status="failed") if one.id.startswith("desk")]
        print(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
