"""Backups of a cluster: each host sends its part, and the coordinator puts them together.

A backup of a cluster is no different from that of a run on one machine: which hosts there were is not in it. So it can
be restored on other hosts, or on one machine.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

from headway.backups.catalog import Catalog, FencedError
from headway.backups.create import PREFIX, Backups, check_flow, forget_parts, send_files
from headway.backups.lease import await_end
from headway.backups.manifest import Manifest
from headway.backups.restore import find_backup, known_backups, restore_backup
from headway.backups.store import Store, StoreError
from headway.cluster.messages import Answer, Versions
from headway.runtime.directory import StateDirectory
from headway.runtime.settle import Committed
from headway.savepoints.parts import create_part, merged
from headway.savepoints.shelf import Shelf, name_for
from headway.state.groups import worker_of
from headway.state.savepoint import SavepointInfo

__all__ = ["BackupPlan", "ClusterBackups", "LastBackup", "Pending", "SiteBackups"]

log = logging.getLogger("headway")


@dataclass(frozen=True)
class BackupPlan:
    """Where backups go, how often they are made, and how many are kept."""

    store: Store
    every_ms: int
    keep: int
    take_over: bool = False
    """Whether to go on with backups that another cluster has claimed."""


class LastBackup(NamedTuple):
    """The newest backup."""

    name: str
    generation: int


@dataclass
class Pending:
    """A backup whose parts are being sent."""

    name: str
    parts: Sequence[SavepointInfo]
    """The first host's first."""
    numbers: dict[int, str] = field(default_factory=dict)
    """The orders that were not answered yet, with their hosts."""
    digests: dict[str, list[str]] = field(default_factory=dict)
    """What each host sends, by the SHA-256 of the contents."""
    failed: str = ""

    def heard(self, answer: Answer) -> bool:
        """Take an answer, if it is one of its own."""
        host = self.numbers.pop(answer.number, None)
        if host is None:
            return False
        why = answer.lost or ("" if answer.failure is None else answer.failure.message)
        if why:
            self.failed = f"host {host}: {why}"
        return True


class ClusterBackups:
    """The coordinator's side."""

    def __init__(self, plan: BackupPlan, directory: StateDirectory, flow: str) -> None:
        self.every_ms = plan.every_ms
        self.where = plan.store.where
        self._plan = plan
        self._directory = directory
        self._flow = flow
        self._claimed: Optional[Backups] = None
        self._fenced: Optional[FencedError] = None
        self._goes_back = False
        self._gone = 0
        self._lease = ExitStack()

    def last(self) -> Optional[LastBackup]:
        """The newest backup, which all hosts are about to go back to; None where there is none.

        Raises `LockedStateError` while another cluster makes backups there; to see that takes some twenty seconds.
        """
        store = self._plan.store
        head = Catalog(store).head()
        if head is None or head.last is None:
            return None
        check_flow(store, head, self._flow)
        if self._claimed is None and not self._plan.take_over and head.claim != self._gone:
            await_end(store, head)
            self._gone = head.claim
        self._goes_back = True
        return LastBackup(head.last.name, Manifest.load(store, head.last).info.generation)

    def claim(self) -> bool:
        """Be the one who adds backups; with the lock of the first host's directory held. Says whether it is.

        A store that cannot be reached keeps no cluster from working: that is told, and tried again at the next time.
        Raises `FencedError` when another cluster has claimed the place since, and as `Backups.claimed`.
        """
        if self._fenced is not None:
            raise self._fenced
        try:
            if self._claimed is not None:
                self._claimed.check()
                return True
            self._claimed = Backups.claimed(
                self._plan.store,
                self._directory,
                take_over=self._plan.take_over,
                anew=self._goes_back,
                locked=True,
                gone=self._gone,
            )
        except StoreError as error:
            log.warning("no backups can be made now: %s", error)
            return False
        self._lease.enter_context(self._claimed.leased(self._lost))
        return True

    def _lost(self, error: FencedError) -> None:
        self._fenced = error

    def close(self) -> None:
        """Give the place back."""
        self._lease.close()

    def has_any(self) -> bool:
        """Whether there is a backup that all hosts can go back to; to be asked once the place is claimed."""
        assert self._claimed is not None
        return self._claimed.version.last is not None

    @property
    def number(self) -> int:
        """That of the claim."""
        assert self._claimed is not None
        return self._claimed.number

    @staticmethod
    def new_name() -> tuple[str, int]:
        """The name of a backup that is made now, and the time in epoch milliseconds."""
        made_ms = time.time_ns() // 1_000_000
        return name_for(made_ms, PREFIX), made_ms

    def lacking(self, parts: Mapping[str, SavepointInfo]) -> dict[str, list[str]]:
        """What each host is to send: contents that the store lacks, each from one host."""
        assert self._claimed is not None
        found: dict[str, list[str]] = {}
        given: set[str] = set()
        for host, part in parts.items():
            found[host] = [digest for digest in self._claimed.lacking(part.files) if digest not in given]
            given.update(found[host])
        return {host: digests for host, digests in found.items() if digests}

    def publish(self, pending: Pending) -> None:
        """Put a backup into the catalog whose parts were sent. Raises `FencedError` and `StoreError`."""
        assert self._claimed is not None
        info = merged(pending.parts)
        sizes = {entry.sha256: entry.size for entry in info.files.values()}
        sent = [digest for digests in pending.digests.values() for digest in digests]
        self._claimed.sent(sent)
        self._claimed.publish(info, sum(sizes[digest] for digest in sent), keep=self._plan.keep)


class SiteBackups:
    """A host's side; `own` are the numbers of its workers, of `workers`."""

    def __init__(
        self, plan: BackupPlan, directory: StateDirectory, flow: str, *, workers: int, own: Collection[int]
    ) -> None:
        self.where = plan.store.where
        self._store = plan.store
        self._directory = directory
        self._flow = flow
        self._workers = workers
        self._own = own
        self._closed = threading.Event()

    def link(self, name: str, made_ms: int, versions: Optional[Versions]) -> tuple[SavepointInfo, Versions]:
        """Take this host's part; see `create_part`. Returns it, and what is committed."""
        known = None if versions is None else Committed({(task, group): version for task, group, version in versions})
        info, known = create_part(self._directory, name, made_ms, known, workers=self._workers, own=self._own)
        forget_parts(self._directory.path, name)
        return info, [(task, group, version) for (task, group), version in known.versions.items()]

    def send(self, claim: int, name: str, digests: Collection[str]) -> None:
        """Send contents of the part that was taken. Raises `StoreError`."""
        folder = Shelf(self._directory.path).path(name)
        files = SavepointInfo.load(folder).files
        wanted = {entry.sha256: name for name, entry in files.items() if entry.sha256 in set(digests)}
        for _ in send_files(self._store, claim, folder, wanted, self._closed.is_set):
            pass

    def close(self) -> None:
        """Send nothing more."""
        self._closed.set()

    def fetch(self, backup: str, generation: int) -> None:
        """Go back to a backup, as far as it is this host's. Raises as `restore_backup`."""
        catalog = known_backups(self._store)
        listed = find_backup(self._store, catalog, backup)
        manifest = Manifest.load(self._store, listed)
        shelf = Shelf(self._directory.path)
        if backup in shelf.names():
            shelf.delete(backup)  # What this host has put into it is a part of what it takes out.
        groups = {group for group in range(manifest.info.key_groups) if worker_of(group, self._workers) in self._own}
        restore_backup(
            self._store,
            catalog,
            listed,
            self._directory,
            outputs="back",
            flow=self._flow,
            manifest=manifest,
            groups=groups,
            generation=generation,
        )
