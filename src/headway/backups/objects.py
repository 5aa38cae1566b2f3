"""Object stores of clouds, and what speaks their protocols, by obstore: S3, Google Cloud Storage, Azure Blob Storage.

Credentials come from the environment, as `AWS_ACCESS_KEY_ID`, or from the machine's own identity: obstore looks there.
None is ever part of a message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from headway.backups.store import StoreError
from headway.errors import UsageError

__all__ = ["ObjectStore"]

_TIMEOUT: Final = timedelta(seconds=60)
"""Of one request. Large files are sent in parts, each a request of its own."""
_CONNECT_TIMEOUT: Final = timedelta(seconds=5)
_RETRIES_LAST: Final = timedelta(seconds=60)
_PART_BYTES: Final = 8 << 20
_PARTS_AT_ONCE: Final = 4
_REMOVED_AT_ONCE: Final = 1_000
_NO_BUCKET: Final = re.compile(r"NoSuchBucket|ContainerNotFound|[Tt]he specified (?:bucket|container) does not exist")
_BODY: Final = re.compile(r"<Message>([^<]*)</Message>")
_ALLOW_HTTP: Final = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP")
_QUERY: Final = re.compile(r"(?<=\S)\?\S*")
"""Of an address: a signature may be in it."""
_STEP: Final = "check the address, the network and the credentials in the environment, such as AWS_ACCESS_KEY_ID"


class ObjectStore:
    """Objects below a URL; see `headway.backups.store.Store`. Raises `UsageError` without the library."""

    def __init__(self, url: str, retries: int) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ImportError as error:
            msg = (
                f"backups to {url} need the library obstore, which is missing ({error}): pip install 'headway[backup]'"
            )
            raise UsageError(msg) from error
        self.where = url
        self._api: Any = obstore
        self._errors: Any = obstore.exceptions
        retrying: Any = {"max_retries": retries, "retry_timeout": _RETRIES_LAST}
        # What is given here takes the place of what the library would find in the environment.
        plain = any(os.environ.get(name, "").lower() in {"1", "true"} for name in _ALLOW_HTTP)
        client: Any = {"timeout": _TIMEOUT, "connect_timeout": _CONNECT_TIMEOUT, "allow_http": plain}
        try:
            self._store: Any = from_url(url, client_options=client, retry_config=retrying)
        except (obstore.exceptions.BaseError, ValueError) as error:
            msg = f"{url} cannot be a place for backups: {_brief(error)}"
            raise UsageError(msg) from error

    def read(self, key: str) -> bytes | None:
        """See `Store`."""
        with self._told("read", key):
            try:
                return bytes(self._api.get(self._store, key).bytes())
            except FileNotFoundError as error:
                self._check_bucket(error)
                return None

    def exists(self, key: str) -> bool:
        """See `Store`."""
        with self._told("find", key):
            try:
                self._api.head(self._store, key)
            except FileNotFoundError as error:
                self._check_bucket(error)
                return False
        return True

    def create(self, key: str, data: bytes) -> bool:
        """See `Store`."""
        with self._told("write", key):
            try:
                self._api.put(self._store, key, data, mode="create")
            except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
                return False
        return True

    def write(self, key: str, data: bytes) -> None:
        """See `Store`."""
        with self._told("write", key):
            self._api.put(self._store, key, data)

    def send(self, key: str, path: Path) -> None:
        """See `Store`."""
        with self._told("write", key):
            self._api.put(self._store, key, path, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    def chunks(self, key: str) -> Iterator[bytes] | None:
        """See `Store`."""
        with self._told("read", key):
            try:
                found = self._api.get(self._store, key)
            except FileNotFoundError as error:
                self._check_bucket(error)
                return None
        return self._stream(found, key)

    def _stream(self, found: Any, key: str) -> Iterator[bytes]:
        with self._told("read", key):
            for chunk in found.stream(min_chunk_size=_PART_BYTES):
                yield bytes(chunk)

    def keys(self, prefix: str) -> Iterator[str]:
        """See `Store`."""
        with self._told("list", prefix):
            for page in self._api.list(self._store, prefix.rstrip("/")):
                yield from (entry["path"] for entry in page)

    def remove(self, keys: Sequence[str]) -> None:
        """See `Store`."""
        for start in range(0, len(keys), _REMOVED_AT_ONCE):
            with self._told("remove", keys[start]):
                try:
                    self._api.delete(self._store, list(keys[start : start + _REMOVED_AT_ONCE]))
                except FileNotFoundError as error:
                    self._check_bucket(error)

    def _check_bucket(self, error: FileNotFoundError) -> None:
        """Raise again where it is not an object that is missing, but the bucket: then nothing is known."""
        if _NO_BUCKET.search(str(error)):
            raise error

    @contextmanager
    def _told(self, action: str, key: str) -> Iterator[None]:
        """What the library raises, as errors of the store."""
        try:
            yield
        except FileNotFoundError as error:
            msg = f"{self.where} cannot be used: there is no such bucket or container ({_brief(error)}); make it first"
            raise StoreError(msg) from error
        except (self._errors.BaseError, OSError, ValueError) as error:
            msg = f"cannot {action} {key} in {self.where}: {_brief(error)}; {_STEP}"
            raise StoreError(msg) from error


def _brief(error: BaseException) -> str:
    """The first line of what the library says; the server's own words where it has sent some."""
    text = _QUERY.sub("", str(error))
    message = _BODY.search(text)
    first = text.partition("\n")[0].strip()
    return f"{first.partition(': <?xml')[0]} ({message[1]})" if message else first
