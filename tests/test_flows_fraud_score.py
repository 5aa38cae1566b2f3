"""The flow of fraud scores: its stories, each reason at its border, and rules that change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.stories_harness import WILD, bag, check_demo, check_workers, drained, lines_of, made

from headway.basics.times import parse_time
from headway.flows.fraud_score import distance_km
from headway.testing import FlowTest

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.mark.parametrize("seed", range(3))
def test_the_triggers_are_those_of_the_stories(tmp_path: Path, seed: int) -> None:
    stream = made("payments", tmp_path / "payments", seed=seed, **WILD)
    test = drained("fraud_score", stream, "payments", "rules", rules=f"{stream}/rules-*.jsonl")
    assert bag(test.triggers()) == bag(lines_of(stream / "expected.jsonl"))
    assert test.keys("score") == []


def test_it_runs_with_nothing_else(tmp_path: Path) -> None:
    summary = check_demo("fraud_score", "payments", tmp_path, "suspicious.jsonl")
    assert summary["events"] >= 20_005, "payments and rules"


def test_two_processes_find_the_same(tmp_path: Path) -> None:
    rules = f"{tmp_path}/payments/rules-*.jsonl"
    check_workers("fraud_score", "payments", tmp_path, "suspicious.jsonl", rules=rules)


def scored(payments: list[dict[str, Any]], *rules: dict[str, Any]) -> list[tuple[int, dict[str, int]]]:
    """Time and reasons of each payment that is told; payments are alike but for what is given."""
    test = FlowTest.load("headway.flows.fraud_score", input="pay.jsonl", rules="rules.jsonl", out_of_order="0s")
    plain = {"card": "c", "cents": 100, "latitude": 0.0, "longitude": 0.0, "device": "own", "country": "DE"}
    for rule in rules:
        test.send("rules", rule)
    for number, payment in enumerate(payments):
        test.send("payments", {**plain, "at": number * DAY_MS, **payment})
    test.drain()
    return [(parse_time(line["time"]), line["data"]["reasons"]) for line in test.triggers()]


LOW: dict[str, Any] = {"at": 0, "threshold": 1}


def test_the_fourth_payment_within_a_minute_is_too_many() -> None:
    close = [{"at": at} for at in (0, 20_000, 40_000, 59_999)]
    assert scored(close, LOW) == [(59_999, {"velocity": 60})]
    assert scored([*close[:3], {"at": 60_000}], LOW) == []


def test_the_eleventh_payment_within_an_hour_is_too_many() -> None:
    close = [{"at": 5 * MINUTE_MS * number} for number in range(10)]
    assert scored([*close, {"at": HOUR_MS - 1}], LOW) == [(HOUR_MS - 1, {"velocity": 60})]
    assert scored([*close, {"at": HOUR_MS}], LOW) == []


def test_nobody_travels_faster_than_aeroplanes() -> None:
    there = {"longitude": 9.0}  # 1,001 km on the equator
    assert scored([{}, {**there, "at": HOUR_MS}], LOW) == [(HOUR_MS, {"distance": 60})]
    assert scored([{}, {**there, "at": 2 * HOUR_MS}], LOW) == []
    assert scored([{}, {"longitude": 0.4, "at": 1}], LOW) == [], "a phone that is not sure where it is"


def test_distances() -> None:
    assert distance_km((0, 0), (0, 180)) == pytest.approx(20_015, rel=1e-4)
    assert distance_km((52.52, 13.405), (48.857, 2.352)) == pytest.approx(878, rel=5e-3)
    assert distance_km((10, 20), (10, 20)) == 0


def test_a_device_is_new_once() -> None:
    devices = [{"device": name} for name in ("a", "b", "a", "b", "c")]
    assert scored(devices, LOW) == [(DAY_MS, {"device": 30}), (4 * DAY_MS, {"device": 30})]


def test_ten_devices_are_remembered() -> None:
    devices = [{"device": str(number)} for number in (*range(11), 1, 0)]
    assert [time for time, _ in scored(devices, LOW)] == [n * DAY_MS for n in (*range(1, 11), 12)]


def test_what_is_usual_fades_by_half_in_a_week() -> None:
    # After a week the mean of 100 and 400 is (100 / 2 + 400) / (1 / 2 + 1) = 300; five times that is not too much.
    week = [{"cents": 100}, {"cents": 400, "at": 7 * DAY_MS}]
    assert scored([*week, {"cents": 1_500, "at": 7 * DAY_MS + 1}], LOW) == []
    assert scored([*week, {"cents": 1_501, "at": 7 * DAY_MS + 1}], LOW) == [(7 * DAY_MS + 1, {"amount": 30})]


def test_a_rule_applies_from_its_time_on() -> None:
    phones = [{"device": str(number), "at": number * 1_000_000} for number in range(5)]
    rules = [{"at": 2_000_000, "threshold": 30}, {"at": 3_000_000, "threshold": 31}]
    assert scored(phones, *rules) == [(2_000_000, {"device": 30})]


def test_weights_and_kill_switches() -> None:
    theft = [{}, {"device": "new", "cents": 10_000}]
    both = {"device": 30, "amount": 30}
    assert scored(theft) == [(DAY_MS, both)]
    assert scored(theft, {"at": 0, "weights": {"device": 29}}) == []
    assert scored(theft, {"at": 0, "weights": {"device": 70}}) == [(DAY_MS, {**both, "device": 70})]
    assert scored(theft, {"at": 0, "weights": {"device": 70}, "off": ["amount"]}) == [(DAY_MS, {"device": 70})]
    assert scored(theft, {"at": 0, "off": ["DE"]}) == []
    assert scored(theft, {"at": 0, "off": ["FR"]}) == [(DAY_MS, both)]
    assert scored(theft, {"at": 0, "off": ["DE"]}, {"at": DAY_MS}) == [(DAY_MS, both)]


def test_a_blocked_country_is_enough() -> None:
    assert scored([{}, {"country": "XX"}], {"at": 0, "blocked": ["XX"]}) == [(DAY_MS, {"country": 100})]
    assert scored([{"country": "XX"}], {"at": 0, "blocked": ["XX"]}) == [(0, {"country": 100})]


def test_the_decision_is_kept_for_others_to_read() -> None:
    test = FlowTest.load("headway.flows.fraud_score", input="pay.jsonl", out_of_order="0s")
    plain = {"card": "c", "cents": 100, "latitude": 0.0, "longitude": 0.0}
    for at, device in ((0, "a"), (1, "b")):
        test.send("payments", {**plain, "at": at, "device": device})
    test.advance(to=1)
    card = test.state("score", "c")
    assert (card.score, card.reasons) == (30, {"device": 30})
    test.advance(to=1 + 90 * DAY_MS)
    assert test.keys("score") == []
