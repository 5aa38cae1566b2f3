"""Resonate for tests: `python -m tests.resonate_app PORT`. Its standard output says when it is ready.

Resonate's server is in no registry. This is the store and the worker of its SDK (Python 3.12), behind the one address
that the server has: requests of the protocol are posted to it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from aiohttp import web
from resonate.connections import LocalConnection
from resonate.resonate import Resonate

GROUP = "workers"


async def told(context: Any, argument: Any) -> Any:
    return ["told", argument]


async def main(port: str) -> None:
    connection = LocalConnection(group=GROUP)
    worker = Resonate(network=connection, group=GROUP)
    worker.register(told)

    async def asked(request: web.Request) -> web.Response:
        if request.headers.get("authorization", "Bearer swordfish") != "Bearer swordfish":
            return web.Response(status=401)
        body = await request.text()
        return web.Response(text=await connection.send(body), content_type="application/json")

    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/", asked)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await worker.stop()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
