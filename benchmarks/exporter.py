"""Case `exporter`: what it costs a flow at full speed to be scraped once a second."""

from __future__ import annotations

import socket
import subprocess
import time
from functools import partial
from statistics import median
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import msgspec

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Sizes, against, alternate, within
from benchmarks.engine import EngineSpec
from benchmarks.processes import BenchmarkError, Run, gone, measure
from benchmarks.shop import FLOW, shop_stream

__all__ = ["CASE"]

_EVERY_S: Final = 1.0
_LEAST: Final = 0.95
_SCRAPE_MS: Final = 50.0
_NOTE: Final = "the exporter is a process beside the flow; a scrape is timed from the connection to the last byte"


def _about(sizes: Sizes) -> str:
    return f"abandoned carts over {sizes.events:,} events, and an exporter of its metrics, scraped once a second"


def _find(sizes: Sizes) -> Finding:
    alone = Arm("without metrics", partial(_run, sizes, scraped=False), sizes.events)
    scraped = Arm("with --metrics, scraped once a second", partial(_run, sizes, scraped=True), sizes.events)
    alternate([alone, scraped], sizes.repeats)
    return Finding(
        [against(scraped, alone, _LEAST), within(scraped, scraped.told("scrape_ms"), _SCRAPE_MS, "ms a scrape")],
        [_NOTE],
    )


def _run(sizes: Sizes, *, scraped: bool) -> Run:
    stream = shop_stream(sizes, 1)
    with scratch() as directory, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        spec = EngineSpec(
            flow=FLOW,
            parameters={
                "input": f"{stream}/shop-*.jsonl",
                "output": str(directory / "out.jsonl"),
                "out_of_order": "0s",
            },
            state_dir=str(directory / "state"),
            metrics=address if scraped else "",
        )
        told: dict[str, Any] = {}

        def meanwhile(process: subprocess.Popen[bytes]) -> None:
            told["scrape_ms"] = _scrape(process, f"http://{address}/metrics")

        command = ["benchmarks.engine", msgspec.json.encode(spec).decode()]
        run = measure(command, meanwhile=meanwhile if scraped else None)
        run.answer.update(told)
        return run


def _scrape(process: subprocess.Popen[bytes], url: str) -> float:
    """Scrape until the flow has ended; returns how long a scrape takes, in milliseconds."""
    times: list[float] = []
    while not gone(process):
        began_s = time.perf_counter()
        try:
            with urlopen(url, timeout=5) as answer:
                answer.read()
        except (URLError, OSError):
            time.sleep(0.02)
            continue
        times.append(1_000 * (time.perf_counter() - began_s))
        time.sleep(_EVERY_S)
    if not times:
        msg = "the flow ended before anything could be scraped"
        raise BenchmarkError(msg)
    return median(times)


CASE = Case("exporter", _about, _find)
