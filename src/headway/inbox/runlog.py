"""A log that a run writes itself and reads as a source: what comes back from outside, such as outcomes of deliveries.

The dataflow of a flow has no cycles, so what happens outside because of a trigger comes back through a log: it is
durable before anything is done on the strength of it, it has ingestion time, and a replay reads the same. Each worker
writes a partition of its own, since a log has one writer, and any worker may read any partition.

A record that was written may be written again, when a crash came before its cause was noted as done. So each has an
idempotency key, and within the window of keys only the first record of a key counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Optional

from headway.connectors.base import Input, PartitionReader, Position, Tell, unheard
from headway.errors import InternalError
from headway.inbox.cells import Cells
from headway.inbox.reader import InboxReader
from headway.inbox.settings import InboxSettings
from headway.state.files import INBOX_NAME, state_files

__all__ = ["RunLogInput"]

_PARTITION: Final = "worker-"


@dataclass(frozen=True)
class RunLogInput(Input):
    """The log as an input; `state_dir` is known once a flow is to run.

    `name` is that of its folder in the state directory, `about` says for people what is in it.
    """

    name: str
    about: str
    settings: InboxSettings = InboxSettings(window_ms=3_600_000, window_keys=100_000)  # noqa: RUF009 - it is frozen
    """A key is needed from the moment when its record is durable until its cause is noted as done."""
    former: tuple[str, ...] = ()
    """Names that it had in earlier versions of the flow."""
    state_dir: Optional[Path] = None
    is_awaited: bool = False
    """Whether a bounded run waits for what comes back by it."""

    @property
    def comes_back(self) -> bool:
        """Where a run waits for it."""
        return self.is_awaited

    @property
    def own_log(self) -> Optional[str]:
        """Its log. The first character keeps it apart from the logs of paths."""
        return f"{INBOX_NAME}/~{self.name}"

    def within(self, directory: Path) -> RunLogInput:
        """The same in a state directory."""
        return replace(self, state_dir=directory)

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """One for each worker that there has ever been."""
        with state_files(self._folder, "list"):
            found = [path.name for path in self._folder.glob(f"{_PARTITION}*")] if self._folder.exists() else []
        return sorted(found)

    def directory(self, worker: int) -> Path:
        """Where the partition of a worker is."""
        return self._folder / f"{_PARTITION}{worker:02d}"

    def prepare(self, workers: int) -> None:
        """Make the partitions of so many workers: a reader must know all of them before the first record is written.

        Else time could pass a record of one that it does not know, and the record would be late.
        """
        if not self._folder.exists():
            for name in self.former:
                before = self._folder.with_name(f"~{name}")
                if before.exists():
                    with state_files(before, "rename"):
                        before.rename(self._folder)
                    break
        for worker in range(workers):
            with state_files(self.directory(worker)):
                Cells(self.directory(worker)).close()

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """Read from the record on that a position names."""
        return InboxReader(self._folder / partition, f"~{self.name}/{partition}", position, follow=follow)

    def describe(self) -> str:
        """What is in it."""
        return self.about

    @property
    def _folder(self) -> Path:
        if self.state_dir is None:
            msg = f"{self.describe()} is read by a run, which gives it a state directory; please report this"
            raise InternalError(msg)
        return self.state_dir / INBOX_NAME / f"~{self.name}"
