"""What is told of what is known: nothing that is not known, labels that can be sent, a format that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from headway.basics.histogram import BOUNDS_S, Histogram
from headway.delivery.stats import DeliveryStats
from headway.metrics.collector import FlowCollector, families
from headway.metrics.families import Known, Samples, samples
from headway.metrics.ledger import Ledger
from headway.metrics.snapshots import IngestSnapshot, RunSnapshot, SourceIngest, leave, read_snapshot
from headway.runtime.epochs import EpochStats, EpochWatch
from headway.runtime.stats import SourceStats, StagePart, StageStats, WorkerStats, total
from headway.targets.figures import QueueFigures

NOW_MS: Final = 1_800_000_000_000
EMPTY: Final[dict[str, Any]] = {
    **dict.fromkeys(("events", "late", "dead_letters", "keys", "rows", "timers", "waiting", "commit_ms"), 0),
    "outputs": {},
    "watermark": None,
    "newest": None,
}


def worker(index: int, stages: dict[str, StagePart], **more: Any) -> WorkerStats:
    fields = {"pid": 100 + index, "at_ms": NOW_MS - 250, "beat_ms": 0, "rss_bytes": 1, **EMPTY, **more}
    return WorkerStats(worker=index, stages=stages, **fields)


def part(watermark: int | None, due: int | None = None) -> StagePart:
    return StagePart(watermark=watermark, keys=1, rows=2, timers=3, waiting=4, due=due, failed=0)


def told(*workers: WorkerStats, expected: int | None = None, ledger: Ledger | None = None) -> Samples:
    run = RunSnapshot(process="1", at_ms=NOW_MS, workers=expected or len(workers), stats=total(workers))
    return samples(Known(NOW_MS, run), ledger or Ledger(), "1.0")


def test_a_watermark_that_is_not_known_is_absent_and_not_zero() -> None:
    known, unknown = {"s": part(NOW_MS - 5_000)}, {"s": part(None)}
    assert told(worker(0, known))["headway_watermark_lag_seconds"] == {("s",): 5.0}
    for found in (
        told(worker(0, unknown)),
        told(worker(0, known), worker(1, unknown)),
        told(worker(0, known), expected=2),
    ):
        assert not {"headway_watermark_seconds", "headway_watermark_lag_seconds"} & set(found)
        assert found["headway_keys"]
    assert told(worker(0, known), worker(1, {}))["headway_watermark_seconds"] == {("s",): NOW_MS / 1_000 - 5}
    assert told(worker(0, {"s": part(0)}))["headway_watermark_seconds"] == {("s",): 0.0}, "1970 is a time"


def test_before_anything_is_known() -> None:
    assert samples(Known(NOW_MS), Ledger(), "1.0") == {"headway_build_info": {("1.0",): 1}}


def test_timers_are_late_by_the_clock_and_never_early() -> None:
    assert "headway_timer_lateness_seconds" not in told(worker(0, {"s": part(1)}))
    parts = worker(0, {"s": part(1, NOW_MS + 1)}), worker(1, {"s": part(1, NOW_MS - 2_500)})
    assert told(*parts)["headway_timer_lateness_seconds"] == {("s",): 2.5}
    assert told(parts[0])["headway_timer_lateness_seconds"] == {("s",): 0}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 9)), max_size=8), st.data())
def test_who_holds_a_source_back(partitions: list[tuple[str, int | None]], data: st.DataObject) -> None:
    """Sums over any grouping of slots tell the same: the least watermark, and whom it waits for."""
    slots = [
        SourceStats(partitions=1, watermark=watermark, holding=[f"{name}{number}"])
        for number, (name, watermark) in enumerate(partitions)
    ] + [SourceStats()] * data.draw(st.integers(0, 2))
    slots = data.draw(st.permutations(slots))
    summed = SourceStats()
    for slot in slots:
        summed = summed.plus(slot)
    unknown = sorted(f"{name}{number}" for number, (name, mark) in enumerate(partitions) if mark is None)
    known = [(mark, f"{name}{number}") for number, (name, mark) in enumerate(partitions) if mark is not None]
    assert summed.partitions == len(partitions)
    assert summed.watermark == (None if unknown or not known else min(known)[0])
    assert len(summed.holding) <= 5
    if unknown:
        assert set(summed.holding) <= set(unknown) and len(summed.holding) == min(5, len(unknown))
    else:
        assert summed.holding == ([min(known)[1]] if known else [])


def test_groups_of_a_stage_are_added_up() -> None:
    def group(watermark: int | None, due: int | None) -> StageStats:
        return StageStats(version=1, watermark=watermark, keys=1, rows=1, timers=1, waiting=1, losses={}, due=due)

    assert StagePart.of([group(5, 9), group(3, None)]) == StagePart(
        watermark=3, keys=2, rows=2, timers=2, waiting=2, due=9, failed=0
    )
    assert StagePart.of([group(5, None), group(None, None)]).watermark is None


def test_queues_of_steps_are_told_of_all_workers_together() -> None:
    def delivering(waiting: int, seconds: float) -> dict[str, DeliveryStats]:
        times = Histogram()
        times.observe(seconds)
        queue = QueueFigures(queue="payments", waiting=waiting, running=2, to_start=times, to_end=times)
        stats = DeliveryStats(target="steps", edge="direct", waiting=9, delivered=0, dead=0, dropped=0, queue=queue)
        return {"call-payments": stats}

    found = told(worker(0, {}, deliveries=delivering(3, 0.004)), worker(1, {}, deliveries=delivering(4, 90.0)))
    assert found["headway_step_queue_depth"] == {("payments",): 7}
    assert found["headway_step_queue_running"] == {("payments",): 4}
    for name in ("headway_step_start_seconds", "headway_step_seconds"):
        [(counts, total_s)] = found[name].values()
        assert (sum(counts), counts[-1], round(total_s, 3)) == (2, 1, 90.004)
    assert list(families("f", found))


def test_labels_of_any_content_can_be_sent() -> None:
    name = 'a"\\\n\x1f{}' + "\udcff" + "x" * 1_000
    found = told(worker(0, {name: part(7)}, sources={name: SourceStats(partitions=1, watermark=1, holding=[name])}))
    registry = CollectorRegistry()
    collector = _Fixed(found)
    registry.register(collector)
    formats: list[tuple[Any, Any]] = [(generate_latest, parse_text), (generate_openmetrics, parse_openmetrics)]
    for encode, parse in formats:
        read = {family.name: family for family in parse(encode(registry).decode())}
        [sample] = read["headway_keys"].samples
        assert sample.labels["stage"].startswith('a"\\\n?{}\\udcff') and len(sample.labels["stage"]) < 250


class _Fixed(FlowCollector):
    def __init__(self, found: Samples) -> None:
        self._found = found

    def collect(self) -> Any:
        return families("flow", self._found)


def test_what_is_told_can_be_read_in_both_formats(tmp_path: Path) -> None:
    syncs = Histogram()
    for seconds in (0.0001, 0.001, 0.3, 99.0):
        syncs.observe(seconds)
    ingest = IngestSnapshot(
        process="7-1",
        at_ms=NOW_MS,
        responses={"200": 3},
        under_way=0,
        queued_bytes=9,
        sources={"orders": SourceIngest(events=30, duplicates=1, syncs=syncs)},
    )
    leave(tmp_path, ingest)
    collector = FlowCollector("shop", tmp_path, Ledger(), "1.0")
    assert collector.describe() == []
    registry = CollectorRegistry()
    registry.register(collector)
    encode: Any = generate_openmetrics
    parse: Any = parse_openmetrics
    text = encode(registry).decode()
    assert "_created" not in text and text.endswith("# EOF\n")
    read = {sample.name + sample.labels.get("le", ""): sample.value for f in parse(text) for sample in f.samples}
    assert read["headway_ingest_fsync_seconds_bucket0.001"] == 2
    assert read["headway_ingest_fsync_seconds_bucket60.0"] == 3
    assert read["headway_ingest_fsync_seconds_bucket+Inf"] == read["headway_ingest_fsync_seconds_count"] == 4
    assert read["headway_ingest_events_total"] == 30


def test_a_snapshot_that_is_not_whole_is_none(tmp_path: Path) -> None:
    assert read_snapshot(tmp_path, RunSnapshot) is None
    (tmp_path / "run.json").write_bytes(b'{"process": ')
    assert read_snapshot(tmp_path, RunSnapshot) is None
    stats = total([worker(0, {"s": part(1)}, epochs=EpochWatch(lambda: 0, lambda: 0).statistics())])
    snapshot = RunSnapshot(process="1", at_ms=1, workers=1, stats=msgspec.structs.replace(stats, restarts=2))
    leave(tmp_path, snapshot)
    assert read_snapshot(tmp_path, RunSnapshot) == snapshot
    assert oct((tmp_path / "run.json").stat().st_mode)[-3:] == "600"


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0, 100)))
def test_histograms_add_up(left: list[float], right: list[float]) -> None:
    def of(times: list[float]) -> Histogram:
        histogram = Histogram()
        for time in times:
            histogram.observe(time)
        return histogram

    both = of(left).plus(of(right))
    assert both.counts == of([*left, *right]).counts
    for place, bound in enumerate(BOUNDS_S):
        assert sum(both.counts[: place + 1]) == sum(time <= bound for time in [*left, *right])


def test_epochs_are_measured_by_one_slot() -> None:
    now = [1_000]
    thread_s = [0.0]
    watch = EpochWatch(lambda: now[0], lambda: 10 * now[0], lambda: thread_s[0])
    assert watch.statistics().closed_at_ms == 10_000 and watch.statistics().busy_ratio is None
    for _ in range(3):
        now[0] += 500
        thread_s[0] += 0.125
        watch.wrote(0.25)
        watch.closed("a")
        watch.wrote(0.25)
        watch.closed("b")
    expected = Histogram([0] * 8 + [2] + [0] * 7, 1.0)
    assert watch.statistics() == EpochStats(
        closed=3,
        closed_at_ms=25_000,
        duration=expected,
        writing=Histogram([0] * 8 + [2] + [0] * 7, 1.0),
        busy_ratio=0.25,
    )
