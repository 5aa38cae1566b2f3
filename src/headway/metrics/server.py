"""The exporter's process: `python -m headway.metrics.server`, started by `--metrics` of `headway run` and `serve`.

It is a process of its own for the same reasons as every server of Headway (`headway.web.host`): whoever scrapes, and
however often, takes no moment of the engine's, and what ends this process ends no run. It costs some 40 MB of memory,
and a few milliseconds of a processor for each scrape.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from headway.metrics.collector import FlowCollector
from headway.metrics.ledger import Ledger
from headway.metrics.sizes import StateSizes
from headway.web.addresses import Address
from headway.web.child import Child, run_child
from headway.web.connections import ConnectionLimits
from headway.web.host import serve
from headway.web.middleware import Gate, guarded, header, host_names
from headway.web.problems import App, ProblemError, Receive, Scope, Send, answer
from headway.web.tokens import Tokens

__all__ = ["exporter"]

_CONNECTIONS = 64
_UNDER_WAY = 16


def exporter(collector: FlowCollector) -> App:
    """The application: `GET /metrics`, in the format that the client asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in ("/metrics", "/"):
            raise ProblemError(404, "there is nothing here: metrics are at /metrics")
        if scope["method"] not in ("GET", "HEAD"):
            raise ProblemError(405, "metrics are read by GET", headers={"allow": "GET, HEAD"})
        encode, content_type = choose_encoder(header(scope, b"accept").decode("latin-1"))
        # Scrapes come one after the other on this loop: the ledger needs no lock.
        body: bytes = encode(registry)
        await answer(send, 200, body, content_type.encode())

    return app


def work(child: Child) -> None:
    """Export until the run ends."""
    options: dict[str, Any] = child.options
    directory = Path(options["directory"])
    state_dir = options["state_dir"]
    sizes = None if state_dir is None else StateSizes(Path(state_dir), lambda: time.monotonic_ns() // 1_000_000)
    collector = FlowCollector(options["flow"], directory, Ledger.load(directory), version("headway"), sizes)
    gate = Gate()
    app = guarded(
        exporter(collector),
        gate=gate,
        tokens=Tokens.load(options["tokens"], "--token"),
        hosts=host_names(Address(options["host"], 0), options["host_names"]),
        max_body=1_024,
        max_concurrency=_UNDER_WAY,
    )
    child.ready()
    serve(app, child.sockets, gate=gate, limits=ConnectionLimits(connections=_CONNECTIONS), stopping=child.stopping)


if __name__ == "__main__":
    run_child(work)
