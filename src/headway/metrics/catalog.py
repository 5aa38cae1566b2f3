"""The metrics that there are: names, kinds, labels, and what each of them means. `docs/metrics.md` says more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from headway.basics.function_figures import DURATION_BOUNDS_S
from headway.basics.histogram import BOUNDS_S

__all__ = ["CATALOG", "CATALOG_BY_NAME", "Metric"]

Kind = Literal["gauge", "counter", "histogram", "info"]


class Metric(NamedTuple):
    """One metric. All have the label `flow` besides `labels`."""

    name: str
    """As it is exported, without what the kind adds to it: `_bucket`, `_sum` and `_count` of a histogram."""
    kind: Kind
    labels: tuple[str, ...]
    help: str

    @property
    def bounds_s(self) -> Sequence[float]:
        """Upper bounds of the buckets of a histogram, in seconds."""
        return DURATION_BOUNDS_S if self.name == "headway_function_duration_seconds" else BOUNDS_S

    @property
    def family(self) -> str:
        """The name of its family: without the suffix that says the kind."""
        return self.name.removesuffix("_total").removesuffix("_info")


def _metrics(kind: Kind, *rows: tuple[str, str, str]) -> list[Metric]:
    return [Metric(f"headway_{name}", kind, tuple(labels.split()), text) for name, labels, text in rows]


CATALOG: Final = (
    *_metrics(
        "gauge",
        ("watermark_seconds", "stage", "Up to when a stage has handled everything, in epoch seconds."),
        ("watermark_lag_seconds", "stage", "By how much the watermark of a stage is behind the clock."),
        ("source_watermark_seconds", "source", "The least watermark of a source's partitions, in epoch seconds."),
        ("partitions", "source", "Partitions of a source that are known."),
        ("source_lag_records", "source", "Records of a source's logs that were not read yet, where that is known."),
        ("partition_lag_records", "source partition", "The same for each partition, of at most 100 of a source."),
        ("keys", "stage", "Keys of which a stage keeps something."),
        ("state_rows", "stage", "Rows that a stage stores: one for each operator and key."),
        ("timers", "stage", "Timers that are armed."),
        ("timer_lateness_seconds", "stage", "By how much the earliest armed timer may be overdue, at most."),
        ("waiting_events", "stage", "Events that wait for the watermark of a stage."),
        ("epoch_age_seconds", "worker", "Since when a worker has closed no epoch."),
        ("busy_ratio", "worker", "Part of the last epoch in which the thread of the engine worked, from 0 to 1."),
        ("workers", "", "Workers that there are to be."),
        ("snapshot_age_seconds", "worker", "How old is what a worker has said of itself last."),
        ("memory_bytes", "worker", "Memory of a worker's process."),
        ("state_bytes", "part", "Bytes of files in the state directory."),
        ("outbox_pending", "output target", "Triggers that wait for delivery, also those under way."),
        ("outbox_oldest_age_seconds", "output target", "How long the trigger that has waited longest has waited."),
        ("step_queue_depth", "queue", "Calls of steps that wait in a queue, of those that are in memory."),
        ("step_queue_running", "queue", "Attempts of steps that run."),
        ("outbox_dead", "output target", "Triggers that were given up, and neither put back nor dropped since."),
        ("breaker_state", "output target state", "1 for the state that the circuit breaker of a target is in, else 0."),
        ("functions", "function phase", "Instances of a durable function, by what they do or how they have ended."),
        ("ingest_queued_bytes", "", "Bytes of posted events that wait to be made durable."),
        ("ingest_under_way", "", "Requests with events that are being answered."),
        ("queries_under_way", "", "Questions about views that are being answered, also those that wait for a change."),
        ("watchers", "", "Clients that wait for a change of a view."),
        ("views_age_seconds", "", "How long ago what questions about views are answered with was the newest."),
        ("backup_age_seconds", "", "How long ago the last backup was made."),
    ),
    *_metrics(
        "counter",
        ("events_total", "source", "Events read, undecodable ones included."),
        ("late_total", "source", "Events that came behind the watermark of their partition."),
        ("dead_letters_total", "source", "Events that could not be used."),
        ("failures_total", "stage", "Events and timers that the flow's code has failed on, and that were set aside."),
        ("lost_total", "operator output", "Values that an operator has let go of by its stated bounds."),
        ("outputs_total", "output", "Records that an output has been given; triggers that were made."),
        ("delivered_total", "output target", "Triggers that were delivered."),
        ("dropped_total", "output target", "Triggers that were dropped by command."),
        ("delivery_attempts_total", "output target outcome", "Attempts to deliver, by what came of them."),
        ("functions_started_total", "function", "Starts of a durable function."),
        ("functions_stray_total", "function", "Replies of topic steps that nobody waited for: twice, or too late."),
        ("functions_ended_total", "function status", "Runs of a durable function that have ended, by how."),
        ("restarts_total", "", "How often all workers were started again."),
        ("worker_cpu_seconds_total", "worker", "Processor time of a worker's process."),
        ("ingest_events_total", "source", "Posted events that were acknowledged, repeats included."),
        ("ingest_duplicates_total", "source", "Posts, or events with keys of their own, that were repeats."),
        ("ingest_requests_total", "code", "Answers to posts, by status."),
        ("queries_total", "code", "Answers to questions about views, by status."),
        ("backups_total", "result", "Backups that were made, and that failed."),
        ("backup_sent_bytes_total", "", "Bytes that were sent for backups."),
    ),
    *_metrics(
        "histogram",
        ("epoch_duration_seconds", "worker", "From the end of an epoch to the end of the next."),
        ("epoch_write_seconds", "worker", "Time spent writing what an epoch has changed."),
        ("step_start_seconds", "queue", "From when an attempt of a step could begin until it did."),
        ("step_seconds", "queue", "From when an attempt of a step began until its outcome was known."),
        ("function_duration_seconds", "function", "From the start of a run of a durable function to its end."),
        ("ingest_fsync_seconds", "source", "How long it took to make a group of posted events durable."),
    ),
    *_metrics(
        "info",
        ("holding_partition_info", "source partition", "A partition that time waits for; at most 5 of a source."),
        ("build_info", "version", "Which version of Headway runs."),
    ),
)
CATALOG_BY_NAME: Final = {metric.name: metric for metric in CATALOG}
