"""Case `engines`: how many workflows of Temporal and Restate a flow starts in a second, beside their own clients."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Row, Sizes, against, alternate
from benchmarks.engine_servers import RestateServer, TemporalServer, restate_program, temporal_program
from benchmarks.places import free_ports, is_open
from benchmarks.processes import ROOT, BenchmarkError, Run, measure

__all__ = ["CASE"]

FLOW: Final = Path(__file__).with_name("flows_engines.py")
_CONCURRENCY: Final = 32
_LEAST: Final = 0.8
"""Of the starts in a second of the engine's own client, which keeps nothing."""
_SHARE: Final = 100
_READY_S: Final = 30.0
_prefixes: Final = itertools.count()


def _about(sizes: Sizes) -> str:
    return (
        f"{sizes.events // _SHARE:,} workflows started, {_CONCURRENCY} at once: by a flow that reads them from a file, "
        "with its epochs and its outbox, and by the engine's own client in a loop"
    )


def _find(sizes: Sizes) -> Finding:
    count = max(sizes.events // _SHARE, 300)
    rows: list[Row] = []
    notes = ["the server of the engine shares the machine, and its rows grow from run to run"]
    with ExitStack() as servers:
        if temporal_program() is None:
            notes.append("there is no server of Temporal: make services")
        else:
            temporal = TemporalServer()
            servers.callback(temporal.remove)
            rows.append(_row("Temporal", "temporal", temporal.address, count, sizes.repeats))
        if restate_program() is None:
            notes.append("there is no server of Restate: make services")
        else:
            restate = RestateServer()
            servers.callback(restate.remove)
            servers.enter_context(_application(restate))
            rows.append(_row("Restate", "restate", restate.url, count, sizes.repeats))
    return Finding(rows, notes)


def _row(name: str, engine: str, address: str, count: int, repeats: int) -> Row:
    own = Arm(f"{name}, its own client in a loop", partial(_by_client, engine, address, count), count)
    flow = Arm(f"{name}, by a flow", partial(_by_flow, engine, address, count), count)
    alternate([own, flow], repeats)
    return against(flow, own, _LEAST)


def _by_client(engine: str, address: str, count: int) -> Run:
    prefix = f"client{next(_prefixes)}"
    return measure(["benchmarks.engine_starter", engine, address, str(count), str(_CONCURRENCY), prefix])


def _by_flow(engine: str, address: str, count: int) -> Run:
    with scratch() as directory:
        log = directory / "steps.jsonl"
        base = next(_prefixes) * 10_000_000
        with log.open("w") as lines:
            # The last event stays behind the watermark. Each run has times, and so ids, of its own.
            for number in range(base, base + count + 1):
                lines.write(json.dumps({"at": number, "user": f"u{number % 5_000}", "n": number}) + "\n")
        given = [f"engine={engine}", f"to={address}", f"input={log}", f"concurrency={_CONCURRENCY}"]
        options = [part for text in given for part in ("--set", text)]
        run = measure(["headway", "run", str(FLOW), "--state", str(directory / "state"), *options, "--json"])
    stats = run.answer["outputs"]["step.taken"]["delivery"]
    if stats["delivered"] != count or stats["waiting"]:
        msg = f"of {count} triggers {stats['delivered']} were delivered, and {stats['waiting']} wait"
        raise BenchmarkError(msg)
    run.answer.update(running_s=run.answer["seconds"], running_cpu_s=run.cpu_s)
    return run


@contextmanager
def _application(server: RestateServer) -> Iterator[None]:
    """The object whose calls are started."""
    [port] = free_ports(1)
    with subprocess.Popen([sys.executable, "-m", "benchmarks.engine_app", str(port)], cwd=ROOT) as process:
        try:
            until_s = time.monotonic() + _READY_S
            while not is_open(port):
                if process.poll() is not None or time.monotonic() > until_s:
                    msg = "the application of Restate did not come: pip install 'headway[dev]'"
                    raise BenchmarkError(msg)
                time.sleep(0.05)
            server.register(port)
            yield
        finally:
            process.kill()


CASE: Final = Case("engines", _about, _find)
