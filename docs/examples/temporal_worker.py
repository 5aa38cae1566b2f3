"""A worker of Temporal whose workflow asks a flow for a decision. Started by the flow in `win_back.py`.

    TEMPORAL=localhost:7233 SHOP_VIEWS=http://127.0.0.1:8090 python temporal_worker.py

The view is asked in an activity, whose result Temporal keeps: when the workflow is replayed, it decides as before.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any, Optional

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from headway.client import AsyncClient

VIEWS = os.environ.get("SHOP_VIEWS", "http://127.0.0.1:8090")
TEMPORAL = os.environ.get("TEMPORAL", "localhost:7233")


@activity.defn
async def cart_of(user: str) -> Optional[dict[str, Any]]:
    """The cart of now; None where it was bought. What is raised, such as `NotYetError`, has Temporal try again."""
    async with AsyncClient(VIEWS) as client:
        cart: Optional[dict[str, Any]] = await client.view("carts").get(user)
        return cart


@workflow.defn
class WinBack:
    """Decides what a visitor is offered who has left a cart."""

    @workflow.run
    async def run(self, abandoned: dict[str, Any]) -> str:
        """Ask for the cart of now, and decide."""
        user = abandoned["user"]
        cart = await workflow.execute_activity(cart_of, user, start_to_close_timeout=timedelta(seconds=10))
        if cart is None:
            return f"{user} has bought meanwhile"
        return f"{user} gets {cart['cents'] // 10} cents off {cart['items']} items"


async def main() -> None:
    """Work until it is stopped."""
    client = await Client.connect(TEMPORAL)
    async with Worker(client, task_queue="shop", workflows=[WinBack], activities=[cart_of]):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
