"""An application of DBOS whose workflow asks a flow for a decision. Started by the flow in `win_back.py`.

    DBOS_SYSTEM_DATABASE_URL=sqlite:///shop.sqlite SHOP_VIEWS=http://127.0.0.1:8090 python dbos_worker.py

The view is asked in a step, whose result DBOS keeps: when the workflow is recovered, it decides as before.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Optional

from dbos import DBOS

from headway.client import Client

VIEWS = Client(os.environ.get("SHOP_VIEWS", "http://127.0.0.1:8090"))
"""One for all threads; nothing is connected before something is asked."""


@DBOS.step(retries_allowed=True, max_attempts=10)
def cart_of(user: str) -> Optional[dict[str, Any]]:
    """The cart of now; None where it was bought. What is raised, such as `NotYetError`, has DBOS try again."""
    cart: Optional[dict[str, Any]] = VIEWS.view("carts").get(user)
    return cart


@DBOS.workflow(name="WinBack")
def win_back(abandoned: dict[str, Any]) -> str:
    """Ask for the cart of now, and decide."""
    user = abandoned["user"]
    cart = cart_of(user)
    if cart is None:
        return f"{user} has bought meanwhile"
    return f"{user} gets {cart['cents'] // 10} cents off {cart['items']} items"


if __name__ == "__main__":
    url = os.environ.get("DBOS_SYSTEM_DATABASE_URL", "sqlite:///shop.sqlite")
    DBOS(config={"name": "shop", "system_database_url": url})
    DBOS.launch()
    DBOS.register_queue("shop")
    threading.Event().wait()
