"""The manifest of a backup: what a savepoint says of itself, and under which claim each of its files was sent.

A file is an object named by its content: `files/CLAIM/SHA256`. So a backup sends only content that no backup before it
has, however the files are called. The manifest is written when all files are there, and the catalog, which has its
checksum, after it: what the catalog lists is whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from hashlib import sha256

import msgspec

from headway.backups.catalog import Listed
from headway.backups.store import Store
from headway.errors import CorruptStateError
from headway.state.savepoint import SavepointInfo

__all__ = ["Manifest", "damaged", "file_key", "manifests_of"]

log = logging.getLogger("headway")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an object `manifests/CLAIM/NAME.json` holds."""

    info: SavepointInfo
    claims: dict[str, int]
    """By the SHA-256 of a content the claim under which it was sent."""

    def encoded(self) -> bytes:
        """The object."""
        return msgspec.json.encode(self) + b"\n"

    def objects(self) -> Iterator[str]:
        """The keys of all files, each once."""
        return (file_key(claim, digest) for digest, claim in self.claims.items())

    @classmethod
    def load(cls, store: Store, listed: Listed) -> Manifest:
        """That of a backup. Raises `CorruptStateError`, which names it, for one that is missing or not as it was."""
        data = store.read(listed.manifest)
        if data is None:
            raise damaged(store, listed, listed.manifest, "is missing")
        if len(data) != listed.manifest_bytes or sha256(data).hexdigest() != listed.manifest_sha256:
            raise damaged(store, listed, listed.manifest, "is not what was written: its checksum differs")
        return msgspec.json.decode(data, type=cls)


def file_key(claim: int, digest: str) -> str:
    """The object of a file's content."""
    return f"files/{claim}/{digest}"


def damaged(store: Store, listed: Listed, key: str, how: str) -> CorruptStateError:
    """The error for an object of a backup that cannot be used."""
    return CorruptStateError(
        f"{key} in {store.where} {how}: the backup {listed.name} is damaged, and nothing of it was opened; take "
        "another backup (headway backup list)"
    )


def manifests_of(store: Store, backups: Iterable[Listed]) -> dict[str, Manifest]:
    """The manifests of several backups, by key; one that cannot be used is told as a warning, and left out."""
    found = {}
    for listed in backups:
        try:
            found[listed.manifest] = Manifest.load(store, listed)
        except CorruptStateError as error:
            log.warning("%s", error)
    return found
