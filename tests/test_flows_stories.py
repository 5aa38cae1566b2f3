"""The flows on synthetic stories: what they find is what the stories hold."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from headway.cli.main import main
from headway.generate.stories import STORIES, StoryOptions, generate_stories
from headway.testing import FlowTest
from headway.times import parse_time


def made(kind: str, tmp_path: Path, **options: Any) -> Path:
    directory = tmp_path / kind
    generate_stories(StoryOptions(kind, **{"events": 3_000, **options}), directory)
    return directory


def expected(directory: Path) -> list[Any]:
    return [json.loads(line) for line in (directory / "expected.jsonl").read_text().splitlines()]


def run(flow: str, directory: Path, *names: str) -> list[Any]:
    """Run a flow as a user does, and read the outputs with these names."""
    arguments = ["--set", f"input={directory}/{directory.name}-*.jsonl", "--state", str(directory / "state")]
    assert main(["run", f"headway.flows.{flow}", "--drain", "--quiet", *arguments]) == 0
    return [json.loads(line) for name in names for line in Path(name).read_text().splitlines()]


def bag(records: list[Any]) -> Counter[str]:
    return Counter(json.dumps(record, sort_keys=True) for record in records)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_failed_orders_are_undone(tmp_path: Path) -> None:
    directory = made("orders", tmp_path)
    files = [f"compensations-{action}.jsonl" for action in ("release", "refund", "restock")]
    found = [{"order": line["subject"], **line["data"]} for line in run("order_saga", directory, *files)]
    assert len(found) > 200
    assert bag(found) == bag(expected(directory))
    assert Path("illegal-steps.jsonl").read_bytes() == b""


def test_stolen_cards_are_found(tmp_path: Path) -> None:
    directory = made("payments", tmp_path)
    lines = run("fraud_score", directory, "suspicious.jsonl")
    found = [{"card": x["subject"], "at": parse_time(x["time"]), "cents": x["data"]["cents"]} for x in lines]
    assert len(found) > 30
    assert bag(found) == bag(expected(directory))


def test_tickets_that_wait_or_come_back_are_told(tmp_path: Path) -> None:
    directory = made("tickets", tmp_path)
    files = [f"sla-{name}.jsonl" for name in ("response_breached", "resolution_breached", "reopened")]
    found = [
        {"case": line["subject"], "type": line["type"], **line["data"]} for line in run("sla_watch", directory, *files)
    ]
    assert len(found) > 100
    assert bag(found) == bag(expected(directory))


def test_sessions_and_the_funnel_of_each_hour(tmp_path: Path) -> None:
    directory = made("clicks", tmp_path)
    found = [{"visitor": x["subject"], **x["data"]} for x in run("session_funnel", directory, "sessions.jsonl")]
    sessions = expected(directory)
    assert len(found) > 300
    assert bag(found) == bag(sessions)
    hours: Counter[tuple[str, int]] = Counter()
    for session in sessions:
        ended_ms = session["start"] + session["duration_ms"] + 1_800_000 - 1
        hours[session["reached"], ended_ms // 3_600_000] += 1
    lines = [json.loads(line) for line in Path("funnel.jsonl").read_text().splitlines()]
    told = {(x["subject"], x["data"]["start"] // 3_600_000): x["data"]["sessions"] for x in lines}
    assert told == dict(hours)


def test_a_rule_applies_from_its_time_on() -> None:
    rules = Path("rules.jsonl")
    rules.touch()
    test = FlowTest.load("headway.flows.fraud_score", input="pay.jsonl", rules=str(rules), out_of_order="0s")

    def pay(at: int, device: str) -> None:
        fields = {"card": "c", "at": at, "cents": 100, "latitude": 0.0, "longitude": 0.0, "device": device}
        test.send("payments", fields)

    for at, device in ((0, "a"), (10, "b"), (20, "c"), (30, "d"), (40, "a")):
        pay(at, device)
    test.send("rules", {"at": 20, "threshold": 30})
    test.send("rules", {"at": 30, "threshold": 31})
    test.send("rules", {"at": 100})
    assert [(line["data"]["score"], line["data"]["reasons"]) for line in test.triggers()] == [(30, {"new device": 30})]


def test_an_event_that_the_state_does_not_allow_goes_aside() -> None:
    test = FlowTest.load("headway.flows.order_saga", input="orders.jsonl", out_of_order="0s")
    test.send("orders", {"order": "o", "kind": "placed", "at": 0})
    test.send("orders", {"order": "o", "kind": "delivered", "at": 1})
    test.advance(by="1h")
    assert [line["state"] for line in test.triggers("illegal-steps")] == ["placed"]
    assert [line["data"]["action"] for line in test.triggers("order.release")] == ["release"]


@pytest.mark.parametrize("kind", STORIES)
def test_equal_options_give_equal_bytes(kind: str, tmp_path: Path) -> None:
    streams = [made(kind, tmp_path / str(number), events=200) for number in range(2)]
    one, two = ({path.name: path.read_bytes() for path in sorted(stream.iterdir())} for stream in streams)
    assert one == two


REAL = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.mark.skipif(not list(REAL.glob("helpdesk*")), reason="the log of a help desk is not there")
def test_a_real_help_desk() -> None:
    [log] = REAL.glob("helpdesk*")
    arguments = ["--set", f"input={log}", "--set", "response=8h", "--drain", "--quiet"]
    assert main(["run", "headway.flows.sla_watch", *arguments]) == 0
    found = [json.loads(line) for line in Path("sla-response_breached.jsonl").read_text().splitlines()]
    assert bag([(line["subject"], line["data"]["since"]) for line in found]) == bag(unanswered(log, 8 * 3_600_000))


def unanswered(log: Path, within_ms: int) -> list[Any]:
    """By plain Python: tickets whose assignment nobody answered in time."""
    import gzip

    from headway.times import format_time

    waits: dict[str, int] = {}
    found = []
    last_ms = 0
    for line in gzip.decompress(log.read_bytes()).splitlines():
        event = json.loads(line)
        case, last_ms = event["case"], event["time"]
        since = waits.get(case)
        if since is not None and last_ms > since + within_ms:
            found.append((case, format_time(waits.pop(case))))
        if event["activity"] in ("Take in charge ticket", "Resolve ticket", "Closed"):
            waits.pop(case, None)
        elif event["activity"] in ("Assign seriousness", "Insert ticket"):
            waits.setdefault(case, last_ms)
    return found + [(case, format_time(since)) for case, since in waits.items()]
