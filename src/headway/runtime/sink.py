"""An output as a stage: it writes what it receives in the order of (time, id), up to its watermark."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from headway.connectors.base import Output, OutputWriter
from headway.errors import CorruptStateError
from headway.graph import DEAD_LETTERS
from headway.plan import SinkStage
from headway.runtime.batch import Batch
from headway.runtime.channels import Channels
from headway.state.files import state_files
from headway.state.stage import StageStore

__all__ = ["OutputClaim", "SinkTask"]


class OutputClaim:
    """A small file in the state directory that says that an output is ours, and what it has got for good."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.delivered_version = -1
        """At the end of the run before, everything up to this version had been written."""

    def take(self) -> bool:
        """Claim the output; True the first time that this state directory opens it."""
        with state_files(self._path):
            if not self._path.exists():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.touch()
                return True
            text = self._path.read_text(errors="replace") or "-1"
        try:
            self.delivered_version = int(text)
        except ValueError:
            msg = f"{self._path} holds {text[:80]!r}, expected a version: restore the state directory from a backup"
            raise CorruptStateError(msg) from None
        return False

    def note_delivered(self, version: int) -> None:
        """Everything up to `version` has been written: the next start does not write it again."""
        with state_files(self._path, "write"):
            self._path.write_text(str(version))


class SinkTask:
    """Writes one output, exactly once where the output can take back what is not durable yet.

    A transactional output is written at once and taken back to its position by a restart. Another one
    gets an epoch's records once the epoch is durable everywhere: at least once, with the same ids.
    Dead letters do not wait for time: they are written as they come.
    """

    def __init__(
        self,
        sink: SinkStage,
        output: Output,
        store: StageStore,
        channels: Channels,
        meta: Optional[dict[str, Any]],
        claim: OutputClaim,
    ) -> None:
        known = meta or {}
        self.store = store
        self.channels = channels
        self.count: int = known.get("count", 0)
        self._at_once = {edge.id for edge in sink.inputs if edge.from_source and edge.producer.name == DEAD_LETTERS}
        self._watermark = channels.watermark()
        self._position = known.get("position")
        self._claim = claim
        fresh = claim.take()
        self._writer: OutputWriter = output.open(self._position, fresh=self._position is None and fresh)
        self.notice: Optional[str] = getattr(self._writer, "notice", None)
        self._made: list[bytes] = []
        """Of this epoch, for an output that cannot take anything back."""
        self._durable: list[bytes] = list(known.get("outbox", ()))
        """Of the epoch before, durable once anything of this epoch arrives; after a restart at once."""
        self._written = False
        if claim.delivered_version >= store.version:
            self._durable.clear()
        self.deliver()

    def on_batches(self, batches: list[Batch]) -> None:
        """Take batches and write as far as W allows. Data of an epoch proves that the one before is durable."""
        self.deliver()
        arrived: list[bytes] = []
        for batch in batches:
            if batch.edge in self._at_once:
                arrived.extend(record[2] for record in batch.records)
            elif batch.records:
                self.store.waiting.add(0, batch.channel, batch.records)
            self.channels.claim(batch.edge, batch.channel, batch.watermark)
        if arrived:
            self._write(arrived)
        watermark = self.channels.watermark()
        if watermark > self._watermark:
            self._watermark = watermark
            released = self.store.waiting.release(watermark)
            if released:
                self._write([record[2] for record in released])

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
        if self._made:
            meta["outbox"] = self._made
        version = self.store.commit(meta)
        self._durable.extend(self._made)
        self._made = []
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
        self._writer.close()
