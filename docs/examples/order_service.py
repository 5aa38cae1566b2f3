"""An ordinary web service beside a flow: it asks for a decision before it takes an order, and hears of abandoned carts.

    headway run headway.flows.demo_shop --listen 127.0.0.1:8080 --serve 127.0.0.1:8090 \
        --set webhook=http://127.0.0.1:8099/hooks --set secret=env:SHOP_SECRET --set after=1m
    uvicorn order_service:app --port 8099

It tells the flow what visitors do, as its own requests come in; it keeps no carts itself. Both are started with the
same SHOP_SECRET, such as `whsec_` and the base64 of 32 random bytes.
"""

from __future__ import annotations

import os
from typing import Any, Optional

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import headway as hw
from headway.client import AsyncClient, NotYetError, ServiceError

FLOW = os.environ.get("SHOP_FLOW", "http://127.0.0.1:8080")
VIEWS = os.environ.get("SHOP_VIEWS", "http://127.0.0.1:8090")
MOST_CENTS = 100_000

mails: dict[str, str] = {}
"""Mails that were sent, by the id of the trigger: a trigger that comes again sends no second one."""


async def tell_flow(step: dict[str, Any], key: str) -> dict[str, Any]:
    """Post what a visitor has done; returns the receipt. Safe to repeat with the same key."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{FLOW}/steps", json=step, headers={"idempotency-key": key}) as answer,
    ):
        answer.raise_for_status()
        receipt: dict[str, Any] = await answer.json()
        return receipt


async def cart_of(user: str, receipt: Optional[dict[str, Any]]) -> Optional[dict[str, Any]]:
    """What is in a cart, with everything up to a receipt."""
    async with AsyncClient(VIEWS) as client:
        cart: Optional[dict[str, Any]] = await client.view("carts").get(user, at_least=receipt, wait="5s")
        return cart


async def add(request: Request) -> Response:
    """Something is put into a cart; the answer shows all that is in it now."""
    wanted = await request.json()
    user = request.path_params["user"]
    step = {"user": user, "kind": "add", "sku": wanted["sku"], "cents": wanted["cents"]}
    receipt = await tell_flow(step, request.headers["idempotency-key"])
    return JSONResponse(await cart_of(user, receipt))


async def order(request: Request) -> Response:
    """The decision: an order is taken when there is a cart, and it is not too dear."""
    user = request.path_params["user"]
    try:
        cart = await cart_of(user, None)
    except (NotYetError, ServiceError):
        return JSONResponse({"accepted": False, "reason": "come back soon"}, 503)
    if cart is None:
        return JSONResponse({"accepted": False, "reason": "the cart is empty"}, 409)
    if cart["cents"] > MOST_CENTS:
        return JSONResponse({"accepted": False, "reason": "call us, please"}, 403)
    await tell_flow({"user": user, "kind": "checkout"}, request.headers["idempotency-key"])
    return JSONResponse({"accepted": True, "items": cart["items"], "cents": cart["cents"]})


async def hooks(request: Request) -> Response:
    """A trigger of the flow: check who sends it, act once for each id, and answer soon."""
    body = await request.body()
    try:
        hw.verify_webhook(request.headers, body, "env:SHOP_SECRET")
    except hw.SignatureError:
        return Response(status_code=401)
    message_id = request.headers["webhook-id"]
    if message_id not in mails:
        abandoned = await request.json()
        mails[message_id] = f"Dear {abandoned['user']}, you forgot: {', '.join(abandoned['items'])}"
    return Response(status_code=204)


async def sent(request: Request) -> Response:
    """The mails that were sent."""
    return JSONResponse(list(mails.values()))


app = Starlette(
    routes=[
        Route("/carts/{user}", add, methods=["POST"]),
        Route("/orders/{user}", order, methods=["POST"]),
        Route("/hooks", hooks, methods=["POST"]),
        Route("/mails", sent),
    ]
)
