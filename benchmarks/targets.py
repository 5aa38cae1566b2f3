"""Case `targets`: how many triggers a target takes in a second from a bare loop, without a flow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, Optional

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Row, Sizes, alternate
from benchmarks.postgres_server import PLACES, PostgresServer
from benchmarks.processes import ROOT, Run, measure

__all__ = ["CASE"]

_LEAST: Final = {"webhook": 3_000, "postgres triggers": 20_000, "postgres rows": 20_000}
"""Triggers a second."""
_LABELS: Final = {
    "webhook": "webhook, one request for each, signed, 16 at once",
    "webhook batched": "webhook, lists of 100",
    "call": "function in a thread, 16 at once",
    "sqlite triggers": "SQLite, table of triggers, batches of 500",
    "sqlite rows": "SQLite, typed rows by key, batches of 500",
    "postgres triggers": "PostgreSQL, table of triggers, batches of 500",
    "postgres rows": "PostgreSQL, typed rows by key, batches of 500",
}
_SHARE: Final = {"webhook": 10}
"""What costs a message each is given fewer."""


def _about(sizes: Sizes) -> str:
    return f"a bare loop hands {sizes.clicks // 10:,} triggers to a target; the receiver is on the same machine"


def _find(sizes: Sizes) -> Finding:
    kinds = [kind for kind in _LABELS if PLACES or not kind.startswith("postgres")]
    arms = {kind: _arm(kind, sizes) for kind in kinds}
    for arm in arms.values():
        alternate([arm], sizes.repeats)
    notes = [] if PLACES else ["there is no PostgreSQL in /usr/lib/postgresql: its rows are missing"]
    return Finding([_row(arm, _LEAST.get(kind)) for kind, arm in arms.items()], notes)


def _arm(kind: str, sizes: Sizes) -> Arm:
    count = max(sizes.clicks // 10 // _SHARE.get(kind, 1) // 4 * 4, 4)
    return Arm(_LABELS[kind], partial(_run, kind, count), count)


def _row(arm: Arm, least: Optional[int]) -> Row:
    met = None if least is None else arm.running >= least
    text = f"{arm.running:,.0f}/s"
    return Row(arm, None, arm.running, text, "" if least is None else f">= {least:,}/s", met)


def _run(kind: str, count: int) -> Run:
    with _receiver(kind) as address:
        return measure(["benchmarks.deliverer", kind, address, str(count)])


@contextmanager
def _receiver(kind: str) -> Iterator[str]:
    """What is at the other end, and its address."""
    if kind.startswith("webhook"):
        arguments = [sys.executable, "-m", "benchmarks.receiver"]
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                yield f"http://127.0.0.1:{int(process.stdout.readline())}/hooks"
            finally:
                process.kill()
    elif kind.startswith("postgres"):
        server = PostgresServer()
        try:
            yield server.dsn
        finally:
            server.remove()
    else:
        with scratch() as directory:
            yield str(directory / "shop.db")


CASE: Final = Case("targets", _about, _find)
