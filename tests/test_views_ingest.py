"""Read your own write, from the post of an event to the decision, over crashes and numbers of workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.test_views_cli import free_port
from tests.views_harness import kill, until
from tests.views_ingest_flow import Spent
from tests.web_harness import ask

from headway.client import Client, ServiceError
from headway.web.addresses import Address

FLOW = Path(__file__).with_name("views_ingest_flow.py")


def started(directory: Path, listen: int, serve: int, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "headway", "run", str(FLOW), "--quiet", "--workers", str(workers)]
    command += ["--epoch", "50ms", "--state", str(directory / "state")]
    command += ["--listen", f"127.0.0.1:{listen}", "--serve", f"127.0.0.1:{serve}"]
    with (directory / "run.log").open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)


def is_up(port: int) -> bool:
    try:
        return ask(Address("127.0.0.1", port), "GET", "/healthz").status == 200
    except OSError:
        return False


def post(port: int, event: dict[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    answer = ask(Address("127.0.0.1", port), "POST", "/orders", json.dumps(event).encode(), headers)
    assert answer.status in (200, 201, 202), answer
    receipt: dict[str, Any] = answer.json
    return receipt


def test_a_decision_includes_what_was_posted_before(tmp_path: Path) -> None:
    listen, serve = free_port(), free_port()
    total = 0
    for workers in (1, 2, 3):
        process = started(tmp_path, listen, serve, workers)
        try:
            until(lambda: is_up(listen) and is_up(serve), "both servers", process=process)
            with Client(f"http://127.0.0.1:{serve}", timeout_s=60) as client:
                spent = client.view("spent", Spent)
                for number in range(8):
                    receipt = post(listen, {"user": "ann", "cents": number})
                    total += 1
                    found = read(spent, receipt)
                    assert found is not None and found.orders == total
        finally:
            kill(process)
        until(lambda: not is_up(listen) and not is_up(serve), "the servers have noticed that their run is gone")


def read(spent: Any, receipt: dict[str, Any]) -> Any:
    """Ask until the server knows: for a moment after a start it knows no epoch."""
    found: list[Any] = []

    def ask_once() -> bool:
        try:
            found.append(spent.get("ann", at_least=receipt, wait="30s"))
        except ServiceError as error:
            assert error.status in (0, 503), error
            return False
        return True

    until(ask_once, "an answer")
    return found[0]
