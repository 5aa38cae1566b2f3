"""Case `ingest`: how fast events are taken by HTTP and made durable, while the flow reads them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Row, Sizes, alternate, within
from benchmarks.poster import Posted
from benchmarks.processes import BenchmarkError, Run, gone, measure

__all__ = ["CASE", "await_server"]

_BATCH: Final = 100
_BATCH_CONNECTIONS: Final = 8
_BATCH_TARGET: Final = 20_000
_SINGLE_CONNECTIONS: Final = 64
_SINGLE_TARGET: Final = 2_500
_SINGLE_P99_MS: Final = 50
_READY_S: Final = 60.0
FLOW: Final = Path(__file__).with_name("flows_ingest.py")


def _about(sizes: Sizes) -> str:
    return f"{_BATCH_CONNECTIONS} connections post batches of {_BATCH}, and {_SINGLE_CONNECTIONS} single events"


def _find(sizes: Sizes) -> Finding:
    batches = Arm(f"batches of {_BATCH}", partial(_run, sizes, _BATCH_CONNECTIONS, _BATCH), sizes.events)
    singles = Arm("single events", partial(_run, sizes, _SINGLE_CONNECTIONS, 1), sizes.events)
    alternate([batches, singles], sizes.repeats)
    rows = [
        _at_least(batches, batches.told("events_s"), _BATCH_TARGET, "events/s"),
        _at_least(singles, singles.told("events_s"), _SINGLE_TARGET, "events/s"),
        within(singles, singles.told("p99_ms"), _SINGLE_P99_MS, "ms at the 99th percentile"),
    ]
    return Finding(rows, ["each answer waits for the disk; client, server and flow share the machine"])


def _at_least(arm: Arm, figure: float, least: float, unit: str) -> Row:
    return Row(arm, None, figure, f"{figure:,.0f} {unit}", f">= {least:,g} {unit}", figure >= least)


def _run(sizes: Sizes, connections: int, batch: int) -> Run:
    posted: list[Posted] = []
    with scratch() as directory:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = int(sock.getsockname()[1])

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            await_server(port, process)
            command = [sys.executable, "-m", "benchmarks.poster", *map(str, (port, connections, batch, sizes.seconds))]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            posted.append(msgspec.json.decode(said, type=Posted))
            process.terminate()

        places = ["--state", str(directory / "state"), "--set", f"output={directory}/out"]
        run = measure(["headway", "run", str(FLOW), *places, "--listen", str(port), "--json"], meanwhile=meanwhile)
        rest = measure(["headway", "run", str(FLOW), *places, "--json"])
    (found,) = posted
    read = run.answer["events"] + rest.answer["events"]
    if found.refused or read < found.events:
        msg = f"{found.events} events were acknowledged, {found.refused} refused; the flow has read {read}"
        raise BenchmarkError(msg)
    events_s = found.events / found.seconds
    run.answer.update(events_s=events_s, p50_ms=found.p50_ms, p99_ms=found.p99_ms)
    run.answer.update(running_s=sizes.events / events_s, running_cpu_s=run.cpu_s)
    return run


def await_server(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the server takes connections."""
    until_s = time.monotonic() + _READY_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > until_s or gone(process):
                msg = "the server did not come"
                raise BenchmarkError(msg) from None
            time.sleep(0.05)


CASE = Case("ingest", _about, _find)
