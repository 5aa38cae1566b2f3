"""The flows of durable functions that ship, and the commands that look at them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from headway.cli.main import main
from headway.declare.loading import FlowSpec, load_flow
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stats import RunStats
from headway.runtime.stopping import StopFlag
from headway.state.reader import StateReader

FLOWS = Path(__file__).parent.parent / "flows"
PATIENCE_S = 60


def rows_of(state: Path) -> dict[str, Any]:
    with StateReader(state) as reader:
        return {row.key: row.state for row in reader.rows("functions")}


def run(name: str, state: Path, count: int, **parameters: str) -> dict[str, Any]:
    """Run a flow until so many functions have ended; their rows."""
    flow = load_flow(FlowSpec(str(FLOWS / name), parameters))
    deadline = time.monotonic() + PATIENCE_S
    stop = StopFlag(lambda: time.monotonic() > deadline)

    def observe(stats: RunStats) -> None:
        if sum(stats.outputs.get(output, 0) for output in ("ended", "told")) >= count:
            stop.set()

    run_flow(flow, RunOptions(state, key_groups=3, epoch_ms=50, follow=True), stop=stop, observe=observe)
    assert time.monotonic() < deadline, "it takes too long"
    return rows_of(state)


def test_refunds_are_made_or_escalated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = run("refund_order.py", tmp_path, 12, orders="12", late_ms="1")
    assert {row["status"] for row in rows.values()} == {"completed"}
    capfd.readouterr()
    for number in range(12):
        assert main(["functions", "history", str(tmp_path), f"refund_order/o-{number}", "--json"]) == 0
        entries = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        called = [entry["name"] for entry in entries if entry["entry"] == "Called"]
        is_down = crc32(f"o-{number}".encode()) % 4 == 0
        assert called == ["cancel_shipping", "refund_payment", *(["escalate_issue"] if is_down else [])]


def test_orders_are_fulfilled_or_taken_back(tmp_path: Path) -> None:
    rows = run("order_fulfilment.py", tmp_path / "state", 10, pack_ms="5", output=str(tmp_path / "told.jsonl"))
    for number in range(10):
        row = rows[f"fulfil_order/o-{number}"]
        if crc32(f"o-{number}".encode()) % 5 == 0:
            assert row["status"] == "failed" and "the card is refused" in row["error"]
        else:
            assert (row["status"], row["result"]) == ("completed", f'"parcel-o-{number}"')


def test_commands(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flow, state = str(FLOWS / "order_fulfilment.py"), str(tmp_path / "state")

    def told(*arguments: str, code: int = 0) -> str:
        assert main(["functions", *arguments]) == code
        found = capfd.readouterr()
        return found.out + found.err

    order = '[{"id": "x-1", "item": "lamp", "cents": 1}]'
    assert told("start", flow, "fulfil_order/x-1", order, "--state", state) == "taken: fulfil_order/x-1\n"
    assert "argument 'order'" in told("start", flow, "fulfil_order/x-2", "[1]", "--state", state, code=4)
    assert "there is no function 'fulfil'" in told("cancel", flow, "fulfil/x-1", "--state", state, code=4)
    assert "names no instance" in told("cancel", flow, "fulfil_order", "--state", state, code=2)
    told("signal", flow, "fulfil_order/x-1", "cancel", '"no"', "--state", state)
    run("order_fulfilment.py", Path(state), 1, orders="0", output=str(tmp_path / "told.jsonl"))
    shown = told("ls", state)
    assert shown.startswith("failed     fulfil_order/x-1") and "cancelled by the customer: no" in shown
    assert told("ls", state, "--status", "running") == "there are none\n"
    assert json.loads(told("show", state, "fulfil_order/x-1", "--json"))["status"] == "failed"
    assert "status     failed" in told("show", state, "fulfil_order/x-1")
    assert "there is no instance" in told("show", state, "fulfil_order/x-9", code=1)
    history = told("history", state, "fulfil_order/x-1")
    assert "Called  number 1, kind step, name reserve_stock" in history and "FinishedBadly" in history
