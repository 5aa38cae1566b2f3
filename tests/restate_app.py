"""Services of Restate for tests: `python -m tests.restate_app PORT`. Its standard output says when it is ready."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import restate

carts = restate.VirtualObject("Cart")
orders = restate.Service("Orders")
reviews = restate.Workflow("Review")


@carts.handler()
async def add(context: restate.ObjectContext, event: Any) -> None:
    found: Any = await context.get("got") or []
    context.set("got", [*found, [event, context.request().headers.get("ce-id")]])


@carts.handler(name="all")
async def everything(context: restate.ObjectContext) -> Any:
    """What has come; exclusive, so it waits until all that came before is done."""
    return await context.get("got") or []


@orders.handler()
async def note(context: restate.Context, event: Any) -> None:
    """Passed on to the cart of the order, so that it can be asked for."""
    context.object_send(add, key=event["cart"], arg=context.request().headers["ce-type"])


@reviews.main()
async def run(context: restate.WorkflowContext, event: Any) -> Any:
    """Waits for somebody to decide: tells the cart what decides."""
    decided: Any
    awakeable, decided = context.awakeable()
    context.object_send(add, key=f"review-{context.key()}", arg=awakeable)
    return [event, await decided]


@reviews.handler()
async def poke(context: restate.WorkflowSharedContext, event: Any) -> None:
    context.object_send(add, key=f"poked-{context.key()}", arg=event)


async def main(port: str) -> None:
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "ERROR"
    over = asyncio.Event()
    app = restate.app([carts, orders, reviews])
    serving = asyncio.ensure_future(hypercorn.asyncio.serve(app, config, shutdown_trigger=over.wait))
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", int(port))
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            break
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    over.set()
    await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
