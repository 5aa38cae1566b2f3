"""From snapshots to samples. Pure: what is known, the ledger and the time are given; nothing of Prometheus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Optional

from headway.basics.function_figures import FunctionFigures, figures_of
from headway.basics.histogram import Histogram
from headway.metrics.catalog import CATALOG_BY_NAME
from headway.metrics.ledger import Ledger
from headway.metrics.snapshots import BackupSnapshot, IngestSnapshot, RunSnapshot, ViewsSnapshot, process_name
from headway.runtime.stats import RunStats, StagePart, WorkerStats

__all__ = ["Known", "Samples", "samples"]

_LABEL_CHARACTERS: Final = 200
_BREAKER_STATES: Final = ("closed", "half-open", "open", "stopped")

Samples = dict[str, dict[tuple[str, ...], Any]]
"""By metric and values of labels, without the flow: a number, or the counts of buckets and the sum of a histogram."""


class Known(NamedTuple):
    """What is known at one moment."""

    now_ms: int
    run: Optional[RunSnapshot] = None
    ingest: Optional[IngestSnapshot] = None
    views: Optional[ViewsSnapshot] = None
    backups: Optional[BackupSnapshot] = None
    state_bytes: Mapping[str, int] = {}


def samples(known: Known, ledger: Ledger, version: str) -> Samples:
    """All that is known. What is not known is not there: no watermark is not a watermark of 0."""
    found = _Samples(ledger)
    found.gauge("headway_build_info", 1, version)
    for part, size in known.state_bytes.items():
        found.gauge("headway_state_bytes", size, part)
    if known.run is not None:
        _of_run(found, known.run, known.now_ms)
    if known.ingest is not None:
        _of_ingest(found, known.ingest)
    if known.views is not None:
        _of_views(found, known.views, known.now_ms)
    if known.backups is not None:
        _of_backups(found, known.backups, known.now_ms)
    ledger.forget()
    return dict(found.by_name)


class _Samples:
    def __init__(self, ledger: Ledger) -> None:
        self.by_name: defaultdict[str, dict[tuple[str, ...], Any]] = defaultdict(dict)
        self._ledger = ledger

    def gauge(self, name: str, value: float, *labels: str) -> None:
        self._put(name, labels, value)

    def life(self, name: str, value: float, *labels: str) -> None:
        """A count of the state directory's life."""
        self._put(name, labels, self._ledger.of_life(name, _told(labels), value))

    def process(self, name: str, process: str, value: float, *labels: str) -> None:
        """A count of a process; once for each."""
        self._put(name, labels, self._ledger.of_process(name, _told(labels), process, value))

    def histogram(self, name: str, process: str, value: Histogram, *labels: str) -> None:
        """A histogram of a process; once for each."""
        told = _told(labels)
        counts = [
            self._ledger.of_process(name, (*told, str(bucket)), process, count)
            for bucket, count in enumerate(value.counts)
        ]
        self._put(name, labels, (counts, self._ledger.of_process(name, (*told, "sum"), process, value.sum_s)))

    def life_histogram(self, name: str, counts: Sequence[int], sum_s: float, *labels: str) -> None:
        """A histogram of the state directory's life."""
        told = _told(labels)
        kept = [self._ledger.of_life(name, (*told, str(bucket)), count) for bucket, count in enumerate(counts)]
        self._put(name, labels, (kept, self._ledger.of_life(name, (*told, "sum"), sum_s)))

    def _put(self, name: str, labels: Sequence[str], value: Any) -> None:
        assert len(labels) == len(CATALOG_BY_NAME[name].labels), f"{name} has other labels"
        self.by_name[name][_told(labels)] = value


def _told(labels: Sequence[str]) -> tuple[str, ...]:
    """Values of labels that can be sent: of a bounded length, and UTF-8 also where the name of a file is not."""
    return tuple(
        label[:_LABEL_CHARACTERS].encode("utf-8", "backslashreplace").decode().replace("\x1f", "?") for label in labels
    )


def _of_run(found: _Samples, run: RunSnapshot, now_ms: int) -> None:
    stats = run.stats
    found.gauge("headway_workers", run.workers)
    found.process("headway_restarts_total", run.process, stats.restarts)
    is_whole = len(stats.workers) == run.workers
    _of_sources(found, stats, is_whole=is_whole)
    _of_stages(found, stats.workers, now_ms, is_whole=is_whole)
    for worker in stats.workers:
        _of_worker(found, worker, now_ms)
    for operator, sides in stats.losses.items():
        for side, count in sides.items():
            found.life("headway_lost_total", count, operator, side)
    for output, count in stats.outputs.items():
        found.life("headway_outputs_total", count, output)
    _of_deliveries(found, stats)
    for tallies in stats.tallies.values():
        _of_functions(found, figures_of(tallies))


def _of_sources(found: _Samples, stats: RunStats, *, is_whole: bool) -> None:
    for name, source in stats.sources.items():
        found.life("headway_events_total", source.events, name)
        found.life("headway_late_total", source.late, name)
        found.life("headway_dead_letters_total", source.dead_letters, name)
        found.gauge("headway_partitions", source.partitions, name)
        if is_whole and source.watermark is not None:
            found.gauge("headway_source_watermark_seconds", source.watermark / 1_000, name)
        if source.behind is not None:
            found.gauge("headway_source_lag_records", source.behind, name)
        for partition, behind in source.lags.items():
            found.gauge("headway_partition_lag_records", behind, name, partition)
        for partition in source.holding:
            found.gauge("headway_holding_partition_info", 1, name, partition)


def _of_stages(found: _Samples, workers: Iterable[WorkerStats], now_ms: int, *, is_whole: bool) -> None:
    """While a worker is missing, nobody knows up to when everything has been handled."""
    stages: dict[str, list[StagePart]] = {}
    for worker in workers:
        for name, part in worker.stages.items():
            stages.setdefault(name, []).append(part)
    for name, parts in stages.items():
        found.gauge("headway_keys", sum(part.keys for part in parts), name)
        found.gauge("headway_state_rows", sum(part.rows for part in parts), name)
        found.gauge("headway_timers", sum(part.timers for part in parts), name)
        found.gauge("headway_waiting_events", sum(part.waiting for part in parts), name)
        found.life("headway_failures_total", sum(part.failed for part in parts), name)
        known = [part.watermark for part in parts if part.watermark is not None]
        if is_whole and len(known) == len(parts):
            found.gauge("headway_watermark_seconds", min(known) / 1_000, name)
            found.gauge("headway_watermark_lag_seconds", (now_ms - min(known)) / 1_000, name)
        due = min((part.due for part in parts if part.due is not None), default=None)
        if due is not None:
            found.gauge("headway_timer_lateness_seconds", max(0, now_ms - due) / 1_000, name)


def _of_worker(found: _Samples, worker: WorkerStats, now_ms: int) -> None:
    index, process = str(worker.worker), process_name(worker.started_ms, worker.pid)
    found.gauge("headway_snapshot_age_seconds", max(0, now_ms - worker.at_ms) / 1_000, index)
    found.gauge("headway_memory_bytes", worker.rss_bytes, index)
    # The processor time is that of the process, which may do one job after the other.
    found.process("headway_worker_cpu_seconds_total", f"{worker.pid}-{index}", worker.cpu_s, index)
    epochs = worker.epochs
    if epochs is None:
        return
    found.gauge("headway_epoch_age_seconds", max(0, now_ms - epochs.closed_at_ms) / 1_000, index)
    found.histogram("headway_epoch_duration_seconds", process, epochs.duration, index)
    found.histogram("headway_epoch_write_seconds", process, epochs.writing, index)
    if epochs.busy_ratio is not None:
        found.gauge("headway_busy_ratio", epochs.busy_ratio, index)


def _of_deliveries(found: _Samples, stats: RunStats) -> None:
    for output, known in stats.deliveries.items():
        labels = output, known.target
        found.gauge("headway_outbox_pending", known.waiting, *labels)
        found.gauge("headway_outbox_oldest_age_seconds", known.oldest_ms / 1_000, *labels)
        found.gauge("headway_outbox_dead", known.dead, *labels)
        found.life("headway_delivered_total", known.delivered, *labels)
        found.life("headway_dropped_total", known.dropped, *labels)
        now = "stopped" if known.stopped else known.breaker.replace(" ", "-")
        for state in _BREAKER_STATES:
            found.gauge("headway_breaker_state", state == now, *labels, state)
        if known.queue is not None:
            found.gauge("headway_step_queue_depth", known.queue.waiting, known.queue.queue)
            found.gauge("headway_step_queue_running", known.queue.running, known.queue.queue)
    for worker in stats.workers:
        process = process_name(worker.started_ms, worker.pid)
        for output, known in worker.deliveries.items():
            for outcome, count in known.attempts.items():
                found.process("headway_delivery_attempts_total", process, count, output, known.target, outcome)
            if known.queue is not None:
                found.histogram("headway_step_start_seconds", process, known.queue.to_start, known.queue.queue)
                found.histogram("headway_step_seconds", process, known.queue.to_end, known.queue.queue)


def _of_functions(found: _Samples, functions: Mapping[str, FunctionFigures]) -> None:
    for name, figures in functions.items():
        for phase, count in figures.phases.items():
            found.gauge("headway_functions", count, name, phase)
        found.life("headway_functions_started_total", figures.started, name)
        found.life("headway_functions_stray_total", figures.stray, name)
        for status, count in figures.ended.items():
            found.life("headway_functions_ended_total", count, name, status)
        found.life_histogram("headway_function_duration_seconds", figures.took, figures.took_s, name)


def _of_ingest(found: _Samples, ingest: IngestSnapshot) -> None:
    found.gauge("headway_ingest_queued_bytes", ingest.queued_bytes)
    found.gauge("headway_ingest_under_way", ingest.under_way)
    for code, count in ingest.responses.items():
        found.process("headway_ingest_requests_total", ingest.process, count, code)
    for name, source in ingest.sources.items():
        found.process("headway_ingest_events_total", ingest.process, source.events, name)
        found.process("headway_ingest_duplicates_total", ingest.process, source.duplicates, name)
        found.histogram("headway_ingest_fsync_seconds", ingest.process, source.syncs, name)


def _of_views(found: _Samples, views: ViewsSnapshot, now_ms: int) -> None:
    found.gauge("headway_queries_under_way", views.under_way)
    found.gauge("headway_watchers", views.watching)
    for code, count in views.responses.items():
        found.process("headway_queries_total", views.process, count, code)
    if views.cut_at_ms is not None:
        found.gauge("headway_views_age_seconds", max(0, now_ms - views.cut_at_ms) / 1_000)


def _of_backups(found: _Samples, backups: BackupSnapshot, now_ms: int) -> None:
    found.process("headway_backups_total", backups.process, backups.made, "made")
    found.process("headway_backups_total", backups.process, backups.failed, "failed")
    found.process("headway_backup_sent_bytes_total", backups.process, backups.sent_bytes)
    if backups.last_ms is not None:
        found.gauge("headway_backup_age_seconds", max(0, now_ms - backups.last_ms) / 1_000)
