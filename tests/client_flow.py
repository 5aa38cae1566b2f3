"""A group of functions for tests of the clients, which start it from other processes."""

from __future__ import annotations

import os
from typing import Any

import headway as hw
from headway import durable_workflow


class Quote(hw.Event):
    item: str
    cents: int


@durable_workflow(search={"item": str})
async def buy(context: Any, item: str, amount: int = 1, *, gift: bool = False) -> Quote:
    limit = 1_000
    context.search["item"] = item

    def raise_limit(cents: int) -> int:
        nonlocal limit
        limit += cents
        return limit

    def check(cents: int) -> None:
        if cents < 0:
            raise ValueError(f"{cents} is less than nothing")

    context.on_update("raise", raise_limit, check=check)
    context.on_query("limit", lambda: limit)
    context.on_query("quote", lambda cents: {"item": item, "cents": cents})
    context.on_query("broken", lambda: 1 / 0)
    cents = await context.call("price", item)
    go_on = await context.wait("confirm", returns=bool)
    if not go_on:
        raise PermissionError(f"nobody wants {amount} {item}")
    return Quote(item=item, cents=min(limit, cents * amount) + (100 if gift else 0))


@durable_workflow(id_reuse="new")
async def trace(context: Any) -> list[str]:
    return [context.info.traceparent, await context.call("traced"), await context.child(inner)]


@durable_workflow
async def inner(context: Any) -> str:
    return str(await context.call("traced"))


@durable_workflow
async def confirmed(context: Any) -> int:
    token = context.token(returns=int)
    context.on_query("token", lambda: token.text)
    answer: int = await token
    return answer


flow = hw.Functions("shop", [buy, trace, inner, confirmed])


@flow.step
async def price(item: str) -> int:
    file = os.open("prices.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{item}\n".encode())
    os.close(file)
    return 10 * len(item)


@flow.step
async def traced() -> str:
    return hw.step_info().traceparent
