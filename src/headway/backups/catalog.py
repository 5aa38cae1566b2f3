"""The catalog of a place for backups: which ones it has, and who may add to them.

**One chain of versions.** `catalog/1`, `catalog/2` and so on are objects that are created and never changed. Each holds
the whole catalog, and who has made it. A change is a new object with the next number, made by a conditional put: of two
that try, one succeeds, and the other one reads what has happened. So nobody changes a catalog that he has not seen.

**Claims.** Whoever is to add backups makes a version first that says so: its number is that of his *claim*. As long as
no other claim follows, he may go on. A run that was thought dead finds the claim of another one in its way: it is
*fenced*, whatever it was about to write. All objects of a claim have its number in their keys, and nobody deletes
objects of a later claim than his own. So one that is fenced and does not know it yet takes nothing from the next.

**Finding the last version** needs no listing, which may be stale. The last `_BLOCK` versions and more are kept, and
before them each that is a multiple of `_BLOCK`; that one exists says that all before it once did. So the last one is
found by doubling and halving, first among those multiples, in some twenty requests. Claims are all kept: the next
number of one that is fenced is always taken.

**A version that is missing** would make the one before it the last, and a restored flow older than it need be. So
`last` has the number of the last version, or of one shortly before it: when there is none of that number, something is
lost, and that is told.

**A lost answer.** A version may have been created although the store has said nothing: whoever finds the next number
taken by a version of his own claim goes on from there.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Optional

import msgspec

from headway.backups.store import Store, StoreError
from headway.basics.crashpoints import reached
from headway.errors import CorruptStateError, LockedStateError, UsageError
from headway.state.seal import seal_json, unseal_json

__all__ = ["Catalog", "FencedError", "Listed", "Version", "Writer"]

_FORMAT: Final = 1
_BLOCK: Final = 256
_FOLDER: Final = "catalog/"
_LAST: Final = "last"
_OTHER: Final = f"put it back, or remove it and {_LAST!r} from the store to go on from the version before it"


class FencedError(LockedStateError):
    """Another one has claimed the place since: this one adds no more backups."""


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes versions under a claim."""

    directory: str
    """What tells a state directory from all others; see `headway.backups.identity`."""
    path: str
    """Where that is, as an absolute path."""
    host: str
    pid: int
    token: str
    """Of this writer alone: by it he knows what he has written."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, for {self.path}"

    def is_beside(self, other: Writer) -> bool:
        """Whether both are of one state directory in one place: then the lock of the directory keeps them apart."""
        return (self.directory, self.path, self.host) == (other.directory, other.path, other.host)


def new_writer(directory: str, path: Path) -> Writer:
    """The process that asks, as a writer."""
    return Writer(
        directory=directory,
        path=os.path.abspath(path),
        host=socket.gethostname(),
        pid=os.getpid(),
        token=secrets.token_hex(8),
    )


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A backup, as the catalog has it."""

    name: str
    number: int
    """Of the version that has added it."""
    claim: int
    directory: str
    """Of the writer."""
    origin: str
    made_ms: int
    """When, in epoch milliseconds."""
    events: int
    rows: int
    files: int
    size_bytes: int
    """All files together."""
    sent_bytes: int
    """What was sent for it: what the place had already is not counted."""
    manifest_bytes: int
    manifest_sha256: str

    @property
    def manifest(self) -> str:
        """The key of its manifest."""
        return f"manifests/{self.claim}/{self.name}.json"


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """The catalog at one moment."""

    number: int
    place: str
    """What tells this place from all others."""
    flow: str
    kind: Literal["claim", "backup", "drop"]
    """What it has changed."""
    at_ms: int
    claim: int
    """The number of the last claim: this version's own, or an earlier one."""
    writer: Writer
    backups: list[Listed] = []
    """Those that are kept, the oldest first."""
    format: int = _FORMAT
    checksum: str = ""
    """In the object: of all the rest."""

    @property
    def last(self) -> Optional[Listed]:
        """The newest backup."""
        return self.backups[-1] if self.backups else None

    def encoded(self) -> bytes:
        """The object."""
        return seal_json(self) + b"\n"


class Catalog:
    """Reads the catalog of a place, and changes it under a claim; for one thread."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def head(self) -> Optional[Version]:
        """The last version; None for a place without any.

        Some twenty requests. Raises `CorruptStateError` that names a damaged version, and `StoreError`.
        """
        known = self._known()  # First: versions may be added while the last one is looked for.
        number = self._last_from(self._last_from(0, _BLOCK), 1)
        if known > number:
            msg = f"{_key(known)} in {self.store.where}, or one before it, is missing: {_OTHER}"
            raise CorruptStateError(msg)
        return self._version(number) if number else None

    def _known(self) -> int:
        """The number in `last`. A store that is asked so also says when it is the bucket that is missing."""
        data = self.store.read(_LAST)
        if data is None:
            return 0
        if not data.strip().isdigit():
            msg = f"{_LAST!r} in {self.store.where} holds {data[:40]!r}, expected a number: remove it"
            raise CorruptStateError(msg)
        return int(data)

    def _last_from(self, known: int, step: int) -> int:
        """The last version that exists and lies a multiple of `step` behind `known`, which exists or is 0."""
        span = step
        while self._exists(known + span):
            known, span = known + span, 2 * span
        while span > step:
            span //= 2
            if self._exists(known + span):
                known += span
        return known

    def _exists(self, number: int) -> bool:
        return self.store.exists(_key(number))

    def _version(self, number: int) -> Version:
        data = self.store.read(_key(number))
        if data is None:
            msg = f"{_key(number)} in {self.store.where} is missing, and was there a moment ago: {_OTHER}"
            raise StoreError(msg)
        return decode_version(data, number, self.store.where)

    def claim(self, writer: Writer, flow: str, at_ms: int, before: Optional[Version]) -> Version:
        """Be the one who may add backups from now on, unless something has changed since the version `before`.

        Raises `FencedError` when it has, and `StoreError`, also for a store that lets two create one object.
        """
        self._check_conditional(writer)
        number = 1 if before is None else before.number + 1
        wanted = Version(
            number=number,
            place=secrets.token_hex(8) if before is None else before.place,
            flow=flow,
            kind="claim",
            at_ms=at_ms,
            claim=number,
            writer=writer,
            backups=[] if before is None else before.backups,
        )
        reached("backup-claim.before")
        self._create(wanted)
        reached("backup-claim.after")
        return wanted

    def change(self, mine: Version, make: Callable[[Version], Version]) -> Version:
        """Make the next version under the claim of `mine`, which is the last one that its writer knows.

        `make` gets the version to go on from, and gives the next one but for its number.
        Raises `FencedError` when another one has claimed the place, and `StoreError`: then it may have happened.
        """
        while True:
            wanted = msgspec.structs.replace(make(mine), number=mine.number + 1)
            try:
                self._create(wanted)
            except _TakenError:
                found = self._version(mine.number + 1)
                if found.writer.token != mine.writer.token:
                    raise fenced(self.store.where, found) from None
                mine = found  # Its answer was lost.
                continue
            self._remove_old(wanted.number)
            return wanted

    def _check_conditional(self, writer: Writer) -> None:
        """Raise `UsageError` for a store that ignores the condition of a put."""
        key = f"probe/{writer.token}"
        self.store.create(key, b"once")
        try:
            if self.store.create(key, b"twice"):
                msg = (
                    f"{self.store.where} replaces an object that it was only to make if there is none (a put with "
                    "If-None-Match: *): two clusters could not be kept apart there; use a store with conditional puts"
                )
                raise UsageError(msg)
        finally:
            self.store.remove([key])

    def check(self, mine: Version) -> None:
        """Raise `FencedError` when somebody else has changed the catalog since the version `mine`."""
        data = self.store.read(_key(mine.number + 1))
        if data is not None:
            found = decode_version(data, mine.number + 1, self.store.where)
            if found.writer.token != mine.writer.token:
                raise fenced(self.store.where, found)

    def _create(self, wanted: Version) -> None:
        """Make a version. Raises `_TakenError` when there is another one of that number."""
        data = wanted.encoded()
        if not self.store.create(_key(wanted.number), data) and self.store.read(_key(wanted.number)) != data:
            found = self._version(wanted.number)
            msg = f"{self.store.where} was claimed meanwhile by {found.writer}: start again"
            raise _TakenError(msg)
        if self._exists(wanted.number + 1):  # What was made is an old version of this writer's, removed meanwhile.
            raise fenced(self.store.where, self._version(wanted.number + 1))
        self.store.write(_LAST, str(wanted.number).encode())

    def _remove_old(self, number: int) -> None:
        old = number - 2 * _BLOCK
        if old > 0 and old % _BLOCK:
            data = self.store.read(_key(old))
            if data is not None and decode_version(data, old, self.store.where).kind != "claim":
                self.store.remove([_key(old)])


class _TakenError(FencedError):
    """There is a version of that number."""


def fenced(where: str, found: Version) -> FencedError:
    """The error of a writer in whose way another one's version is."""
    return FencedError(
        f"{where} was claimed by {found.writer}: this run adds no more backups there; end one of the two, or give each "
        "a place of its own"
    )


def _key(number: int) -> str:
    return f"{_FOLDER}{number}"


def decode_version(data: bytes, number: int, where: str) -> Version:
    """What was `encoded`. Raises `CorruptStateError`, and `IncompatibleStateError` for another format."""
    what = f"{_key(number)} in {where}"
    found = unseal_json(data, Version, _FORMAT, what, _OTHER)
    if found.number != number:
        msg = f"{what} is version {found.number}: it was put there from elsewhere; {_OTHER}"
        raise CorruptStateError(msg)
    return found
