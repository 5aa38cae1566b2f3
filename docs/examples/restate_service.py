"""A workflow of Restate that asks a flow for a decision. Started by the flow in `win_back.py`.

    SHOP_VIEWS=http://127.0.0.1:8090 hypercorn restate_service:app --bind 127.0.0.1:9080

Register it once with Restate: `restate deployments register http://127.0.0.1:9080`. The view is asked in a step
(`run_typed`), whose result Restate keeps: when the workflow is replayed, it decides as before.
"""

from __future__ import annotations

import os
from typing import Any, Optional

import restate

from headway.client import AsyncClient

VIEWS = os.environ.get("SHOP_VIEWS", "http://127.0.0.1:8090")

win_back = restate.Workflow("WinBack")


async def cart_of(user: str) -> Optional[dict[str, Any]]:
    """The cart of now; None where it was bought. What is raised, such as `NotYetError`, has Restate try again."""
    async with AsyncClient(VIEWS) as client:
        cart: Optional[dict[str, Any]] = await client.view("carts").get(user)
        return cart


@win_back.main()
async def run(context: restate.WorkflowContext, abandoned: dict[str, Any]) -> str:
    """Ask for the cart of now, and decide."""
    user = abandoned["user"]
    cart = await context.run_typed("cart_of", cart_of, user=user)
    if cart is None:
        return f"{user} has bought meanwhile"
    return f"{user} gets {cart['cents'] // 10} cents off {cart['items']} items"


app = restate.app([win_back])
