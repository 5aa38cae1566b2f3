"""Case `deliveries`: from a post to its webhook, and how many triggers a flow delivers in a second while it runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cache import scratch
from benchmarks.case import MIB, Arm, Case, Finding, Row, Sizes, against, alternate, within
from benchmarks.hooks import Arrived
from benchmarks.places import free_ports, is_open
from benchmarks.postgres_server import PLACES, PostgresServer
from benchmarks.processes import ROOT, BenchmarkError, Run, gone, measure

__all__ = ["CASE"]

FLOW: Final = Path(__file__).with_name("flows_deliveries.py")
_RATE: Final = 1_000
_P99_MS: Final = 300
_WEBHOOKS: Final = 3_000
_ROWS: Final = 20_000
_GROWTH: Final = 64 * MIB
_KEEPS: Final = 0.9
_NOBODY: Final = "http://127.0.0.1:9/gone"
_READY_S: Final = 60.0
_SHARE: Final = 20
"""A webhook costs a message: fewer are sent."""
_MORE: Final = 2
"""The flow makes half as many more where all wait already: how fast, and in how much memory, is what is asked."""


def _about(sizes: Sizes) -> str:
    return (
        f"{_RATE:,} events/s by HTTP, a webhook for each, epochs of 100 ms; {sizes.events // _SHARE:,} triggers to a "
        f"webhook, {sizes.events:,} to PostgreSQL; "
        f"{sizes.events // _MORE:,} to nobody, with none and with {sizes.events:,} waiting before"
    )


def _find(sizes: Sizes) -> Finding:
    posted = Arm("from a post to its webhook", partial(_round_trip, sizes), _RATE * sizes.seconds)
    hooks = Arm("webhooks, while the flow runs", partial(_to_receiver, sizes.events // _SHARE), sizes.events // _SHARE)
    rows_arm = Arm("rows, while the flow runs", partial(_to_postgres, sizes.events), sizes.events)
    for arm in [posted, hooks, *([rows_arm] if PLACES else [])]:
        alternate([arm], sizes.repeats)
    more = sizes.events // _MORE
    alone = Arm("to nobody, none waiting before", partial(_to_nobody, more), more)
    with scratch() as directory:
        backlog = _Backlog(directory)
        backlog.more(sizes.events)
        waiting = Arm("to nobody, with many waiting", partial(backlog.more, more), more)
        alternate([alone, waiting], sizes.repeats)
    growth = max(0, waiting.peak_bytes - alone.peak_bytes)
    found = [
        within(posted, posted.told("p99_ms"), _P99_MS, "ms at the 99th percentile"),
        _at_least(hooks, hooks.told("delivered_s"), _WEBHOOKS, "/s"),
        Row(waiting, alone, growth, f"{growth / MIB:+.0f} MiB", f"<= {_GROWTH // MIB} MiB", growth <= _GROWTH),
        against(waiting, alone, _KEEPS),
    ]
    notes = ["client, server, flow and receiver share the machine"]
    if PLACES:
        found.append(_at_least(rows_arm, rows_arm.told("delivered_s"), _ROWS, "/s"))
    else:
        notes.append("there is no PostgreSQL in /usr/lib/postgresql: its row is missing")
    return Finding(found, notes)


def _at_least(arm: Arm, figure: float, least: float, unit: str) -> Row:
    return Row(arm, None, figure, f"{figure:,.0f}{unit}", f">= {least:,g}{unit}", figure >= least)


def _round_trip(sizes: Sizes) -> Run:
    arrived: list[Arrived] = []
    arguments = [sys.executable, "-m", "benchmarks.hooks", str(_RATE), str(sizes.seconds)]
    with (
        scratch() as directory,
        subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client,
    ):
        assert client.stdin is not None and client.stdout is not None
        to = f"to=http://127.0.0.1:{int(client.stdout.readline())}/hooks"
        [port] = free_ports(1)

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            assert client.stdin is not None and client.stdout is not None
            _await(port, process)
            client.stdin.write(b"%d\n" % port)
            client.stdin.flush()
            arrived.append(msgspec.json.decode(client.stdout.readline(), type=Arrived))
            process.terminate()

        options = ["--state", str(directory / "state"), "--set", to, "--epoch", "100ms", "--json"]
        run = measure(["headway", "run", str(FLOW), "--listen", str(port), *options], meanwhile=meanwhile)
    (found,) = arrived
    if found.arrived != found.posted:
        msg = f"{found.posted} events were posted, and {found.arrived} webhooks came"
        raise BenchmarkError(msg)
    run.answer.update(p50_ms=found.p50_ms, p99_ms=found.p99_ms)
    run.answer.update(running_s=float(sizes.seconds), running_cpu_s=run.cpu_s)
    return run


def _to_receiver(count: int) -> Run:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.receiver"], cwd=ROOT, stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout is not None
        try:
            return _delivered(f"http://127.0.0.1:{int(receiver.stdout.readline())}/hooks", count)
        finally:
            receiver.kill()


def _to_postgres(count: int) -> Run:
    server = PostgresServer()
    try:
        return _delivered(server.dsn, count)
    finally:
        server.remove()


def _to_nobody(count: int) -> Run:
    with scratch() as directory:
        return _Backlog(directory).more(count)


class _Backlog:
    """A flow whose triggers are not taken, run again and again: more and more of them wait."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0

    def more(self, count: int) -> Run:
        """Run it for some more events, with all that wait already."""
        self._count += count
        return _run(self._directory, _NOBODY, self._count - count, self._count, delivered=0, waiting=self._count)


def _delivered(to: str, count: int) -> Run:
    with scratch() as directory:
        run = _run(directory, to, 0, count, delivered=count, waiting=0)
    run.answer["delivered_s"] = count / run.answer["seconds"]
    return run


def _run(directory: Path, to: str, begin: int, end: int, *, delivered: int, waiting: int) -> Run:
    """The flow reads a file, and makes a trigger of each line."""
    log = directory / "steps.jsonl"
    with log.open("a") as lines:
        # The last event stays behind the watermark until there is another one.
        for number in range(begin + 1 if begin else 0, end + 1):
            lines.write(json.dumps({"at": number, "user": f"u{number % 5_000}", "n": number}) + "\n")
    options = ["--state", str(directory / "state"), "--set", f"to={to}", "--set", f"input={log}", "--json"]
    run = measure(["headway", "run", str(FLOW), *options])
    stats = run.answer["outputs"]["step.taken"]["delivery"]
    if stats["delivered"] != delivered or stats["waiting"] != waiting:
        msg = f"of {end} triggers {stats['delivered']} were delivered, and {stats['waiting']} wait"
        raise BenchmarkError(msg)
    run.answer.update(running_s=run.answer["seconds"], running_cpu_s=run.cpu_s)
    return run


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the server takes connections."""
    until_s = time.monotonic() + _READY_S
    while not is_open(port):
        if time.monotonic() > until_s or gone(process):
            msg = "the server did not come"
            raise BenchmarkError(msg)
        time.sleep(0.05)


CASE = Case("deliveries", _about, _find)
