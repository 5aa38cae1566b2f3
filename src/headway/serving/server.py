"""Serving the views of a flow: in this process, or as the child of a run (`python -m headway.serving.server`)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Optional

from headway.declare.flow import Flow
from headway.declare.loading import FlowSpec, load_flow
from headway.durable.flow import Functions
from headway.errors import UsageError
from headway.metrics.snapshots import Leaver, ViewsSnapshot, now_ms, process_name
from headway.plan.planner import compile_plan
from headway.serving.app import ViewsApp
from headway.serving.state import DecisionState
from headway.web.addresses import Address
from headway.web.child import Child, run_child
from headway.web.connections import ConnectionLimits
from headway.web.counting import counted
from headway.web.host import serve
from headway.web.middleware import Gate, guarded, host_names
from headway.web.tokens import Tokens

__all__ = ["check_views", "serve_views"]

_CONNECTIONS = 12_000
_UNDER_WAY = 11_000
"""Requests at a time: mostly clients that wait for a change."""


def check_views(flow: Flow) -> None:
    """Raise `UsageError` for a flow that declares no view."""
    if not flow.graph.views:
        msg = f'the flow {flow.name!r} has no view to serve: declare one with flow.serve("name", stream)'
        raise UsageError(msg)


def serve_views(
    flow: Flow,
    directory: Path,
    sockets: Sequence[socket.socket],
    *,
    tokens: Tokens,
    hosts: Collection[str],
    stopping: Callable[[], bool],
    ready: Callable[[], None] = lambda: None,
    metrics: Optional[Path] = None,
) -> None:
    """Serve until `stopping`; calls `ready` once requests are taken. Raises `UsageError` for a flow without views.

    `metrics` is where snapshots for an exporter are left.
    """
    check_views(flow)
    state = DecisionState(compile_plan(flow.graph), directory)
    state.refresh()
    gate = Gate()
    callees = flow.callees if isinstance(flow, Functions) else None
    app = ViewsApp(state, wall_ms=lambda: time.time_ns() // 1_000_000, callees=callees)
    guard = guarded(app, gate=gate, tokens=tokens, hosts=hosts, max_concurrency=_UNDER_WAY)
    gate.not_ready = lambda: state.not_ready

    responses: dict[str, int] = {}
    whole = counted(guard, responses)

    async def entrance(scope: Any, receive: Any, send: Any) -> None:
        app.start()
        await whole(scope, receive, send)

    def ends() -> bool:
        if not stopping():
            return False
        app.end()
        return True

    ready()
    with nullcontext() if metrics is None else Leaver(metrics, _taker(app, gate, responses)):
        serve(entrance, sockets, gate=gate, limits=ConnectionLimits(connections=_CONNECTIONS), stopping=ends)


def _taker(app: ViewsApp, gate: Gate, responses: dict[str, int]) -> Callable[[], ViewsSnapshot]:
    process = process_name(now_ms())

    def take() -> ViewsSnapshot:
        snapshot = app.state.snapshot
        return ViewsSnapshot(
            process=process,
            at_ms=now_ms(),
            responses=dict(responses),
            under_way=gate.under_way,
            watching=app.watchers.count,
            cut_at_ms=None if snapshot is None else snapshot.cut.at_ms,
        )

    return take


def work(child: Child) -> None:
    """The whole of a child that serves beside a run."""
    options = child.options
    flow = load_flow(FlowSpec(options["flow"], options["parameters"]))
    address = Address(options["host"], options["port"])
    tokens = Tokens.load(options["tokens"], "--serve-token")
    hosts = host_names(address, options["host_names"])
    directory = Path(options["state_dir"])
    serve_views(
        flow,
        directory,
        child.sockets,
        tokens=tokens,
        hosts=hosts,
        stopping=child.stopping,
        ready=child.ready,
        metrics=Path(options["metrics_dir"]),
    )


if __name__ == "__main__":
    run_child(work)
