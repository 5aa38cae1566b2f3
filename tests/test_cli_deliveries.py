"""What a person sees of deliveries: in the panel and the lines of a run, and at its end."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from rich.console import Console
from tests import cluster_harness as cluster
from tests.test_cli_progress import stats

from headway.cli.deliveries import Alerts
from headway.cli.live import LivePanel
from headway.cli.main import main
from headway.cli.progress import Lines
from headway.delivery.stats import DeliveryStats
from headway.runtime.stats import RunStats

FINE = DeliveryStats(
    target="http https://a.example", edge="direct", waiting=3, delivered=1_200, dead=0, dropped=0, oldest_ms=61_000
)


def with_delivery(delivery: DeliveryStats, **changes: int) -> RunStats:
    return structs.replace(stats(**changes), deliveries={"cart.abandoned": delivery})


def panel_of(delivery: DeliveryStats) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    panel = LivePanel("shop", console, clock_s=lambda: 0.0)
    panel.observe(with_delivery(delivery))
    console.print(panel.render())
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    return " ".join(shown.replace("│", " ").split())


def test_the_panel_shows_each_output() -> None:
    shown = panel_of(FINE)
    assert "cart.abandoned" in shown and "3 waiting, for 1m1s, 1,200 delivered" in shown
    assert "breaker" not in shown and "delivering" not in shown
    shown = panel_of(structs.replace(FINE, breaker="open", dead=2, is_pressing=True))
    assert "2 dead, breaker open, holds" in shown
    assert "it wants no more" in panel_of(structs.replace(FINE, breaker="open", stopped="410 Gone"))
    assert "all is read; delivering 3 triggers of cart.abandoned" in panel_of(structs.replace(FINE, is_ending=True))


def test_what_begins_is_told_once_and_so_is_its_end() -> None:
    alerts = Alerts()

    def told(**changes: Any) -> list[str]:
        return list(alerts.of(with_delivery(structs.replace(FINE, **changes))))

    assert told() == []
    [text] = told(is_pressing=True)
    assert "'cart.abandoned' holds the flow up: 3 triggers wait for http https://a.example" in text
    assert told(is_pressing=True, waiting=4) == []
    assert "no longer" in told()[0]
    assert "fails (no such topic), and is left alone" in told(breaker="open", reason="no such topic")[0]
    assert told(breaker="half open") == []
    assert told(breaker="open") == []
    assert "takes triggers again" in told()[0]
    assert "Ctrl-C leaves them to the next run" in told(is_ending=True)[0]
    assert told(is_ending=True) == []


def test_a_trigger_that_waits_for_long_is_told_with_the_reason() -> None:
    """Attempts of half a minute each need minutes until they open a breaker."""
    alerts = Alerts()

    def told(**changes: Any) -> list[str]:
        return list(alerts.of(with_delivery(structs.replace(FINE, waiting=1, reason="a lock is held", **changes))))

    assert told(oldest_ms=29_999) == []
    [text] = told(oldest_ms=30_000)
    assert (
        text == "output 'cart.abandoned': 1 trigger waits, the oldest for 30s; the last attempt failed (a lock is held)"
    )
    assert told(oldest_ms=50_000) == []
    assert told(oldest_ms=0) == []
    assert len(told(oldest_ms=31_000)) == 1
    assert len(told(oldest_ms=62_000, breaker="open")) == 1
    assert told(oldest_ms=90_000, breaker="open") == []


def test_lines_are_written_when_deliveries_go_on() -> None:
    written: list[str] = []
    now_s = 0.0
    lines = Lines("shop", written.append, lambda: now_s)
    for step in range(4):
        now_s = step * 6.0
        lines.observe(with_delivery(structs.replace(FINE, delivered=step, is_pressing=step == 2)))
    assert "cart.abandoned: 3 waiting, for 1m1s, 1 delivered" in written[0]
    assert any("holds the flow up: 3" in line for line in written)
    assert not any("nothing new" in line for line in written)


FLOW = """
import headway as hw

def take(trigger):
    if trigger.value["n"] == 1:
        raise hw.NeverDeliver("no such user")
    if trigger.value["n"] == 2:
        raise RuntimeError("down")

flow = hw.Flow("box")
events = [{"at": n, "key": f"k{n}", "n": n} for n in range(1, 6)]
log = flow.source("log", hw.Json, hw.items(events), time="at")
log.key_by("key").trigger("seen", to=hw.call(take), on_failure="skip")
log.trigger("kept", hw.to_jsonl("kept.jsonl"))
"""


def test_the_end_tells_what_was_delivered_and_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.py").write_text(FLOW)
    told = cluster.run(tmp_path, "flow.py", "--key-groups", "2")
    assert told["outputs"]["kept"]["delivery"] is None
    delivery = told["outputs"]["seen"]["delivery"]
    attempts = {"done": 2, "retry": 1, "never": 1}
    assert delivery["attempts"] == attempts, "the last event is still ahead of the watermark"
    assert (delivery["delivered"], delivery["waiting"], delivery["dead"]) == (2, 1, 1)
    assert json.loads((tmp_path / ".headway/box/last-run.json").read_text())["deliveries"]["seen"]["dead"] == 1
    assert main(["run", "flow.py"]) == 0
    text = capsys.readouterr().err
    assert "2 delivered, 1 waiting, 1 dead" in text
    assert "note: seen: 1 trigger waits for the next run; to see them: headway triggers ls .headway/box" in text
    assert "headway triggers ls .headway/box --dead" in text
