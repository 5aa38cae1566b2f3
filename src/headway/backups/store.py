"""What a backup needs of an object store, and which one a URL names.

Little is asked, so that many stores will do: an object that was written can be read at once, and of several writers
that create one object a single one succeeds (a conditional put). Listings may be stale: nothing that must be right
depends on one. A write whose answer was lost may have happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from headway.errors import StateError, UsageError

__all__ = ["SCHEMES", "Store", "StoreError", "open_store"]

SCHEMES: Final = ("file", "s3", "gs", "az")
RETRIES: Final = 4
_FORMS: Final = "file:PATH, s3://BUCKET/PATH, gs://BUCKET/PATH or az://ACCOUNT/CONTAINER/PATH"


class StoreError(StateError):
    """An object store cannot be reached, or refuses; a write that raises this may have happened all the same."""


class Store(Protocol):
    """Objects by key: a key is a path with slashes, without any that begins or ends it.

    All methods raise `StoreError` and may be called by several threads.
    """

    where: str
    """The URL, for messages: without anything secret."""

    def read(self, key: str) -> bytes | None:
        """A whole object; None where there is none."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is an object."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Make an object, all of it or nothing; False where there is one of that key already."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Make or replace an object, all of it or nothing."""
        ...

    def send(self, key: str, path: Path) -> None:
        """Make or replace an object that holds what a file does, all of it or nothing."""
        ...

    def chunks(self, key: str) -> Iterator[bytes] | None:
        """The content of an object in parts; None where there is none. May raise while it is read."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with a prefix, which ends with a slash; some may be missing, or gone already."""
        ...

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there do not matter."""
        ...


def open_store(url: str, *, retries: int = RETRIES) -> Store:
    """The store that a URL names; nothing is asked of it yet. Requests that fail are tried again so often.

    Raises `UsageError` for a URL that cannot be, and where the library that it needs is not installed.
    """
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        msg = (
            f"the URL of a place for backups ({parts.scheme}://…) holds a user, a password or parameters: credentials "
            f"belong into the environment or a file, and the URL is {_FORMS}"
        )
        raise UsageError(msg)
    if parts.scheme == "file":
        from headway.backups.files import FileStore

        if parts.netloc not in {"", "localhost"} or not parts.path.strip("/"):
            msg = f"{url!r} names no folder of this machine: write file:PATH or file:///PATH"
            raise UsageError(msg)
        return FileStore(Path(unquote(parts.path)))
    if parts.scheme not in SCHEMES or not parts.netloc:
        msg = f"{url!r} names no place for backups: write {_FORMS}"
        raise UsageError(msg)
    from headway.backups.objects import ObjectStore

    return ObjectStore(url, retries)
