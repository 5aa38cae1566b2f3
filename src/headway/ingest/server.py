"""The process that takes posts beside a run: `python -m headway.ingest.server`, started by `headway run --listen`."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Optional

from headway.declare.flow import Flow
from headway.declare.loading import FlowSpec, load_flow
from headway.errors import LockedStateError, UsageError
from headway.graph import SourceNode
from headway.inbox.commits import Inbox
from headway.inbox.source import HttpInput
from headway.ingest.app import IngestApp
from headway.ingest.door import Door
from headway.ingest.steps import StepsApp
from headway.metrics.snapshots import IngestSnapshot, Leaver, now_ms, process_name
from headway.state.files import INBOX_NAME, state_files
from headway.steps.desk_client import Desks
from headway.steps.queues import Queue
from headway.tracing.spans import traced
from headway.tracing.start import tracer_for
from headway.web.addresses import Address
from headway.web.child import Child, run_child
from headway.web.counting import counted
from headway.web.host import serve
from headway.web.middleware import Gate, guarded, host_names
from headway.web.problems import App
from headway.web.tokens import Tokens

__all__ = ["SOCKET_NAME", "doors_of", "open_when_free", "socket_path"]

SOCKET_NAME: Final = "ingest.sock"
_LOCKED_S: Final = 15.0
"""How long somebody else may hold an inbox: a reader that recovers it, a command that appends, a server before."""
_SWITCH_S: Final = 0.0005
"""The thread that syncs needs the interpreter only for moments, but many times a second."""


def doors_of(flow: Flow, state_dir: Path) -> dict[str, Door]:
    """The doors of a flow's sources that take posts, by path. Raises `UsageError` where there is none."""
    doors: dict[str, Door] = {}
    for node in flow.graph.nodes.values():
        if isinstance(node, SourceNode) and isinstance(node.input, HttpInput):
            placed = node.input.within(state_dir)
            doors[node.input.path] = Door(replace(node, input=placed))
    if not doors:
        msg = (
            f"the flow {flow.name!r} has no source that takes posts: declare one with "
            'flow.source(..., hw.http_source("/orders"), ...)'
        )
        raise UsageError(msg)
    return doors


def open_when_free(door: Door, partition: str, within_s: float = _LOCKED_S) -> Inbox:
    """Open the inbox of a partition; waits a little for whoever writes to it. Raises `LockedStateError` after that."""
    until = time.monotonic() + within_s
    while True:
        try:
            return Inbox(door.input.directory(partition), door.input.settings)
        except LockedStateError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def socket_path(state_dir: Path) -> Path:
    """Where `headway ingest` finds the server of a run, as a socket that only the user of the run can open."""
    return state_dir / INBOX_NAME / SOCKET_NAME


def _local_socket(state_dir: Path) -> socket.socket:
    path = socket_path(state_dir)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with state_files(path, "make"):
        with suppress(FileNotFoundError):
            path.unlink()
        # By way of the folder's descriptor: the path of a socket may have no more than 107 bytes.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sock.bind(f"/proc/self/fd/{folder}/{SOCKET_NAME}" if len(os.fsencode(path)) > 100 else str(path))
            path.chmod(0o600)
        finally:
            os.close(folder)
    sock.listen(64)
    sock.setblocking(False)
    return sock


def _leaving(
    directory: Optional[str], app: IngestApp, gate: Gate, responses: dict[str, int]
) -> AbstractContextManager[object]:
    """What leaves snapshots for an exporter, where there is one."""
    if directory is None:
        return nullcontext()
    process = process_name(now_ms())

    def take() -> IngestSnapshot:
        return IngestSnapshot(
            process=process,
            at_ms=now_ms(),
            responses=dict(responses),
            under_way=gate.under_way,
            queued_bytes=app.queued_bytes,
            sources=app.statistics(),
        )

    return Leaver(Path(directory), take)


def _with_steps(app: App, flow: Flow, state_dir: Path, gate: Gate) -> App:
    """The application, with what workers ask where steps of the flow run on them."""
    queues: Mapping[str, Queue] = getattr(flow, "queues", {})
    if all(queue.runs_on == "flow" for queue in queues.values()):
        return app
    return StepsApp(app, Desks(state_dir), lambda: gate.is_draining)


def work(child: Child) -> None:
    """Serve until the run ends, or an inbox is broken."""
    options = child.options
    sys.setswitchinterval(_SWITCH_S)
    state_dir = Path(options["state_dir"])
    flow = load_flow(FlowSpec(options["flow_ref"], options["parameters"]))
    tokens = Tokens.load(options["tokens"], "--token")
    app = IngestApp(
        flow.name,
        doors_of(flow, state_dir),
        open_when_free,
        on_broken=child.stop,
        max_body=options["max_body"],
        has_tokens=bool(tokens),
    )
    app.start()
    gate = Gate(not_ready=app.not_ready)
    hosts = host_names(Address(options["host"], 0), options["host_names"])
    guards = guarded(
        _with_steps(app, flow, state_dir, gate),
        gate=gate,
        tokens=tokens,
        hosts=hosts,
        max_body=app.max_body,
        max_concurrency=options["max_concurrency"],
    )
    tracing = None if options["traces"] is None else tracer_for(options["traces"], flow.name)
    responses: dict[str, int] = {}
    local = _local_socket(state_dir)
    child.ready()
    try:
        with _leaving(options["metrics_dir"], app, gate, responses):
            whole = counted(guards, responses)
            if tracing is not None:
                whole = traced(whole, tracing[0], flow.name)
            serve(whole, [*child.sockets, local], gate=gate, stopping=child.stopping)
    finally:
        with suppress(FileNotFoundError):
            socket_path(state_dir).unlink()
        app.close()
        if tracing is not None:
            tracing[1]()


if __name__ == "__main__":
    run_child(work)
