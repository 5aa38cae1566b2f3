"""Removing what no backup needs any more.

Which backups are dropped is said in the catalog first, under a claim. Then all objects may go that no manifest of a
kept one names, of this claim and of those before it: whoever comes next sends under a claim of his own, and counts only
on what kept backups name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from headway.backups.catalog import Catalog, Listed, Version, new_writer
from headway.backups.lease import Lease, await_end, remove_lease, unheard, wall_ms
from headway.backups.manifest import Manifest, manifests_of
from headway.backups.store import Store
from headway.basics.crashpoints import reached

__all__ = ["collect", "prune_backups"]


def prune_backups(
    store: Store,
    keep: int,
    *,
    now_ms: Callable[[], int] = wall_ms,
    pause: Callable[[float], object] = time.sleep,
    tell: Callable[[str], object] = unheard,
) -> list[Listed]:
    """Keep the last backups of a place, and drop all others; returns these.

    The place is claimed for the directory that had it, so that this one goes on as before.
    Raises `LockedStateError` when a run makes backups there, `FencedError` when another one claims the place meanwhile,
    and `StoreError`.
    """
    catalog = Catalog(store)
    before = catalog.head()
    if before is None:
        return []
    await_end(store, before, now_ms=now_ms, pause=pause, tell=tell)
    writer = new_writer(before.writer.directory, Path(before.writer.path))
    claim = catalog.claim(writer, before.flow, now_ms(), before)
    remove_lease(store, before)

    def drop(last: Version) -> Version:
        return msgspec.structs.replace(last, kind="drop", at_ms=now_ms(), backups=last.backups[-keep:])

    after = claim
    with Lease(store, claim.number, lambda: catalog.check(after)):
        if len(claim.backups) > keep:
            after = catalog.change(claim, drop)
        collect(store, after, manifests_of(store, after.backups))
    return claim.backups[: -len(after.backups) or None]


def collect(store: Store, version: Version, manifests: Mapping[str, Manifest]) -> None:
    """Remove the objects up to the claim of `version` that no backup in it needs.

    `manifests` are those of its backups, by key. Where one of them cannot be read nothing is removed: what it needs is
    not known. Of a stale listing something is left for the next time.
    """
    if manifests.keys() != {listed.manifest for listed in version.backups}:
        return
    needed = {*manifests, *(key for manifest in manifests.values() for key in manifest.objects())}
    found = [key for prefix in ("manifests/", "files/") for key in store.keys(prefix)]
    gone = [key for key in found if key not in needed and _claim_of(key) <= version.claim]
    reached("backup-cleaning.before")
    if gone:
        store.remove(gone)
    reached("backup-cleaning.after")


def _claim_of(key: str) -> int:
    """The claim under which an object was made; that of what is none of ours is beyond all."""
    number = key.split("/")[1]
    return int(number) if number.isdecimal() else 1 << 62
