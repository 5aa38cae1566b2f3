"""Case `decisions`: one key at a time is asked for while the flow runs at full speed, and what that costs the flow."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import msgspec

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Row, Sizes, against, alternate
from benchmarks.engine import EngineSpec
from benchmarks.processes import BenchmarkError, Run, gone, measure, start
from benchmarks.shop import shop_stream

__all__ = ["CASE"]

_FLOW: Final = "benchmarks.flows_decisions"
_VIEW: Final = "visits"
_RATE: Final = 2_000
_P99_MS: Final = 10.0
_LEAST: Final = 0.9
_TIMES: Final = 4
"""As many events as other cases read."""
_READY_S: Final = 60.0
_LEAST_S: Final = 2.0
"""For so long questions are asked, also where the flow is through sooner."""
_LONG_S: Final = "600"
"""Longer than any flow takes: the asker ends with it."""
_NOTE: Final = (
    "flow, server and asker are a process each: on fewer cores than three they take time from each other. Questions "
    "are sent when their time has come, whether those before have been answered or not"
)


def _about(sizes: Sizes) -> str:
    return (
        f"{_RATE:,} questions/s about one key each, while the flow reads {_longer(sizes).events:,} events at full speed"
    )


def _longer(sizes: Sizes) -> Sizes:
    """Several epochs at full speed."""
    return replace(sizes, name=f"{sizes.name}-longer", events=_TIMES * sizes.events)


def _find(given: Sizes) -> Finding:
    sizes = _longer(given)
    alone = Arm("the flow alone", partial(_run, sizes, asked=False), sizes.events)
    asked = Arm(f"with a server, asked {_RATE:,} times a second", partial(_run, sizes, asked=True), sizes.events)
    alternate([alone, asked], sizes.repeats)
    p50, p99 = asked.told("p50"), asked.told("p99")
    text = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {asked.told('answers'):,.0f} answers"
    row = Row(asked, None, p99, text, f"p99 <= {_P99_MS:g} ms", p99 <= _P99_MS)
    return Finding([row, against(asked, alone, _LEAST)], [_NOTE])


def _run(sizes: Sizes, *, asked: bool) -> Run:
    stream = shop_stream(sizes, 2)
    with scratch() as directory:
        parameters = {"input": f"{stream}/shop-*.jsonl"}
        spec = EngineSpec(flow=_FLOW, parameters=parameters, state_dir=str(directory / "state"))
        command = ["benchmarks.engine", msgspec.json.encode(spec).decode()]
        if not asked:
            return measure(command)
        told: dict[str, Any] = {}
        with _served(directory) as (port, server):

            def meanwhile(process: subprocess.Popen[bytes]) -> None:
                _wait_for(f"http://127.0.0.1:{port}/readyz", server)
                told.update(_ask(process, port, sizes.users))

            run = measure(command, meanwhile=meanwhile)
        run.answer.update(told)
        return run


@contextmanager
def _served(directory: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server that waits for the flow to start; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["--listen", f"127.0.0.1:{port}", "--state", str(directory / "state")]
    with TemporaryFile() as words:
        server = start(["headway", "serve", _FLOW, *place], words, words)
        try:
            _wait_for(f"http://127.0.0.1:{port}/healthz", server)
            yield port, server
        finally:
            server.terminate()
            server.wait()


def _ask(process: subprocess.Popen[bytes], port: int, users: int) -> dict[str, Any]:
    """Ask until the flow has read everything; returns the latencies."""
    with TemporaryFile() as words, TemporaryFile() as found:
        asker = start(
            ["benchmarks.asker", "127.0.0.1", str(port), _VIEW, str(users), str(_RATE), _LONG_S], found, words
        )
        try:
            least_s = time.monotonic() + _LEAST_S
            while asker.poll() is None and (not gone(process) or time.monotonic() < least_s):
                time.sleep(0.01)
        finally:
            asker.terminate()
            asker.wait()
        found.seek(0)
        lines = found.read().splitlines()
        if not lines:
            words.seek(0)
            msg = f"the asker has told nothing: {words.read().decode()[-500:]}"
            raise BenchmarkError(msg)
        answer: dict[str, Any] = msgspec.json.decode(lines[-1])
        return answer


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until a question about the server itself is answered well: that it lives, or that it knows a committed epoch."""
    until_s = time.monotonic() + _READY_S
    while time.monotonic() < until_s and server.poll() is None:
        try:
            with urlopen(url, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.02)
    msg = "the server was not ready in time"
    raise BenchmarkError(msg)


CASE = Case("decisions", _about, _find)
