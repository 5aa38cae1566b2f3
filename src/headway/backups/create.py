"""Making backups: a savepoint of the flow is made, what the store lacks of it is sent, and the catalog takes it.

One that fails leaves objects that no manifest names. They are used by the next one of the same `Backups`, and removed
after that. The savepoint stays in the state directory until the next one is made, so that the checksums of files that
both have need not be calculated again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Final, Optional

import msgspec

from headway.backups.catalog import Catalog, FencedError, Listed, Version, new_writer
from headway.backups.identity import Identity
from headway.backups.lease import Lease, await_end, remove_lease, unheard, wall_ms
from headway.backups.manifest import Manifest, file_key, manifests_of
from headway.backups.prune import collect
from headway.backups.store import Store
from headway.basics.crashpoints import reached
from headway.errors import IncompatibleStateError, LockedStateError, StateError
from headway.runtime.directory import StateDirectory
from headway.savepoints.create import create_savepoint
from headway.savepoints.shelf import Shelf
from headway.state.savepoint import FileEntry, SavepointInfo

__all__ = ["PREFIX", "Backups", "forget_parts", "send_files"]

PREFIX: Final = "backup-"
"""What the names of savepoints begin with that a backup is made of."""
_SENDERS: Final = 8
"""Files that are sent at once: most are small, and each is a request that waits for the store."""


def _never() -> bool:
    return False


class Backups:
    """The backups of one flow's state directory in one place, as the only one who adds to them.

    `Backups.claimed` makes one. For one thread at a time.
    """

    def __init__(self, store: Store, directory: StateDirectory, catalog: Catalog, claim: Version) -> None:
        self._store = store
        self._directory = directory
        self._catalog = catalog
        self._version = claim
        self._claim = claim.number
        self._sent: dict[str, int] = {}
        """Contents that are in the store, with their claims: those of backups that are kept, and those sent since."""
        self._manifests: dict[str, Manifest] = {}
        """Of the backups that are kept, by key."""

    @classmethod
    def claimed(
        cls,
        store: Store,
        directory: StateDirectory,
        *,
        take_over: bool = False,
        anew: bool = False,
        locked: bool = False,
        gone: int = 0,
        now_ms: Callable[[], int] = wall_ms,
        pause: Callable[[float], object] = time.sleep,
        tell: Callable[[str], object] = unheard,
    ) -> Backups:
        """Claim the place for a directory; whoever had it is fenced.

        Whether he is alive is looked at first, see `await_end`.
        `anew` says that the directory need not go on from the backups; whoever makes them now is not disturbed.
        `locked` says that the lock of the directory is held here, so that nobody else works for it. `gone` is a claim
        of which it is known already that its writer is.

        Raises `IncompatibleStateError` where there is no state, or the backups are another flow's, `LockedStateError`
        where they are not the past of this directory, or another run makes them, and this one is not to `take_over`,
        `FencedError` when another one claims the place at the same time, and `StoreError`.
        """
        manifest = directory.manifest()
        if manifest is None:
            msg = f"{directory} holds no state: run the flow first, or check the path"
            raise IncompatibleStateError(msg)
        catalog = Catalog(store)
        before = catalog.head()
        identity = Identity.of(directory.path)
        writer = new_writer(identity.directory, directory.path)
        if before is not None:
            check_flow(store, before, manifest.flow)
            if not take_over:
                if not anew:
                    _check_past(store, directory, identity, before)
                if before.claim != gone and not (locked and writer.is_beside(before.writer)):
                    await_end(store, before, now_ms=now_ms, pause=pause, tell=tell)
        claim = catalog.claim(writer, manifest.flow, now_ms(), before)
        identity.keep(directory.path)
        if before is not None:
            remove_lease(store, before)
        made = cls(store, directory, catalog, claim)
        made._know()
        return made

    def leased(self, fenced: Optional[Callable[[FencedError], None]] = None) -> Lease:
        """Holds the place as long as its block lasts; `fenced` is called, in its thread, when that is another one's."""
        return Lease(self._store, self._claim, self.check, fenced)

    @property
    def version(self) -> Version:
        """The last version of the catalog that this one has made."""
        return self._version

    def check(self) -> None:
        """Raise `FencedError` when another one has claimed the place since."""
        self._catalog.check(self._version)

    def _know(self) -> None:
        """Look up what is in the store. What the last backup names and is gone is sent again."""
        self._manifests = manifests_of(self._store, self._version.backups)
        self._forget()
        there = set(self._store.keys("files/"))
        with ThreadPoolExecutor(_SENDERS, thread_name_prefix="headway-backup") as askers:
            unsure = [digest for digest, claim in self._sent.items() if file_key(claim, digest) not in there]
            keys = [file_key(self._sent[digest], digest) for digest in unsure]
            for digest, found in zip(unsure, askers.map(self._store.exists, keys)):
                if not found:
                    del self._sent[digest]

    def _forget(self) -> None:
        """Count on nothing but what backups name that are kept: all else may be removed."""
        kept = {listed.manifest for listed in self._version.backups}
        self._manifests = {key: manifest for key, manifest in self._manifests.items() if key in kept}
        self._sent = {}
        for listed in self._version.backups:
            if listed.manifest in self._manifests:
                self._sent.update(self._manifests[listed.manifest].claims)

    def create(
        self,
        name: Optional[str] = None,
        *,
        keep: Optional[int] = None,
        stopping: Callable[[], bool] = _never,
        now_ms: Callable[[], int] = wall_ms,
    ) -> Listed:
        """Make a backup, of a flow that runs or is stopped, and keep the last `keep` of all (None: all).

        Costs a savepoint, and for each file that the store lacks the time to send it.

        Raises `FencedError` when another one has claimed the place, `StoreError`, `StateError` when it is `stopping`,
        and what `create_savepoint` raises.
        """
        info = create_savepoint(self._directory, name, prefix=PREFIX, stopping=stopping, wall_ms=now_ms)
        lacking = self.lacking(info.files)
        place = Shelf(self._directory.path).path(info.name)
        for digest in send_files(self._store, self._claim, place, lacking, stopping):
            self.sent([digest])
        return self.publish(info, sum(info.files[name].size for name in lacking.values()), keep=keep)

    @property
    def number(self) -> int:
        """That of the claim."""
        return self._claim

    def lacking(self, files: Mapping[str, FileEntry]) -> dict[str, str]:
        """Which files of a savepoint the store does not have: their names, by the SHA-256 of what is in them."""
        return {entry.sha256: name for name, entry in files.items() if entry.sha256 not in self._sent}

    def sent(self, digests: Iterable[str]) -> None:
        """These contents are in the store now, under this claim."""
        self._sent.update(dict.fromkeys(digests, self._claim))

    def publish(
        self,
        info: SavepointInfo,
        sent_bytes: int,
        *,
        keep: Optional[int] = None,
    ) -> Listed:
        """Put a savepoint into the catalog whose files are all in the store; keeps the last `keep` of all (None: all).

        Raises `FencedError` when another one has claimed the place, and `StoreError`.
        """
        manifest = Manifest(info=info, claims={entry.sha256: self._sent[entry.sha256] for entry in info.files.values()})
        data = manifest.encoded()
        listed = Listed(
            name=info.name,
            number=0,
            claim=self._claim,
            directory=self._version.writer.directory,
            origin=info.origin,
            made_ms=info.made_ms,
            events=info.events,
            rows=info.rows,
            files=len(info.files),
            size_bytes=info.size_bytes,
            sent_bytes=sent_bytes + len(data),
            manifest_bytes=len(data),
            manifest_sha256=sha256(data).hexdigest(),
        )
        reached("backup-manifest.before")
        self._store.write(listed.manifest, data)
        reached("backup-manifest.after")
        self._manifests[listed.manifest] = manifest
        reached("backup.before")
        before = self._version
        self._version = self._catalog.change(before, lambda last: _with(last, listed, keep, info.made_ms))
        reached("backup.after")
        made = self._version.backups[-1]
        _note(self._directory.path, self._version, made)
        forget_parts(self._directory.path, info.name)
        self._clean(before)
        return made

    def _clean(self, before: Version) -> None:
        """Remove what no backup needs any more, if any was dropped since the version `before`."""
        kept = {listed.manifest for listed in self._version.backups}
        self._forget()
        if any(listed.manifest not in kept for listed in before.backups):
            collect(self._store, self._version, self._manifests)


def send_files(
    store: Store, claim: int, savepoint: Path, files: Mapping[str, str], stopping: Callable[[], bool] = _never
) -> Iterator[str]:
    """Send files of a savepoint under a claim: their names, by the SHA-256 of what is in them. Gives those of each.

    Raises `StoreError`, and `StateError` when it is `stopping`.
    """

    def send(digest: str, name: str) -> str:
        if stopping():
            msg = f"the backup {savepoint.name} was given up: the run is being stopped"
            raise StateError(msg)
        store.send(file_key(claim, digest), savepoint / name)
        return digest

    reached("backup-files.before")
    with ThreadPoolExecutor(_SENDERS, thread_name_prefix="headway-backup") as senders:
        under_way = [senders.submit(send, digest, name) for digest, name in files.items()]
        try:
            for done in under_way:
                yield done.result()
        finally:
            for left in under_way:
                left.cancel()
    reached("backup-files.after")


def forget_parts(directory: Path, kept: str) -> None:
    """Delete the savepoints of a directory that backups before `kept` were made of."""
    shelf = Shelf(directory)
    for old in shelf.names():
        if old.startswith(PREFIX) and old != kept:
            shelf.delete(old)


def _with(last: Version, listed: Listed, keep: Optional[int], at_ms: int) -> Version:
    """The catalog with a backup more, and those dropped that are one too many."""
    backups = [*last.backups, msgspec.structs.replace(listed, number=last.number + 1)]
    return msgspec.structs.replace(last, kind="backup", at_ms=at_ms, backups=backups[-keep:] if keep else backups)


def check_flow(store: Store, found: Version, flow: str) -> None:
    """Raise `IncompatibleStateError` for a place of another flow's backups."""
    if found.flow != flow:
        msg = f"{store.where} has backups of the flow {found.flow!r}, expected {flow!r}: give each flow its own place"
        raise IncompatibleStateError(msg)


def _check_past(store: Store, directory: StateDirectory, identity: Identity, found: Version) -> None:
    """Raise `LockedStateError` where another directory has gone on from the backups since this one was the last."""
    last = found.last
    if last is None or found.writer.directory == identity.directory:
        return
    if identity.place == found.place and identity.seen >= last.number > found.claim:
        return
    msg = (
        f"{store.where} was claimed by {found.writer}, and {directory} does not go on from its last backup, "
        f"{last.name}: restore that into an empty directory, give another place, or start with --backup-take-over if "
        f"{directory} is the one that counts"
    )
    raise LockedStateError(msg)


def _note(directory: Path, version: Version, listed: Listed) -> None:
    """Keep which backup the directory has last made."""
    Identity(directory=version.writer.directory, place=version.place, seen=listed.number).keep(directory)
