"""The Nexmark generator: the published proportions, and the promises of every generator."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from headway.cli.generate import nexmark
from headway.cli.main import main
from headway.errors import OutputError, UsageError
from headway.generate import NexmarkOptions, generate_nexmark, nexmark_events
from headway.generate.demo import earlier_stream

HOT_CHANNELS = ("Google", "Facebook", "Baidu", "Apple")
NAMES = {
    0: "id name emailAddress creditCard city state dateTime extra",
    1: "id itemName description initialBid reserve dateTime expires seller category extra",
    2: "auction bidder price channel url dateTime extra",
}


def partitions(directory: Path) -> list[list[dict[str, Any]]]:
    paths = sorted(directory.glob("nexmark-*.jsonl"))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in paths]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """50,000 events in the order in which they were made."""
    directory = tmp_path_factory.mktemp("nexmark")
    generate_nexmark(NexmarkOptions(events=50_000, partitions=1), directory)
    return partitions(directory)[0]


def of_kind(stream: list[dict[str, Any]], kind: int) -> list[dict[str, Any]]:
    return [event for event in stream if event["event_type"] == kind]


def share(events: list[dict[str, Any]], condition: Callable[[dict[str, Any]], bool]) -> float:
    return sum(map(condition, events)) / len(events)


def test_a_round_is_a_person_three_auctions_and_46_bids(stream: list[dict[str, Any]]) -> None:
    kinds = [event["event_type"] for event in stream]
    assert kinds == [0, 1, 1, 1, *[2] * 46] * 1_000
    for event in stream[:200]:
        assert list(event) == ["event_type", *NAMES[event["event_type"]].split()]


def test_times_advance_with_the_rate(stream: list[dict[str, Any]]) -> None:
    assert [event["dateTime"] for event in stream] == [1_767_225_600_000 + n // 10 for n in range(50_000)]


def test_ids_are_dealt_in_turn_from_1000(stream: list[dict[str, Any]]) -> None:
    assert [person["id"] for person in of_kind(stream, 0)] == list(range(1_000, 2_000))
    assert [auction["id"] for auction in of_kind(stream, 1)] == list(range(1_000, 4_000))


def test_bids_go_to_hot_auctions_and_those_in_flight(stream: list[dict[str, Any]]) -> None:
    newest, hot, cold = 0, 0, []
    for event in stream:
        if event["event_type"] == 1:
            newest = event["id"]
        elif event["event_type"] == 2:
            if event["auction"] == newest // 100 * 100:
                hot += 1
            else:
                cold.append(newest - event["auction"])
    assert hot / (hot + len(cold)) == pytest.approx(0.5, abs=0.02)
    assert (min(cold), max(cold)) == (-10, 100)


def test_bidders_and_sellers_are_hot_or_active(stream: list[dict[str, Any]]) -> None:
    newest, hot = 0, Counter[int]()
    for event in stream:
        if event["event_type"] == 0:
            newest = event["id"]
            continue
        kind, who = event["event_type"], event["seller" if event["event_type"] == 1 else "bidder"]
        hot[kind] += who == newest // 100 * 100 + kind - 1
        assert 1_000 <= who <= newest + 10
    assert hot[1] / 3_000 == pytest.approx(0.75, abs=0.03)
    assert hot[2] / 46_000 == pytest.approx(0.75, abs=0.01)


def test_prices_are_log_uniform(stream: list[dict[str, Any]]) -> None:
    decades = Counter(int(math.log10(bid["price"] / 100)) for bid in of_kind(stream, 2))
    for decade in range(6):
        assert decades[decade] / 46_000 == pytest.approx(1 / 6, abs=0.01)


def test_auctions_last_as_long_as_a_hundred_others_take(stream: list[dict[str, Any]]) -> None:
    auctions = of_kind(stream, 1)
    lengths = [auction["expires"] - auction["dateTime"] for auction in auctions]
    assert min(lengths) >= 1 and max(lengths) <= 334
    assert sum(lengths) / len(lengths) == pytest.approx(167, rel=0.05)
    assert {auction["category"] for auction in auctions} == {10, 11, 12, 13, 14}
    assert all(auction["reserve"] > auction["initialBid"] for auction in auctions)


def test_channels_and_urls(stream: list[dict[str, Any]]) -> None:
    bids = of_kind(stream, 2)
    assert share(bids, lambda bid: bid["channel"] in HOT_CHANNELS) == pytest.approx(0.5, abs=0.01)
    others = [bid for bid in bids if bid["channel"] not in HOT_CHANNELS]
    assert share(others, lambda bid: "&channel_id=" in bid["url"]) == pytest.approx(0.9, abs=0.01)
    url_of = {bid["channel"]: bid["url"] for bid in bids}
    assert all(bid["url"] == url_of[bid["channel"]] for bid in bids)
    assert all(bid["url"].startswith("https://www.nexmark.com/") for bid in bids)


def test_sizes_are_filled_up(stream: list[dict[str, Any]]) -> None:
    bids, auctions, persons = of_kind(stream, 2), of_kind(stream, 1), of_kind(stream, 0)
    assert sum(32 + len(bid["extra"]) for bid in bids) / len(bids) == pytest.approx(100, rel=0.02)
    for events, fixed, mean, texts in (
        (auctions, 48, 500, ["itemName", "description", "extra"]),
        (persons, 8, 200, ["name", "emailAddress", "creditCard", "city", "state", "extra"]),
    ):
        sizes = [fixed + sum(len(event[text]) for text in texts) for event in events]
        assert sum(sizes) / len(sizes) == pytest.approx(mean, rel=0.02)


@pytest.mark.parametrize("disorder_ms", [0, 500])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_partitions_share_all_kinds_and_keep_to_the_disorder(tmp_path: Path, disorder_ms: int, count: int) -> None:
    options = NexmarkOptions(events=20_000, disorder_ms=disorder_ms, partitions=count)
    generate_nexmark(options, tmp_path)
    behind = 0
    shares = partitions(tmp_path)
    for events in shares:
        assert {event["event_type"] for event in events} == {0, 1, 2}
        newest = 0
        for event in events:
            newest = max(newest, event["dateTime"])
            behind = max(behind, newest - event["dateTime"])
    assert behind < disorder_ms or behind == disorder_ms == 0
    assert not disorder_ms or behind > disorder_ms / 2

    generate_nexmark(NexmarkOptions(events=20_000, partitions=1), tmp_path, overwrite=True)
    everything = sorted(json.dumps(event) for events in shares for event in events)
    assert everything == sorted(json.dumps(event) for event in partitions(tmp_path)[0])


@pytest.mark.parametrize("events", [1, 3, 49, 51, 5_003])
def test_it_is_cut_anywhere(tmp_path: Path, events: int) -> None:
    report = generate_nexmark(NexmarkOptions(events=events, partitions=2, disorder_ms=7), tmp_path)
    kinds = Counter(event["event_type"] for each in partitions(tmp_path) for event in each)
    assert (report.persons, report.auctions, report.bids) == (kinds[0], kinds[1], kinds[2])
    assert report.events == sum(kinds.values()) == events
    times = [event["dateTime"] for each in partitions(tmp_path) for event in each]
    assert (report.first_ms, report.last_ms) == (min(times), max(times))


def test_other_proportions_rates_and_starts(tmp_path: Path) -> None:
    options = NexmarkOptions(events=100, persons=2, auctions=3, bids=5, rate=2, start_ms=1_000, partitions=1)
    generate_nexmark(options, tmp_path)
    events = partitions(tmp_path)[0]
    assert [event["event_type"] for event in events] == [0, 0, 1, 1, 1, 2, 2, 2, 2, 2] * 10
    assert [event["dateTime"] for event in events] == [1_000 + 500 * n for n in range(100)]


def test_equal_options_give_equal_bytes(tmp_path: Path) -> None:
    contents = []
    for seed, folder in ((3, "a"), (3, "b"), (4, "c")):
        options = NexmarkOptions(events=2_000, seed=seed, disorder_ms=100, compress="zstd")
        report = generate_nexmark(options, tmp_path / folder)
        contents.append([path.read_bytes() for path in report.files])
    assert contents[0] == contents[1] != contents[2]


def test_another_stream_is_replaced_only_when_asked(tmp_path: Path) -> None:
    generate_nexmark(NexmarkOptions(events=100), tmp_path)
    with pytest.raises(OutputError, match="already holds"):
        generate_nexmark(NexmarkOptions(events=50, partitions=1), tmp_path)
    generate_nexmark(NexmarkOptions(events=50, partitions=1), tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nexmark-0000.jsonl", "summary.json"]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[int] = []
    generate_nexmark(NexmarkOptions(events=12_345), tmp_path, progress=told.append)
    assert told == [5_000, 10_000, 12_345]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("events", 0), ("rate", 0), ("bids", 0), ("disorder_ms", -1), ("compress", "lz4"), ("events", 1.5)],
        *[("start_ms", -1), ("partitions", 10_001), ("bid_bytes", 10_001), ("disorder_ms", 10**12), ("rate", "fast")],
        ("seed", True),
    ],
)
def test_unusable_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name} = .* cannot be used: expected"):
        NexmarkOptions(**{name: value})


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["generate", "nexmark", "auctions", "--events", "100", "--out-of-order", "3s", "--rate", "50"]
    assert main(args) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "auctions holds 100 events",
        f"  events       4 files, {sum(p.stat().st_size for p in tmp_path.glob('*/*.jsonl')) / 1024:.0f} KiB: "
        "auctions/nexmark-*.jsonl",
        "  from, to     2026-01-01T00:00:00.000Z, 2026-01-01T00:00:01.980Z",
        "  of these     2 persons, 6 auctions, 92 bids",
    ]
    assert earlier_stream(Path("auctions"), NexmarkOptions(events=100, disorder_ms=3_000, rate=50)) is not None
    assert main(args) == 0
    assert "already holds this stream: 100 events" in capsys.readouterr().err
    assert main([*args, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bids"] == 92
    assert {field.name for field in fields(NexmarkOptions)} <= {param.name for param in nexmark.params}


def test_the_demo_makes_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    demo = nexmark_events(events=200, seed=3)
    assert demo.partitions() == [f"nexmark-{number:04d}.jsonl" for number in range(4)]
    assert earlier_stream(tmp_path / ".headway/nexmark-demo", NexmarkOptions(events=200, seed=3)) is not None
