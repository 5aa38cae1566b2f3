"""Going back to a backup: it becomes a savepoint of a state directory, and that is restored.

What comes from the store is not believed. Each file is compared with its checksum as it arrives, in a folder that
nobody takes for a savepoint; whatever is missing, cut, changed or another one's is refused by its name, before the
state directory is touched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final, Optional

import msgspec

from headway.backups.catalog import Catalog, Listed, Version
from headway.backups.create import check_flow
from headway.backups.identity import Identity
from headway.backups.manifest import Manifest, damaged, file_key
from headway.backups.store import Store
from headway.basics.syncing import sync_directory
from headway.errors import CorruptStateError, UsageError
from headway.runtime.directory import StateDirectory
from headway.savepoints.parts import part_of
from headway.savepoints.restore import Outputs, check_outputs, restore_savepoint
from headway.savepoints.shelf import Shelf, check_name
from headway.state.files import check_room, state_files
from headway.state.private import make_private, open_private
from headway.state.savepoint import FileEntry, check_savepoint

__all__ = ["find_backup", "known_backups", "restore_backup", "verify_backup"]

_READERS: Final = 8
_WAIT_S: Final = 60.0


def known_backups(store: Store) -> Version:
    """The catalog of a place. Raises `UsageError` for a place without backups."""
    found = Catalog(store).head()
    if found is None:
        msg = f"{store.where} has no backups: check the address; headway run FLOW --backup-to {store.where} makes some"
        raise UsageError(msg)
    return found


def find_backup(store: Store, catalog: Version, name: Optional[str] = None) -> Listed:
    """A backup by its name, or the last one. Raises `UsageError` where there is none."""
    if name is None and catalog.last is not None:
        return catalog.last
    for listed in reversed(catalog.backups):
        if listed.name == name:
            return listed
    names = ", ".join(listed.name for listed in catalog.backups) or "it has none"
    msg = f"{store.where} has no backup {name!r}: expected one of {names}" if name else f"{store.where} has no backups"
    raise UsageError(msg)


def restore_backup(
    store: Store,
    catalog: Version,
    listed: Listed,
    directory: StateDirectory,
    *,
    outputs: Optional[Outputs] = None,
    flow: Optional[str] = None,
    manifest: Optional[Manifest] = None,
    groups: Optional[Collection[int]] = None,
    generation: Optional[int] = None,
    sync: bool = True,
) -> Listed:
    """Let a state directory, which may be empty, go on from a backup; of `groups` alone, as one host of a cluster.

    `manifest` is that of the backup, where it has been loaded already.
    The backup becomes one of its savepoints, with the same name. Takes as long as its files need to come, and then
    what `restore_savepoint` does. A kill anywhere leaves the directory as it was, or restored: call it again.

    Raises `CorruptStateError` that names the object for a damaged backup, `StoreError`, `IncompatibleStateError` for
    another flow's, and what `restore_savepoint` raises.
    """
    if flow is not None:
        check_flow(store, catalog, flow)
    manifest = manifest or Manifest.load(store, listed)
    if groups is not None:
        manifest = msgspec.structs.replace(manifest, info=part_of(manifest.info, groups))
    check_outputs(manifest.info, directory.path, outputs)
    shelf = Shelf(directory.path)
    check_name(listed.name)
    with shelf.held(time.monotonic() + _WAIT_S):
        if (shelf.folder / listed.name).exists():
            _check_same(shelf.folder / listed.name, manifest)
        else:
            check_room(directory.path)
            with shelf.draft() as draft:
                _fetch(store, listed, manifest, draft)
                shelf.place(draft, manifest.info)
    restore_savepoint(shelf.folder / listed.name, directory, outputs=outputs, generation=generation, sync=sync)
    identity = Identity.of(directory.path)
    msgspec.structs.replace(identity, place=catalog.place, seen=listed.number).keep(directory.path)
    return listed


def verify_backup(store: Store, listed: Listed) -> Iterator[CorruptStateError]:
    """Read all of a backup, and compare it with its checksums; tells each object that is not as it was sent."""
    try:
        manifest = Manifest.load(store, listed)
    except CorruptStateError as error:
        yield error
        return
    sizes = {entry.sha256: entry.size for entry in manifest.info.files.values()}

    def check(digest: str) -> Optional[CorruptStateError]:
        try:
            for _ in _checked(store, listed, manifest, FileEntry(sizes[digest], digest)):
                pass
        except CorruptStateError as error:
            return error
        return None

    with ThreadPoolExecutor(_READERS) as readers:
        yield from filter(None, readers.map(check, sizes))


def _check_same(savepoint: Path, manifest: Manifest) -> None:
    """Raise unless a savepoint that is there already is the backup itself, such as one that was fetched before."""
    info = check_savepoint(savepoint)
    if info.files != manifest.info.files:
        msg = f"{savepoint} is another savepoint than the backup of that name: delete it (headway savepoint delete)"
        raise UsageError(msg)


def _fetch(store: Store, listed: Listed, manifest: Manifest, draft: Path) -> None:
    """Get all files of a backup into an empty folder."""
    names = sorted(manifest.info.files)
    for name in names:
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            msg = f"the backup {listed.name} in {store.where} has {name!r:.200}, which leads out of it"
            raise CorruptStateError(msg)
    parents = sorted({parent for name in names for parent in PurePosixPath(name).parents})
    with state_files(draft, "write"):
        for parent in parents:
            make_private(draft / parent)

    def fetch(name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with state_files(draft / name, "write"), os.fdopen(open_private(draft / name, flags), "wb") as file:
            for chunk in _checked(store, listed, manifest, manifest.info.files[name]):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    _each(fetch, names)
    with state_files(draft, "write"):
        for parent in parents:
            sync_directory(draft / parent)


def _each(call: Callable[[str], None], names: list[str]) -> None:
    """Call it with each of several, a few at once; the first error ends it."""
    with ThreadPoolExecutor(_READERS) as readers:
        under_way = [readers.submit(call, name) for name in names]
        try:
            for done in under_way:
                done.result()
        finally:
            for left in under_way:
                left.cancel()


def _checked(store: Store, listed: Listed, manifest: Manifest, entry: FileEntry) -> Iterator[bytes]:
    """The content of a file; raises at its end, if not before, when it is not what was sent."""
    key = file_key(manifest.claims[entry.sha256], entry.sha256)
    chunks = store.chunks(key)
    if chunks is None:
        raise damaged(store, listed, key, "is missing")
    digest, size = sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        if size > entry.size:
            raise damaged(store, listed, key, f"has more than {entry.size:,} bytes")
        yield chunk
    if size != entry.size:
        raise damaged(store, listed, key, f"has {size:,} bytes, expected {entry.size:,}")
    if digest.hexdigest() != entry.sha256:
        raise damaged(store, listed, key, "is not what was sent: its checksum differs")
