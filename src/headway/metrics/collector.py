"""The collector for prometheus_client: each scrape reads what the processes have left, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from headway.errors import StateError
from headway.metrics import catalog
from headway.metrics.families import Known, Samples, samples
from headway.metrics.ledger import Ledger
from headway.metrics.sizes import StateSizes
from headway.metrics.snapshots import (
    BackupSnapshot,
    IngestSnapshot,
    RunSnapshot,
    ViewsSnapshot,
    now_ms,
    read_snapshot,
)

__all__ = ["FlowCollector"]

log = logging.getLogger("headway")


@dataclass(eq=False)
class FlowCollector(Collector):
    """Tells of one flow what its processes have left in `directory`.

    `sizes` measures its state; it is None beside a server that stands alone.
    Each scrape reads four small files, and writes one when a counter has moved: 1 or 2 ms.
    """

    flow: str
    directory: Path
    ledger: Ledger
    version: str
    sizes: Optional[StateSizes] = None

    def describe(self) -> list[Metric]:
        """Nothing: without it a registry would collect once to learn the names, before there is anything."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        known = Known(
            now_ms(),
            read_snapshot(self.directory, RunSnapshot),
            read_snapshot(self.directory, IngestSnapshot),
            read_snapshot(self.directory, ViewsSnapshot),
            read_snapshot(self.directory, BackupSnapshot),
            {} if self.sizes is None else self.sizes.look(),
        )
        found = samples(known, self.ledger, self.version)
        try:
            self.ledger.store(self.directory)
        except StateError as error:
            log.warning("counters may go back when the exporter is started again: %s", error)
        return families(self.flow, found)


def families(flow: str, found: Samples) -> Iterator[Metric]:
    """Samples as prometheus_client has them."""
    for metric in catalog.CATALOG:
        values = found.get(metric.name)
        if values:
            yield _family(metric, flow, values)


def _family(metric: catalog.Metric, flow: str, values: dict[tuple[str, ...], Any]) -> Metric:
    names: Sequence[str] = ("flow", *metric.labels)
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=names)
        for labels, (counts, total) in values.items():
            histogram.add_metric((flow, *labels), _buckets(counts, metric.bounds_s), total)
        return histogram
    if metric.kind == "info":
        info = InfoMetricFamily(metric.family, metric.help, labels=names)
        for labels in values:
            info.add_metric((flow, *labels), {})
        return info
    if metric.kind == "counter":
        counter = CounterMetricFamily(metric.family, metric.help, labels=names)
        for labels, value in values.items():
            counter.add_metric((flow, *labels), value)
        return counter
    gauge = GaugeMetricFamily(metric.name, metric.help, labels=names)
    for labels, value in values.items():
        gauge.add_metric((flow, *labels), value)
    return gauge


def _buckets(counts: Sequence[float], bounds_s: Sequence[float]) -> list[tuple[str, float]]:
    """Each with all before it, as Prometheus has them."""
    bounds = [*(repr(bound) for bound in bounds_s), "+Inf"]
    buckets, total = [], 0.0
    for bound, count in zip(bounds, counts):
        total += count
        buckets.append((bound, total))
    return buckets
