"""An output as a stage: it writes what it receives in the order of (time, id), up to its watermark."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from headway.connectors.base import Output, OutputWriter
from headway.graph import DEAD_LETTERS
from headway.plan import SinkStage
from headway.runtime.batch import Batch
from headway.runtime.channels import Channels
from headway.runtime.stage import SLICE
from headway.state.files import state_files
from headway.state.private import make_private, write_private
from headway.state.seal import seal, unseal
from headway.state.stage import StageStore

__all__ = ["OutputClaim", "SinkTask"]


_LINES_PER_RECORD = 16
"""To write a line takes less than to handle a record: an output must not fall behind the stages that feed it."""


class OutputClaim:
    """A small file in the state directory that says which file is ours, and what an output has got for good."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.mark: Optional[str] = None
        """That of the writer before; None when this state directory opens the output for the first time."""
        self.delivered_version = -1
        """At the end of the run before, everything up to this version had been written."""
        with state_files(path, "read"):
            try:
                sealed = path.read_bytes()
            except FileNotFoundError:
                return
        self.mark, self.delivered_version = unseal(sealed, f"the mark of the output, {path},")

    def hold(self, mark: str) -> None:
        """The output has been opened, and nothing been written: what bears this mark is ours from now on."""
        if mark != self.mark:
            self.mark = mark
            self._store()

    def note_delivered(self, version: int) -> None:
        """Everything up to `version` has been written: the next start does not write it again."""
        self.delivered_version = version
        self._store()

    def _store(self) -> None:
        """Durably and atomically."""
        directory = self._path.parent
        with state_files(self._path, "write"):
            make_private(directory)
            write_private(self._path, seal((self.mark, self.delivered_version)), sync=True)


class SinkTask:
    """Writes one output, exactly once where the output can take back what is not durable yet.

    A transactional output is written at once and taken back to its position by a restart. Another one gets an epoch's
    records once the epoch is durable everywhere: at least once, with the same ids. Until they have been written they
    are stored with each epoch, whatever ends the run.

    As a keyed stage does, it goes on in slices, and does nothing in an epoch before something has arrived in it.

    What becomes a dead letter at a source and is not read by the flow does not wait for time, since no time may ever be
    known: the letters of each partition are written as they come, to a file of their own, so that it has one order
    only. Those of keyed stages have a time, and come from many key groups: they wait for it, as all else that is
    written.
    """

    def __init__(
        self,
        sink: SinkStage,
        output: Output,
        store: StageStore,
        channels: Channels,
        meta: Optional[dict[str, Any]],
        claim: OutputClaim,
        slice_records: int = SLICE,
    ) -> None:
        known = meta or {}
        self.store = store
        self.channels = channels
        self.count: int = known.get("count", 0)
        letters = {
            edge.id: edge.producer.node
            for edge in sink.inputs
            if edge.producer.name == DEAD_LETTERS and edge.from_source
        }
        self._sources = letters if output.by_partition else {}
        """The sources of what is written as it comes, by edge."""
        self._slice = _LINES_PER_RECORD * slice_records
        self._is_proven = True  # What a store was resumed at is durable.
        self._target = channels.watermark()
        self._watermark: int = known.get("watermark", self._target)
        self._position = known.get("position")
        self._claim = claim
        self._writer: OutputWriter = output.open(self._position, mark=claim.mark)
        # Only now: before a foreign file is out of the way, it must not be taken for ours.
        claim.hold(self._writer.mark)
        self.notice: Optional[str] = self._writer.notice
        self._made: list[bytes] = []
        """Of this epoch, for an output that cannot take anything back."""
        self._durable: list[bytes] = list(known.get("outbox", ()))
        """Of epochs before, durable once anything of this epoch arrives; after a restart at once."""
        self._written = False
        self._is_released = False
        if claim.delivered_version >= store.version:
            self._durable.clear()
        self.deliver()

    @property
    def watermark(self) -> int:
        """Everything up to it has been written."""
        return self._watermark

    @property
    def is_behind(self) -> bool:
        """Whether there is more to write than has been written."""
        return self._target > self._watermark

    @property
    def wants_to_go_on(self) -> bool:
        """Whether `on_clock` should be called."""
        return self._is_proven and self.is_behind

    def on_batches(self, batches: list[Batch]) -> None:
        """Take batches and write a slice. Data of an epoch proves that the one before is durable."""
        self._is_proven = True
        self.deliver()
        is_news = False
        for batch in batches:
            if batch.records:
                is_news = True
                self._take(batch)
            if self.channels.claim(batch.edge, batch.channel, batch.watermark):
                is_news = True
        if is_news:
            self._target = self.channels.watermark()
        else:
            self.store.settle(sync=False)
        self.on_clock()

    def _take(self, batch: Batch) -> None:
        source = self._sources.get(batch.edge)
        if source is None:
            self.store.waiting.add(0, batch.channel, batch.records)
            return
        self.count += len(batch.records)
        self._writer.write_of(source, batch.part, [record[2] for record in batch.records])
        self._written = True

    def on_clock(self) -> None:
        """Go on by a slice."""
        if self.wants_to_go_on:
            self._advance()

    def on_end(self) -> None:
        """The run ends at the end of its input: write everything that time has come for."""
        while self.is_behind:
            self._advance()

    def _advance(self) -> None:
        waiting = self.store.waiting
        released = waiting.release(self._target, self._slice)
        if released:
            self._write([record[2] for record in released])
        self._watermark = max(self._watermark, min(waiting.next_ms - 1, self._target))

    def _write(self, lines: list[bytes]) -> None:
        self.count += len(lines)
        if self._writer.transactional:
            self._writer.write(lines)
            self._written = True
        else:
            self._made.extend(lines)

    def commit(self) -> int:
        """Close the epoch; returns the version to resume from."""
        if self._written or self._position is None:
            self._position = self._writer.position()
            self._written = False
        meta = {"claims": self.channels.claims_by_edge(), "count": self.count, "position": self._position}
        if self.is_behind:
            meta["watermark"] = self._watermark
        if self._durable or self._made:
            meta["outbox"] = self._durable + self._made
        version = self.store.commit(meta)
        self._durable.extend(self._made)
        self._made = []
        self._is_proven = False
        return version

    def deliver(self) -> None:
        """Write what is durable by now, for an output that cannot take anything back."""
        if self._durable:
            self._writer.write(self._durable)
            self._durable = []

    def close(self) -> None:
        """The run has ended well, and so everything is durable."""
        self.deliver()
        if not self._writer.transactional:
            self._claim.note_delivered(self.store.version)
        self.release()

    def release(self) -> None:
        """Let the output go, however the run has ended; again does nothing."""
        if not self._is_released:
            self._is_released = True
            self._writer.close()
