"""An output as a stage: it writes what it receives in the order of (time, id), up to its watermark."""

from __future__ import annotations

from typing import Any, Optional

from headway.basics.times import MIN_TIME_MS
from headway.connectors.base import Output, OutputWriter
from headway.graph import DEAD_LETTERS
from headway.plan.stages import SinkStage
from headway.runtime.batch import Batch, Record
from headway.runtime.channels import Channels
from headway.runtime.stage import SLICE
from headway.runtime.stats import SinkStats, known_time
from headway.state.stage import StageStore

__all__ = ["SinkTask"]


_LINES_PER_RECORD = 16
"""To write a line takes less than to handle a record: an output must not fall behind the stages that feed it."""


class SinkTask:
    """Writes one output, exactly once where the output can take back what is not durable yet.

    A transactional output is written at once and taken back to its position by a restart. For another one an epoch's
    records go into the store's outbox, and leave once the epoch is durable everywhere: at least once, with the same
    ids. Whatever ends the run before, the next start finds them there.

    As a keyed stage, it goes on in slices and is a participant of epochs: see `headway.runtime.participant`.

    What becomes a dead letter at a source and is not read by the flow does not wait for time, since no time may ever be
    known: the letters of each partition are written as they come, to a file of their own, so that it has one order
    only. Those of keyed stages have a time, and come from many key groups: they wait for it, as all else that is
    written.
    """

    def __init__(
        self, sink: SinkStage, output: Output, store: StageStore, channels: Channels, slice_records: int = SLICE
    ) -> None:
        self.name = sink.name
        self.store = store
        self.channels = channels
        self.count = 0
        self.notice: Optional[str] = None
        """What `resume` has found out that a person should be told."""
        letters = {
            edge.id: edge.producer.node
            for edge in sink.inputs
            if edge.producer.name == DEAD_LETTERS and edge.from_source
        }
        self._sources = letters if output.by_partition else {}
        """The sources of what is written as it comes, by edge."""
        self._slice = _LINES_PER_RECORD * slice_records
        self._target = self._watermark = MIN_TIME_MS
        self._output = output
        self._writer: Optional[OutputWriter] = None
        self._position: Optional[dict[str, Any]] = None
        self._written = False
        self.open_until_ms: Optional[int] = None
        """Once it is released: the time that has to pass until what was written is complete."""

    @property
    def watermark(self) -> int:
        """Everything up to it has been written."""
        return self._watermark

    @property
    def is_behind(self) -> bool:
        """Whether there is more to write than has been written: then `on_clock` should be called."""
        return self._target > self._watermark

    def resume(self, version: Optional[int]) -> None:
        """Open the output where it stood at a version of the store, and write what was durable and is not written.

        Raises `OutputError` when the output refuses: what is durable is kept for the next start.
        """
        known = self.store.resume(version) or {}
        self.channels.restore(known.get("claims"))
        self.count = known.get("count", 0)
        self._target = self.channels.watermark()
        self._watermark = known.get("watermark", self._target)
        self._position = known.get("position")
        self._writer = self._output.open(self._position, mark=self.store.mark)
        # Only now: before a foreign file is out of the way, it must not be taken for ours.
        self.store.hold(self._writer.mark)
        self.notice = self._writer.notice
        self.store.outbox.deliver(self._writer.write)

    def prepare(self) -> int:
        """Close the epoch: what was written is durable, what is still to be written is in the outbox."""
        if self._written or self._position is None:
            self._position = self._open_writer.position()
            self._written = False
        meta = {"claims": self.channels.claims_by_edge(), "count": self.count, "position": self._position}
        if self.is_behind:
            meta["watermark"] = self._watermark
        return self.store.commit(meta)

    def committed(self, version: int) -> None:
        """Write what cannot be taken back; the write that promotes the version takes it out of the outbox."""
        writer = self._open_writer
        self.store.outbox.deliver(writer.write)
        writer.committed()
        self.store.settle(sync=False)

    def statistics(self) -> SinkStats:
        """What has been written, and what waits."""
        return SinkStats(
            version=self.store.version,
            watermark=known_time(self._watermark),
            output=self.name,
            count=self.count,
            waiting=len(self.store.waiting),
            unwritten=len(self.store.outbox),
        )

    def on_batches(self, batches: list[Batch]) -> None:
        """Take batches and write a slice."""
        is_news = False
        for batch in batches:
            if batch.records:
                is_news = True
                self._take(batch)
            if self.channels.claim(batch.edge, batch.channel, batch.watermark):
                is_news = True
        if is_news:
            self._target = self.channels.watermark()
        self.on_clock()

    def _take(self, batch: Batch) -> None:
        source = self._sources.get(batch.edge)
        if source is None:
            self.store.waiting.add(0, batch.channel, batch.records)
            return
        self.count += len(batch.records)
        self._open_writer.write_of(source, batch.part, [record[2] for record in batch.records])
        self._written = True

    def on_clock(self) -> None:
        """Go on by a slice."""
        if self.is_behind:
            self._advance()

    def on_end(self) -> None:
        """The run ends at the end of its input: write everything that time has come for."""
        while self.is_behind:
            self._advance()

    def _advance(self) -> None:
        waiting = self.store.waiting
        released = waiting.release(self._target, self._slice)
        if released:
            self._write(released)
        self._watermark = max(self._watermark, min(waiting.next_ms - 1, self._target))
        if self._open_writer.pass_time(self._watermark):
            self._written = True

    def _write(self, records: list[Record]) -> None:
        self.count += len(records)
        lines = [record[2] for record in records]
        writer = self._open_writer
        if writer.transactional:
            writer.write_at([record[0] for record in records], lines)
            self._written = True
        else:
            self.store.outbox.add(lines)

    @property
    def _open_writer(self) -> OutputWriter:
        assert self._writer is not None, "the output is written after `resume` and before `release`"
        return self._writer

    def release(self) -> None:
        """Let the output go, however the run has ended; again does nothing."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self.open_until_ms = writer.open_until_ms
            writer.close()
